import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { createServer, type Server } from 'node:net';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { type Assessment, type AssessSettings, type AssessState, assess, newAssessState } from '../../src/assess.ts';
import { findProcRoot } from '../../src/observe/clock.ts';
import { keyOf } from '../../src/proc/process-id.ts';
import { type Captured, createCapturedProc, settingsFor } from '../helpers/captured.ts';

/**
 * Real processes' /proc, as captured, in which one read after the other goes wrong: the file is gone, or may not be read,
 * or the kernel has no memory or descriptor for it. Whatever happens, nothing is thrown into the sweep, and what is at
 * work stays protected.
 */
let captured: Captured;
let settings: AssessSettings;
const servers: Server[] = [];

const CALLS = [
  'openSync',
  'readSync',
  'readlinkSync',
  'opendirSync',
  'lstatSync',
  'fstatSync',
  'realpathSync',
] as const;
const real = { ...fs };
const names = new Map<number, string>();

/** Called before each call, with its number and the path; returns the error that it is to fail with, or null. */
let fault: (nth: number, call: string, path: string) => string | null = () => null;
let calls = 0;

function patch(): void {
  for (const name of CALLS) {
    const original = real[name] as (...args: unknown[]) => unknown;
    Object.assign(fs, {
      [name]: (...args: unknown[]) => {
        const path = typeof args[0] === 'number' ? (names.get(args[0]) ?? '') : String(args[0]);
        // Without the uptime nothing can be judged at all: the sweep as a whole says so.
        const counts = path.startsWith(captured.procRoot) || path.startsWith(captured.userHome);
        if (counts && !path.endsWith('/uptime')) {
          calls += 1;
          const code = fault(calls, name, path);
          if (code === 'ENOENT' && isLenient(args[1])) return undefined;
          if (code !== null) throw Object.assign(new Error(`${code}: made up`), { code });
        }
        const result = original(...args);
        if (name === 'openSync') names.set(result as number, path);
        return result;
      },
    });
  }
  syncBuiltinESMExports();
}

const isLenient = (options: unknown): boolean =>
  typeof options === 'object' && options !== null && 'throwIfNoEntry' in options && options.throwIfNoEntry === false;

function unpatch(): void {
  for (const name of CALLS) Object.assign(fs, { [name]: real[name] });
  syncBuiltinESMExports();
}

beforeAll(async () => {
  captured = createCapturedProc();
  vi.useFakeTimers({ toFake: ['Date'], now: captured.nowMs });
  for (const { pid, socket } of Object.values(captured.clays)) {
    const status = { ...captured.status, pid };
    const server = createServer((connection) => {
      connection.on('error', () => {}).on('data', () => connection.write(`${JSON.stringify(status)}\n`));
    });
    await new Promise<void>((resolve) => server.listen(socket, resolve));
    servers.push(server);
  }
  const procRoot = findProcRoot(captured.procRoot);
  if (!procRoot.ok) throw new Error(procRoot.failure.detail);
  settings = settingsFor(captured, procRoot.value);
  shareSession();
  patch();
});
afterAll(async () => {
  unpatch();
  vi.useRealTimers();
  for (const server of servers) await new Promise((resolve) => server.close(resolve));
  captured?.remove();
});

/** One of the tools shares the session of its claude, as a later release may have it: only its command line shows it. */
function shareSession(): void {
  const { pid } = captured.processes['background-tool'] ?? { pid: 0 };
  const [tool = ''] = real.readFileSync(`${captured.procRoot}/${pid}/task/${pid}/children`, 'utf8').trim().split(' ');
  const fieldsOf = (of: number | string): string[] =>
    real.readFileSync(`${captured.procRoot}/${of}/stat`, 'utf8').split(' ');
  const fields = fieldsOf(tool);
  // Neither name holds a space, so the session is the sixth.
  fields[5] = fieldsOf(pid)[5] ?? '';
  real.writeFileSync(`${captured.procRoot}/${tool}/stat`, fields.join(' '));
}

/** A state in which each process was seen twice before. */
async function seenBefore(): Promise<AssessState> {
  fault = () => null;
  const state = newAssessState(settings.procRoot);
  await assess(settings, state);
  await assess(settings, state);
  return state;
}

/** The verdict on each captured process, by its name; null for one that was left out. */
function verdicts(found: Assessment): Record<string, string | null> {
  return Object.fromEntries(
    Object.entries(captured.processes).map(([name, { pid }]) => [
      name,
      found.judgements.find((judgement) => judgement.evidence.id.pid === pid)?.verdict ?? null,
    ]),
  );
}

