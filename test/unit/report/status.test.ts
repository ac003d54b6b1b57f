import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import type { Judgement } from '../../../src/judge/judge.ts';
import type { ReasonCode } from '../../../src/judge/rules.ts';
import { keyOf } from '../../../src/proc/process-id.ts';
import { statusText } from '../../../src/report/status.ts';
import { lookWith, orphan, protectedBy } from '../../helpers/assessment.ts';
import { idleEvidence, JOURNAL, MINUTE, NOW } from '../../helpers/evidence.ts';

const picture = readFileSync(fileURLToPath(new URL('../../demo/status.svg', import.meta.url)), 'utf8');
const COLUMNS = 80;
/** Of test/demo/svg.ts. */
const [CHARACTER, MARGIN] = [8.4, 14];

/** The text of the picture, line by line. */
function linesOfPicture(): string[] {
  const lines = new Map<string, string>();
  for (const [, x, y = '', text = ''] of picture.matchAll(/<text x="([\d.]+)" y="([\d.]+)"[^>]*>(.*?)<\/text>/g)) {
    const column = Math.round((Number(x) - MARGIN) / CHARACTER);
    const plain = text.replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&amp;', '&');
    lines.set(y, `${(lines.get(y) ?? '').padEnd(column)}${plain}`);
  }
  return [...lines.values()];
}

/** The processes of the scene (test/demo/scene.ts), with the pids and the memory of the picture. */
function judgementsOf(rows: readonly string[]): { judgements: Judgement[]; titles: Map<string, string> } {
  const working: Readonly<Record<string, readonly ReasonCode[]>> = {
    'The cart': ['connection', 'turn', 'processing'],
    'Run tests': ['tool', 'turn', 'processing'],
    'Dev server': ['tool'],
    Deploy: ['turn', 'processing'],
  };
  const titles = new Map<string, string>();
  const judgements = rows.map((row): Judgement => {
    const [, pid, slug = '', title = '', memory, idle, kind] =
      /^(\d+) +(\w+) +(.*?) +1d +(\d+) MB +(\d+m|-) +\w+ +(\w+)/.exec(row) ?? [];
    const id = { pid: Number(pid), startTicks: 1 };
    if (title !== '-') titles.set(keyOf(id), title);
    const evidence = idleEvidence({
      id,
      rssBytes: Number(memory) * 1e6,
      project: { slug, path: '/', inTurn: false },
      journal: {
        state: 'found',
        path: JOURNAL,
        turn: 'open',
        decidedBy: 'permission_request',
        changedAtMs: NOW.wallMs,
      },
    });
    const codes = working[title];
    if (codes) return protectedBy(codes, evidence);
    const idleMs = Number.parseInt(idle ?? '', 10) * MINUTE;
    if (kind === 'parked') return orphan({ verdict: 'grace', idleMs }, evidence);
    return orphan({ orphan: kind as 'superseded', idleMs }, evidence);
  });
  return { judgements, titles };
}

describe('the picture in the README', () => {
  it('shows what status prints today (if not: npm run picture)', () => {
    const [command, ...lines] = linesOfPicture();
    expect(command).toBe('$ clay-reaper status');
    const { judgements, titles } = judgementsOf(lines.filter((line) => /^\d+ +(shop|blog) /.test(line)));
    expect(judgements).toHaveLength(8);
    const details = { usage: new Map(), titles, userNames: new Map(), forPerson: true };
    const today = statusText(lookWith({ judgements }), details, { columns: COLUMNS, colour: false });
    // Each size is rounded, and so is their sum.
    const withoutSums = (text: string): string => text.replace(/\d+ MB(?=[:)])/g, 'N MB');
    expect(withoutSums(lines.join('\n'))).toBe(withoutSums(today));
    expect(picture).toContain(`viewBox="0 0 ${Math.ceil(COLUMNS * CHARACTER + 2 * MARGIN)} `);
  });
});
