import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { stringify } from 'smol-toml';
import { environmentName, SETTING_KEYS, SETTINGS, type SettingKey } from '../src/config/settings.ts';
import { ORPHAN_KINDS } from '../src/judge/orphan-kinds.ts';
import { PROTECTION_RULES } from '../src/judge/rules.ts';

/** One setting, for the documents. */
export type SettingWords = {
  readonly key: SettingKey;
  readonly variable: string;
  /** As written in the file; null if there is no default. */
  readonly default: string | null;
  readonly expects: string;
  readonly meaning: string;
};

/** All settings, from the one table of them. */
export const formatSettings = (): SettingWords[] =>
  SETTING_KEYS.map((key) => {
    const { default: value, expects, meaning } = SETTINGS[key];
    return { key, variable: environmentName(key), default: value === null ? null : toml(value), expects, meaning };
  });

const toml = (value: unknown): string =>
  stringify({ value })
    .trim()
    .replace(/^value = /, '');

/** The documents with generated parts, and what generates each, by the name in its markers: <!-- NAME: begin --> and <!-- NAME: end -->. */
export const DOCUMENTS: Readonly<Record<string, Readonly<Record<string, () => string>>>> = {
  'README.md': { 'orphan kinds': orphanKindsTable, reasons: reasonsTable },
  'docs/configuration.md': { settings: () => `${settingsTable()}\n\n${notes()}` },
};

/** The text of a document with its generated parts as they should be; throws if it has no place for one. */
export function withTables(document: string, text: string): string {
  return Object.entries(DOCUMENTS[document] ?? {}).reduce((current, [name, section]) => {
    const [begin, end] = [`<!-- ${name}: begin -->`, `<!-- ${name}: end -->`];
    const [from, to] = [current.indexOf(begin), current.indexOf(end)];
    if (from === -1 || to < from) throw new Error(`${document}: there is no ${begin} with an ${end} behind it`);
    return `${current.slice(0, from + begin.length)}\n\n${section()}\n\n${current.slice(to)}`;
  }, text);
}

function orphanKindsTable(): string {
  const rows = ORPHAN_KINDS.map(({ kind, when, waitSetting }) => {
    const value = SETTINGS[waitSetting].default;
    return `| \`${kind}\` | ${markdown(when)} | \`${waitSetting}\`, ${value} |`;
  });
  return ['| orphan | what it is | must be idle for |', '|---|---|---|', ...rows].join('\n');
}

function reasonsTable(): string {
  const rows = PROTECTION_RULES.map(({ code, when }) => `| \`${code}\` | ${markdown(when)} |`);
  return ['| reason | when |', '|---|---|', ...rows].join('\n');
}

function settingsTable(): string {
  const rows = formatSettings().map((setting) => {
    const value = setting.default === null ? 'not set' : `\`${setting.default}\``;
    return `| \`${setting.key}\` | ${value} | ${markdown(`${setting.meaning} ${allowedSentence(setting)}`)} |`;
  });
  return ['| setting | default | meaning |', '|---|---|---|', ...rows].join('\n');
}

/** How a setting is named in the file and in the environment. */
function notes(): string {
  const [project] = formatSettings().filter(({ key }) => key === 'protect.projects');
  return `A dot stands for a table of the file: \`protect.projects\` is \`projects\` under \`[protect]\`. In the environment it is \`${project?.variable}=shop,blog\`.`;
}

/** What a setting allows, as a sentence. */
export const allowedSentence = ({ expects }: SettingWords): string => `Allowed: ${expects}.`;

/** Text for a cell of a table: names of settings as code, and no bar. */
const markdown = (text: string): string =>
  text.replaceAll('|', '\\|').replace(/\b[a-z]+_[a-z0-9_]+\b(?!\/)/g, (name) => `\`${name}\``);

// npm run docs, in the package's folder: writes the generated parts of the documents.
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const document of Object.keys(DOCUMENTS))
    writeFileSync(document, withTables(document, readFileSync(document, 'utf8')));
}
