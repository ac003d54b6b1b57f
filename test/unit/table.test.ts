import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { styleText } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { memory, processTable, shortTime, totalsLine } from '../../src/output/table.ts';
import { DAY, HOUR, idleEvidence, MINUTE, SECOND } from './evidence.ts';
import { lookWith, orphan, protectedBy } from './look.ts';

const ESCAPE = '\u001b';
const wide = { columns: 160, colour: false };
const [head, ...rows] = [
  protectedBy(['turn', 'processing'], { id: { pid: 1, startTicks: 1 } }),
  orphan({ verdict: 'grace', idleMs: 10 * MINUTE }, { id: { pid: 2, startTicks: 2 } }),
  orphan({ orphan: 'superseded' }, { id: { pid: 3, startTicks: 3 }, project: null, cwd: null }),
].map((judgement) => judgement);
const judgements = head ? [head, ...rows] : [];
const linesOf = (text: string): string[] => text.split('\n');

describe('processTable', () => {
  it('has a line for each process below its head', () => {
    const [first, ...others] = linesOf(processTable(judgements, new Map(), wide));
    expect(first).toMatch(/^PID +PROJECT +CONVERSATION +AGE +MEMORY +IDLE +VERDICT +WHY$/);
    expect(others).toHaveLength(3);
    expect(others[0]).toMatch(/^1 +alpha +- +1d +194 MB +- +protected +in a turn, project in a turn$/);
    expect(others[1]).toMatch(/^2 +alpha +- +1d +194 MB +10m +grace +parked, in 20m$/);
    expect(others[2]).toMatch(/^3 +\? +- +1d +194 MB +1h +reap +superseded$/);
  });
  it.each([80, 120, 200])('is no wider than a screen of %d columns', (columns) => {
    const long = protectedBy(['unverified', 'young', 'terminal', 'connection', 'cpu', 'tool', 'busy', 'scheduled'], {
      project: { slug: 'a-project-with-a-very-long-name-indeed-it-is', path: '/', inTurn: false },
    });
    const lines = linesOf(processTable([long, ...judgements], new Map(), { columns, colour: false }));
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(columns);
    expect(lines).toHaveLength(5);
  });
  it('is coloured only if asked for', () => {
    expect(processTable(judgements, new Map(), wide)).not.toContain(ESCAPE);
    // Newer releases of Node leave colours out by themselves where nobody would see them.
    const coloured = processTable(judgements, new Map(), { ...wide, colour: true });
    expect(coloured).toContain(styleText('green', 'protected'));
    expect(coloured).toContain(styleText('red', 'reap'));
  });
  it('says of an orphan without an end to its wait that it stays', () => {
    const stays = orphan({ verdict: 'grace', waitMs: Number.POSITIVE_INFINITY });
    expect(processTable([stays], new Map(), wide)).toMatch(/parked, kept for ever$/);
  });
  it('shows what was measured for a person', () => {
    const usage = new Map([[2, { cpuPercent: 5, rssBytes: 1_500_000_000 }]]);
    expect(linesOf(processTable(judgements, usage, wide))[2]).toContain('1.5 GB');
  });

  describe('shows text of others', () => {
    let dir: string;
    beforeEach(() => {
      dir = mkdtempSync(join(tmpdir(), 'clay-reaper-table-'));
    });
    afterEach(() => rmSync(dir, { recursive: true, force: true }));
    const withTitle = (title: unknown) => {
      const path = join(dir, 'journal.jsonl');
      writeFileSync(path, `${JSON.stringify({ type: 'meta', title })}\n`);
      return protectedBy(['cpu'], {
        journal: { state: 'found', path, turn: 'ended', decidedBy: 'done', changedAtMs: 1 },
      });
    };
    it('such as the title of a conversation', () => {
      expect(processTable([withTitle('Fix the build')], new Map(), wide)).toContain(' Fix the build ');
      expect(processTable([withTitle('')], new Map(), wide)).toMatch(/alpha +- +1d/);
      expect(processTable([withTitle({ a: 1 })], new Map(), wide)).toMatch(/alpha +- +1d/);
    });
    it('without what would steer a terminal or break the table', () => {
      const evil = `${ESCAPE}[2J${ESCAPE}]0;x\u0007\na\u202eb\r`;
      const project = { slug: evil, path: '/', inTurn: false };
      const table = processTable([withTitle(evil), protectedBy(['cpu'], { project })], new Map(), wide);
      for (const character of [ESCAPE, '\r', '\u0007', '\u202e']) expect(table).not.toContain(character);
      expect(linesOf(table)).toHaveLength(3);
    });
  });
});

describe('totalsLine', () => {
  it('counts verdicts and memory', () => {
    const bytes = (rssBytes: number) => ({ ...idleEvidence(), rssBytes });
    const look = lookWith({
      judgements: [
        { ...protectedBy(['cpu']), evidence: bytes(200_000_000) },
        { ...orphan({ verdict: 'grace' }), evidence: bytes(300_000_000) },
        { ...orphan(), evidence: bytes(400_000_000) },
        { ...orphan(), evidence: bytes(600_000_000) },
      ],
    });
    expect(totalsLine(look, new Map())).toBe('4 claude processes, 1.5 GB: 1 protected, 1 in grace, 2 to reap (1 GB)');
  });
  it('has no memory where there is nothing to reap', () => {
    expect(totalsLine(lookWith(), new Map())).toBe('0 claude processes, 0 B: 0 protected, 0 in grace, 0 to reap');
  });
});

describe('shortTime', () => {
  it.each([
    [0, '0s'],
    [999, '0s'],
    [1000, '1s'],
    [40_400, '40s'],
    [5 * MINUTE, '5m'],
    [3 * HOUR, '3h'],
    [2 * DAY, '2d'],
    [-5 * SECOND, '0s'],
  ])('%d ms: %s', (milliseconds, expected) => expect(shortTime(milliseconds)).toBe(expected));
});

describe('memory', () => {
  it.each([
    [0, '0 B'],
    [194_424_832, '194 MB'],
    [1_540_000_000, '1.5 GB'],
  ])('%d: %s', (bytes, expected) => expect(memory(bytes)).toBe(expected));
});
