import { stringify } from 'smol-toml';
import { environmentName, SETTING_KEYS, SETTINGS, type SettingKey } from '../../config/settings.ts';

/** One setting, as the documents tell of it. */
export type SettingWords = {
  readonly key: SettingKey;
  readonly variable: string;
  /** As it would stand in the file; null if it is not set unless somebody sets it. */
  readonly default: string | null;
  readonly allowed: string;
  readonly meaning: string;
};

/** All settings in words, from the one table of them. */
export const settingsInWords = (): SettingWords[] =>
  SETTING_KEYS.map((key) => {
    const { default: value, allowed, meaning } = SETTINGS[key];
    return { key, variable: environmentName(key), default: value === null ? null : toml(value), allowed, meaning };
  });

const toml = (value: unknown): string =>
  stringify({ value })
    .trim()
    .replace(/^value = /, '');

/** The markers that the reference stands between. */
const BEGIN = '<!-- configuration: begin -->';
const END = '<!-- configuration: end -->';

/** The README with its reference of settings as it should be; throws if it has no place for it. */
export function withSettings(readme: string): string {
  const begin = readme.indexOf(BEGIN);
  const end = readme.indexOf(END);
  if (begin === -1 || end < begin) throw new Error(`README.md: there is no ${BEGIN} with an ${END} behind it`);
  return `${readme.slice(0, begin + BEGIN.length)}\n\n${settingsTable()}\n\n${notes()}\n\n${readme.slice(end)}`;
}

function settingsTable(): string {
  const rows = settingsInWords().map((setting) => {
    const value = setting.default === null ? 'not set' : `\`${setting.default}\``;
    return `| \`${setting.key}\` | ${value} | ${markdown(`${setting.meaning} ${allowedSentence(setting)}`)} |`;
  });
  return ['| setting | default | meaning |', '|---|---|---|', ...rows].join('\n');
}

/** What the file and the environment call a setting. */
function notes(): string {
  const [project] = settingsInWords().filter(({ key }) => key === 'protect.projects');
  return `A dot stands for a table of the file: \`protect.projects\` is \`projects\` under \`[protect]\`. In the environment it is \`${project?.variable}=shop,blog\`.`;
}

/** What is allowed, as a sentence of its own. */
export const allowedSentence = ({ allowed }: SettingWords): string => `Allowed: ${allowed}.`;

/** Names of settings as code, and nothing that ends a cell. */
const markdown = (text: string): string =>
  text.replaceAll('|', '\\|').replace(/\b[a-z]+_[a-z0-9_]+\b(?!\/)/g, (name) => `\`${name}\``);
