import { styleText } from 'node:util';
import { describe, expect, it } from 'vitest';
import { keyOf } from '../../../src/proc/process-id.ts';
import { clayLines, processTable, totalsLine } from '../../../src/report/table.ts';
import { clayLook, lookWith, orphan, protectedBy } from '../../helpers/assessment.ts';
import { idleEvidence, MINUTE, NOW } from '../../helpers/evidence.ts';

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
  it('has one row for each process', () => {
    const [first, ...others] = linesOf(processTable(judgements, {}, wide));
    expect(first).toMatch(/^PID +PROJECT +CONVERSATION +AGE +CLAUDE +MEMORY +IDLE +VERDICT +WHY$/);
    expect(others).toHaveLength(3);
    expect(others[0]).toMatch(/^1 +alpha +- +1d +SDK 0\.2\.92 +194 MB +- +protected +in a turn, project in a turn$/);
    expect(others[1]).toMatch(/^2 +alpha +- +1d +SDK 0\.2\.92 +194 MB +10m +grace +parked, in 20m$/);
    expect(others[2]).toMatch(/^3 +\? +- +1d +SDK 0\.2\.92 +194 MB +1h +reap +superseded$/);
  });
  it.each([40, 60, 80, 120, 200])('is no wider than a terminal of %d columns', (columns) => {
    const long = protectedBy(['unverified', 'young', 'terminal', 'connection', 'cpu', 'tool', 'busy', 'scheduled'], {
      project: { slug: 'a-project-with-a-very-long-name-indeed-it-is', path: '/', inTurn: false },
    });
    const lines = linesOf(processTable([long, ...judgements], {}, { columns, colour: false }));
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(columns);
    expect(lines).toHaveLength(5);
  });
  it('says of an open turn what it is doing now: it waits for a permission, or is in a turn', () => {
    const whyOf = (decidedBy: string): string => {
      const journal = { state: 'found', path: '/x', turn: 'open', decidedBy, changedAtMs: NOW.wallMs } as const;
      return linesOf(processTable([protectedBy(['turn'], { journal })], {}, wide))[1] ?? '';
    };
    expect(whyOf('permission_request')).toMatch(/protected +waits for you$/);
    // The permission was granted, and the tool runs.
    for (const later of ['permission_resolved', 'tool_executing', 'delta'])
      expect(whyOf(later)).toMatch(/protected +in a turn$/);
  });
  it('is coloured only if the style says so', () => {
    expect(processTable(judgements, {}, wide)).not.toContain(ESCAPE);
    // Newer releases of Node leave colours out by themselves where nobody would see them.
    const coloured = processTable(judgements, {}, { ...wide, colour: true });
    expect(coloured).toContain(styleText('green', 'protected'));
    expect(coloured).toContain(styleText('red', 'reap'));
  });
  it('shows that an orphan without a limit is kept', () => {
    const stays = orphan({ verdict: 'grace', waitMs: Number.POSITIVE_INFINITY });
    expect(processTable([stays], {}, wide)).toMatch(/parked, kept$/);
  });
  it('shows the memory that comes back, not the resident memory', () => {
    const judgement = protectedBy(['cpu'], { rssBytes: 200_000_000, reclaimableBytes: 120_000_000 });
    expect(processTable([judgement], {}, wide)).toContain(' 120 MB ');
  });
  it('shows user and Clay as soon as there are several', () => {
    const other = protectedBy(['cpu'], {
      id: { pid: 9, startTicks: 9 },
      uid: 1001,
      clay: { state: 'answered', pid: 77, home: '/home/bob/.clay', busyProjects: [] },
    });
    const userNames = new Map([[1000, 'ada']]);
    const [header, ...lines] = linesOf(processTable([...judgements, other], { userNames }, wide));
    expect(header).toMatch(/^PID +USER +CLAY +PROJECT /);
    expect(lines[0]).toMatch(/^1 +ada +16199 +alpha /);
    expect(lines.at(-1)).toMatch(/^9 +1001 +77 +alpha /);
  });
  it('does not count a dead Clay, which "abandoned" tells of, but shows it beside several', () => {
    const abandoned = orphan({ orphan: 'abandoned' }, { clay: { state: 'dead', home: '/home/ada/.clay' } });
    expect(linesOf(processTable([...judgements, abandoned], {}, wide))[0]).not.toContain('CLAY');
    const other = protectedBy(['cpu'], {
      clay: { state: 'answered', pid: 77, home: '/home/bob/.clay', busyProjects: [] },
    });
    expect(linesOf(processTable([...judgements, abandoned, other], {}, wide)).at(-2)).toMatch(/^\d+ +dead +alpha /);
  });
  it('keeps pid, verdict and reason on the narrowest terminal', () => {
    expect(linesOf(processTable(judgements, {}, { columns: 40, colour: false }))[0]).toMatch(
      /^PID +IDLE +VERDICT +WHY$/,
    );
    expect(linesOf(processTable(judgements, {}, { columns: 60, colour: false }))[0]).toMatch(
      /^PID +PROJECT +MEMORY +IDLE +VERDICT +WHY$/,
    );
  });

  it('shows the title of a conversation', () => {
    const judgement = protectedBy(['cpu']);
    const titles = new Map([[keyOf(judgement.evidence.id), 'Fix the build']]);
    expect(processTable([judgement], { titles }, wide)).toContain(' Fix the build ');
  });
  it('strips control characters from titles and projects', () => {
    const evil = `${ESCAPE}[2J${ESCAPE}]0;x\u0007\na\u202eb\r`;
    const project = { slug: evil, path: '/', inTurn: false };
    const judgement = protectedBy(['cpu'], { project });
    const table = processTable([judgement], { titles: new Map([[keyOf(judgement.evidence.id), evil]]) }, wide);
    for (const character of [ESCAPE, '\u0007', '\u202e', '\r']) expect(table).not.toContain(character);
    expect(linesOf(table)).toHaveLength(2);
  });
});

describe('totalsLine', () => {
  it('counts verdicts and memory', () => {
    const bytes = (rssBytes: number) => idleEvidence({ rssBytes });
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

describe('clayLines', () => {
  it('names each Clay and its user, if there are several', () => {
    const clays = [clayLook(), clayLook({ pid: 77, home: '/home/bob/.clay', error: 'x' })];
    expect(clayLines(lookWith({ clays }), new Map([[1000, 'ada']]))).toEqual([
      expect.stringMatching(/^Clay 16199 of ada in .*\.clay: 2 projects, 1 in a turn$/),
      'Clay 77 of ada in /home/bob/.clay: no usable answer',
    ]);
    expect(clayLines(lookWith(), new Map())).toEqual([]);
  });
});
