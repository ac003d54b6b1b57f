import { appendFileSync, mkdirSync, mkdtempSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { BUDGET_EXHAUSTED, newUserBudgets } from '../../../src/fs/user-budget.ts';
import type { Conversation } from '../../../src/observe/conversation.ts';
import { newIssues } from '../../../src/observe/issues.ts';
import { newProcessCache, type ProcessCache } from '../../../src/observe/process-cache.ts';
import { readStat } from '../../../src/proc/stat.ts';
import { noLimit, noLimits } from '../../helpers/budget.ts';
import { SESSION } from '../../helpers/evidence.ts';
import { type FakeProc, fakeProc } from '../../helpers/fake-proc.ts';

const uid = process.getuid?.() ?? 0;
const PID = 16_246;
const START_TICKS = 135_996;
const OTHER_SESSION = '6239bc70-f521-431b-bb12-efceed24bde5';
const ENDED = '{"type":"meta"}\n{"type":"user_message","text":"x"}\n{"type":"done","code":0}\n';
const QUEUED = ENDED.replace('{"type":"done"', '{"type":"user_message","text":"y"}\n{"type":"done"');
const TRANSCRIPT = `.claude/projects/-srv-alpha/${SESSION}.jsonl`;
const JOURNAL = `.clay/sessions/-srv-alpha/${SESSION}.jsonl`;
const SUBAGENT = `.claude/projects/-srv-alpha/${SESSION}/subagents/agent-1.jsonl`;
const SESSION_FILE = `.claude/sessions/${PID}.json`;

let dir: string;
let proc: FakeProc;
let cache: ProcessCache;
let clayHome: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'clay-reaper-conversation-'));
  proc = fakeProc();
  cache = newProcessCache(proc.root);
  clayHome = '.clay';
  // A file that changed within the last 2 s counts as changed, because the times of a file are coarse.
  vi.useFakeTimers({ now: Date.now() + 10_000, toFake: ['Date'] });
  putProcess();
  putSessionFile();
  put(TRANSCRIPT, '{}\n');
  put(JOURNAL, ENDED);
});
afterEach(() => {
  vi.useRealTimers();
  proc.end();
  rmSync(dir, { recursive: true, force: true });
});

const at = (path: string): string => join(dir, path);
function put(path: string, content: string): void {
  mkdirSync(dirname(at(path)), { recursive: true });
  writeFileSync(at(path), content);
}
const putProcess = (comm = 'claude', configDir = '.claude'): void =>
  proc.put({ pid: PID, uid, comm, startTicks: START_TICKS, environ: { CLAUDE_CONFIG_DIR: at(configDir) } });
const putSessionFile = (fields: object = {}): void =>
  put(
    SESSION_FILE,
    JSON.stringify({ pid: PID, sessionId: SESSION, procStart: `${START_TICKS}`, status: 'idle', ...fields }),
  );

const moveClay = (home: string): void => {
  clayHome = home;
};
const replaceByFolder = (path: string): void => {
  unlinkSync(at(path));
  mkdirSync(at(path));
};

/** As a sweep does, with what it knows from the one before. */
function read(from = cache, budgets = noLimits, issues = newIssues()): Conversation {
  const stat = readStat(proc.root, PID);
  if (!stat.ok) throw new Error(stat.failure.detail);
  const environment = from.readEnvironment(stat.value, noLimit);
  if (!environment.ok) throw new Error(environment.failure.detail);
  const owner = {
    environment: environment.value,
    process: { pid: PID, uid, startTicks: START_TICKS, startedAtMs: [0] },
    cwd: '/srv/alpha',
    clay: { state: 'dead', home: at(clayHome), uid },
  } as const;
  return from.readConversation(owner, budgets, issues);
}
/** As a sweep does that knows nothing yet. */
const readAnew = (): Conversation => read(newProcessCache(proc.root));

describe('a conversation that was read before', () => {
  it('is given as before while no file has changed', () => {
    const first = read();
    expect(first).toMatchObject({
      session: { status: 'idle' },
      transcript: { scheduledRuns: [] },
      journal: { evidence: { state: 'found', turn: 'ended' } },
    });
    expect(read()).toBe(first);
    expect(first).toEqual(readAnew());
  });

  const CHANGES: readonly (readonly [what: string, change: () => void])[] = [
    ['its session file says that it is busy', () => putSessionFile({ status: 'busy' })],
    ['its session file names another conversation', () => putSessionFile({ sessionId: OTHER_SESSION })],
    ['its session file is gone', () => unlinkSync(at(SESSION_FILE))],
    ['its transcript has grown', () => appendFileSync(at(TRANSCRIPT), '{"type":"user"}\n')],
    ['its transcript is gone', () => unlinkSync(at(TRANSCRIPT))],
    ['a subagent has a transcript', () => put(SUBAGENT, '{}\n')],
    ['a turn is open in its journal', () => appendFileSync(at(JOURNAL), '{"type":"user_message"}\n')],
    ['its journal is gone', () => unlinkSync(at(JOURNAL))],
    ['its Clay has another home', () => moveClay('other')],
    ['it has executed another program', () => putProcess('other', 'other')],
  ];
  it.each(CHANGES)('is read again when %s', (_, change) => {
    const first = read();
    change();
    const second = read();
    expect(second).not.toBe(first);
    expect(second).toEqual(readAnew());
  });

  it('is read again when the transcripts of its subagents are gone', () => {
    put(SUBAGENT, '{}\n');
    const first = read();
    rmSync(dirname(at(SUBAGENT)), { recursive: true });
    const second = read();
    expect(second).not.toEqual(first);
    expect(second).toEqual(readAnew());
  });

  const INCOMPLETE: readonly (readonly [what: string, prepare: () => void])[] = [
    ['its session file may be of an earlier process', () => putSessionFile({ procStart: undefined, startedAt: 1 })],
    ['it has no session file', () => unlinkSync(at(SESSION_FILE))],
    ['it has no transcript', () => unlinkSync(at(TRANSCRIPT))],
    ['it has subagents', () => put(SUBAGENT, '{}\n')],
    ['it has no journal', () => unlinkSync(at(JOURNAL))],
    ['messages may be queued', () => put(JOURNAL, QUEUED)],
    ['its journal cannot be read', () => replaceByFolder(JOURNAL)],
  ];
  it.each(INCOMPLETE)('is read each time while %s', (_, prepare) => {
    prepare();
    const first = read();
    expect(read()).not.toBe(first);
    expect(read()).toEqual(first);
  });

  it('is read again for a recheck', () => {
    const first = read();
    const recheck = cache.forRecheck({ pid: PID, startTicks: START_TICKS });
    expect(read(recheck)).not.toBe(first);
    expect(read(recheck)).toEqual(first);
  });

  it('counts in each sweep what is kept of it', () => {
    const first = read();
    const budgets = newUserBudgets({ ms: 1e9, bytes: 1e9, items: 5 }, null);
    const issues = newIssues();
    expect(read(cache, budgets, issues)).not.toBe(first);
    expect(issues.messages).toContain(BUDGET_EXHAUSTED);
  });
});
