import { describe, expect, it } from 'vitest';
import type { Outcome } from '../../../src/reap/result.ts';
import { cleanupReport, statusReport } from '../../../src/report/json.ts';
import { clayLook, ENDINGS, lookWith, orphan, protectedBy, reapedAs } from '../../helpers/assessment.ts';
import { CLAY_HOME, CLAY_PID, HOUR, idleEvidence, MINUTE, SECOND, SESSION } from '../../helpers/evidence.ts';

const CLAY_FIELDS = ['pid', 'uid', 'home', 'api', 'apiError', 'projects', 'processing'];
const PROCESS_FIELDS = [
  ...['pid', 'startTicks', 'ppid', 'uid', 'clayPid', 'ageSeconds', 'rssBytes', 'cpuPercent', 'cwd', 'project'],
  ...['sessionId', 'sdkVersion', 'socketFds', 'connections', 'children', 'verdict', 'orphan', 'reasons'],
  ...['idleSeconds', 'graceSeconds', 'reapInSeconds'],
];
const TOTAL_FIELDS = ['processes', 'protected', 'grace', 'reap', 'rssBytes', 'reapBytes'];

const [young, waiting, due] = [
  protectedBy(['young', 'terminal'], { id: { pid: 1, startTicks: 11 }, rssBytes: 1000 }),
  orphan({ verdict: 'grace', idleMs: 10 * MINUTE }, { id: { pid: 2, startTicks: 12 }, rssBytes: 200 }),
  orphan({ orphan: 'superseded', waitMs: 5 * MINUTE }, { id: { pid: 3, startTicks: 13 }, rssBytes: 30 }),
];
const look = lookWith({ judgements: [young, waiting, due] });
/** As a script would get it. */
const asJson = (report: unknown): unknown => JSON.parse(JSON.stringify(report));

describe('status --json', () => {
  it('has the documented fields', () => {
    const report = statusReport(look);
    expect(Object.keys(report)).toEqual(expect.arrayContaining(['schema', 'at', 'clay', 'processes', 'totals']));
    expect(Object.keys(report.clay[0] ?? {})).toEqual(expect.arrayContaining(CLAY_FIELDS));
    for (const row of report.processes) expect(Object.keys(row)).toEqual(expect.arrayContaining(PROCESS_FIELDS));
    expect(Object.keys(report.totals)).toEqual(expect.arrayContaining(TOTAL_FIELDS));
    // Nothing gets lost on its way to a script: no field is undefined, no number is none.
    expect(asJson(report)).toEqual(report);
  });
  it('contains what was found', () => {
    expect(statusReport(look)).toMatchObject({
      schema: 1,
      at: '2026-11-22T12:00:00.000Z',
      clay: [{ pid: CLAY_PID, uid: 1000, home: CLAY_HOME, api: 'ok', apiError: null, projects: 2, processing: 1 }],
      totals: {
        processes: 3,
        protected: 1,
        grace: 1,
        reap: 1,
        rssBytes: 1230,
        reapBytes: 30,
        reclaimableBytes: 1230,
        reapReclaimableBytes: 30,
      },
    });
  });
  it('contains the reasons of a protected process', () => {
    const [row] = statusReport(look).processes;
    expect(row).toEqual({
      pid: 1,
      startTicks: 11,
      ppid: CLAY_PID,
      uid: 1000,
      clayPid: CLAY_PID,
      ageSeconds: 86_400,
      rssBytes: 1000,
      reclaimableBytes: 1000,
      cpuPercent: 3.1,
      cwd: '/srv/projects/alpha',
      project: 'alpha',
      sessionId: SESSION,
      sdkVersion: '0.2.92',
      claudeRelease: null,
      unknownShapes: [],
      socketFds: 2,
      connections: 0,
      children: 0,
      verdict: 'protected',
      orphan: null,
      reasons: [
        { code: 'young', detail: 'because of young' },
        { code: 'terminal', detail: 'because of terminal' },
      ],
      idleSeconds: null,
      graceSeconds: null,
      reapInSeconds: null,
    });
  });
  it('contains the time left of an orphan', () => {
    const [, grace, reap] = statusReport(look).processes;
    expect(grace).toMatchObject({
      verdict: 'grace',
      orphan: 'parked',
      reasons: [],
      idleSeconds: 600,
      graceSeconds: 1800,
      reapInSeconds: 1200,
    });
    expect(reap).toMatchObject({
      verdict: 'reap',
      orphan: 'superseded',
      reasons: [],
      idleSeconds: 3600,
      graceSeconds: 300,
      reapInSeconds: 0,
    });
  });
  it('has null for a wait without an end', () => {
    const judgements = [orphan({ verdict: 'grace', waitMs: Number.POSITIVE_INFINITY })];
    const report = statusReport(lookWith({ judgements }));
    expect(asJson(report)).toEqual(report);
    expect(report.processes[0]).toMatchObject({ idleSeconds: 3600, graceSeconds: null, reapInSeconds: null });
  });
  it('rounds seconds and percentages to a tenth', () => {
    const judgements = [orphan({ verdict: 'grace', idleMs: 1234, waitMs: 5000 }, { ageMs: 61_250 })];
    expect(statusReport(lookWith({ judgements })).processes[0]).toMatchObject({
      ageSeconds: 61.3,
      idleSeconds: 1.2,
      reapInSeconds: 3.8,
    });
  });
  it('has null for what is not known', () => {
    const unknown = protectedBy(['unverified'], {
      cwd: null,
      project: null,
      sessionId: null,
      sdkVersion: null,
      clay: { state: 'dead', home: CLAY_HOME },
    });
    expect(statusReport(lookWith({ judgements: [{ ...unknown, cpu: null }] })).processes[0]).toMatchObject({
      cwd: null,
      project: null,
      sessionId: null,
      sdkVersion: null,
      clayPid: null,
      cpuPercent: 0,
    });
  });
  it('contains the CPU use and memory that were measured', () => {
    const usage = new Map([[2, { cpuPercent: 12.345, rssBytes: 777 }]]);
    const report = statusReport(look, usage);
    expect(report.processes[1]).toMatchObject({ cpuPercent: 12.3, rssBytes: 777 });
    expect(report.totals.rssBytes).toBe(1000 + 777 + 30);
  });
  it('contains the error of a Clay without a usable answer or without permission', () => {
    const clays = [clayLook({ error: 'no answer within 2 s' }), clayLook({ pid: 7, blind: 'CAP_KILL' })];
    expect(statusReport(lookWith({ clays })).clay).toMatchObject([
      { api: 'unreachable', apiError: 'no answer within 2 s', projects: 0, processing: 0, blind: null },
      { api: 'ok', apiError: null, blind: 'CAP_KILL' },
    ]);
  });
  it('is complete without any Clay', () => {
    expect(statusReport(lookWith({ clays: [] }))).toMatchObject({
      schema: 1,
      clay: [],
      processes: [],
      totals: { processes: 0, protected: 0, grace: 0, reap: 0, rssBytes: 0, reapBytes: 0 },
    });
  });
});