/** An assessment with a fault, tracked as after two without; `forgetful`: the observer has read no process before. */
async function lookWith(state: AssessState, faulty: typeof fault, forgetful: boolean): Promise<Assessment> {
  const own = newAssessState(settings.procRoot);
  if (!forgetful) await assess(settings, own);
  own.tracking = new Map(state.tracking);
  calls = 0;
  fault = faulty;
  try {
    return await assess(settings, own);
  } finally {
    fault = () => null;
  }
}

describe.each([
  ['not in the cache', true],
  ['in the cache', false],
])('assessment of processes %s, with failing reads', (_, forgetful) => {
  let state: AssessState;
  let clean: Record<string, string | null>;
  let count: number;
  let trace: { readonly call: string; readonly path: string }[];

  beforeAll(async () => {
    state = await seenBefore();
    trace = [];
    const found = await lookWith(
      state,
      (_nth, call, path) => {
        trace.push({ call, path });
        return null;
      },
      forgetful,
    );
    clean = verdicts(found);
    count = trace.length;
  });

  test('without faults reads over 100 files and finds the idle ones to reap', () => {
    expect(count).toBeGreaterThan(100);
    expect(Object.keys(clean).filter((name) => clean[name] === 'reap')).toEqual(
      expect.arrayContaining(['idle', 'sdk-0.3.330-idle']),
    );
    expect(Object.values(clean).filter((verdict) => verdict === 'protected').length).toBeGreaterThan(3);
    expect(new Set(found(state))).not.toContain(undefined);
  });

  // Of each kind that the program distinguishes: not allowed, no memory or descriptor, nonsense.
  test.each(['EACCES', 'EMFILE', 'ENOMEM', 'EIO', 'ELOOP'])(
    'protects those at work whichever single read fails with %s',
    async (code) => {
      for (let nth = 1; nth <= count; nth += 1) {
        const found = await lookWith(state, (call) => (call === nth ? code : null), forgetful);
        expectNoneLost(found, trace[nth - 1], code);
      }
    },
  );

  test.each(['EACCES', 'EMFILE', 'ENOENT', 'ESRCH'])(
    'protects those at work if every read from some point on fails with %s',
    async (code) => {
      for (let nth = 1; nth <= count; nth += 1) {
        const found = await lookWith(state, (call) => (call >= nth ? code : null), forgetful);
        expectNoneLost(found, trace[nth - 1], code);
      }
    },
  );

  test.each(['ENOENT', 'ESRCH'])(
    'survives a process that exits at any read (%s), without losing protections',
    async (code) => {
      for (let nth = 1; nth <= count; nth += 1) {
        const gone = new RegExp(`^${captured.procRoot}/(\\d+)`).exec(trace[nth - 1]?.path ?? '')?.[1];
        if (gone === undefined) continue;
        const itsOwn = `${captured.procRoot}/${gone}/`;
        const found = await lookWith(
          state,
          (call, _name, path) => (call >= nth && `${path}/`.startsWith(itsOwn) ? code : null),
          forgetful,
        );
        // A tool that has vanished is none any more; the process that it ran below may rest now.
        const isCaptured = Object.values(captured.processes).some(({ pid }) => pid === Number(gone));
        if (isCaptured) expectNoneLost(found, trace[nth - 1], code);
      }
    },
  );

  test.each(['ENOENT', 'ESRCH'])('survives any single missing file (%s), without losing protections', async (code) => {
    for (let nth = 1; nth <= count; nth += 1) {
      const { path } = trace[nth - 1] ?? { path: '' };
      const found = await lookWith(state, (call) => (call === nth ? code : null), forgetful);
      // What may be missing for good reason: a descriptor that was closed, a thread or a tool that ended, a file of Claude's or Clay's.
      const optional = /\/(fd|task)\/|\/home\/|\/tcp6$|\.claude\//.test(path.slice(captured.procRoot.length - 5));
      const own = Object.values(captured.processes).some(({ pid }) => path.startsWith(`${captured.procRoot}/${pid}/`));
      if (own && !optional) expectNoneLost(found, trace[nth - 1], code);
    }
  });

  const found = (of: AssessState): string[] => [...of.tracking.keys()];

  function expectNoneLost(seen: Assessment, at: { call: string; path: string } | undefined, code: string): void {
    const now = verdicts(seen);
    const lost = Object.keys(clean).filter((name) => clean[name] === 'protected' && now[name] === 'reap');
    expect({ lost, at, code }).toEqual({ lost: [], at, code });
    for (const judgement of seen.judgements) expect(keyOf(judgement.evidence.id)).toMatch(/^\d+:\d+$/);
  }
});