describe('cleanup --json', () => {
  it.each(Object.keys(ENDINGS) as Outcome['outcome'][])('contains the outcome of a process: %s', (outcome) => {
    const report = cleanupReport(look, [reapedAs(outcome, due)], false);
    expect(report.processes[2]).toMatchObject({ pid: 3, verdict: 'reap', outcome });
    expect(asJson(report)).toEqual(report);
  });
  it('contains an outcome only for processes judged reap', () => {
    const report = cleanupReport(look, [reapedAs('terminated', due)], false);
    for (const row of report.processes) expect('outcome' in row).toBe(row.verdict === 'reap');
  });
  it('contains all fields of status', () => {
    const { processes, totals, ...rest } = statusReport(look);
    const report = cleanupReport(look, [reapedAs('terminated', due)], false);
    expect(report).toMatchObject({ ...rest, totals, processes });
  });
  it('contains why a process was spared or survived', () => {
    const [, , row] = cleanupReport(look, [reapedAs('spared', due)], false).processes;
    expect(row).toMatchObject({ outcome: 'spared', outcomeDetail: 'busy: its session file says "busy"' });
  });
  it('contains would-reap in a dry run and after a "no"', () => {
    expect(cleanupReport(look, [], true).processes[2]).toMatchObject({ outcome: 'would-reap' });
    expect(cleanupReport(look, [], false).processes[2]).toMatchObject({ outcome: 'would-reap' });
    expect(cleanupReport(look, [], true).totals).toMatchObject({ reclaimedBytes: 0, failed: 0 });
  });
  it('sums the memory that came back and counts failures', () => {
    const bytes = (rssBytes: number) => orphan({}, { rssBytes });
    const reaped = [
      reapedAs('terminated', bytes(1)),
      reapedAs('killed', bytes(20)),
      reapedAs('survived', bytes(300)),
      reapedAs('vanished', bytes(4000)),
      reapedAs('spared', bytes(50_000)),
    ];
    expect(cleanupReport(look, reaped, false).totals).toMatchObject({ reclaimedBytes: 21, failed: 1, reapBytes: 30 });
  });
});

describe('numbers', () => {
  it('match the evidence', () => {
    const evidence = {
      socketFds: 7,
      children: 3,
      connections: [1, 2].map((inode) => ({ inode, local: 'a', remote: 'b' })),
      descendants: [{ pid: 9, startTicks: 9 }],
    };
    const judgements = [orphan({ idleMs: 31 * SECOND + HOUR }, evidence)];
    expect(statusReport(lookWith({ judgements })).processes[0]).toMatchObject({
      socketFds: 7,
      children: 3,
      connections: 2,
      rssBytes: idleEvidence().rssBytes,
    });
  });
});
