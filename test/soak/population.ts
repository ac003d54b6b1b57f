import type { Clay, FakeClaude, FakeClaudeOptions } from '../helpers/clay.ts';

/** A fake claude from its birth to its death; times in ms since the epoch. */
export type Life = {
  readonly claude: FakeClaude;
  readonly clay: Clay;
  /** What it is, for whoever reads why a test failed. */
  readonly kind: string;
  /** Somebody's work until then. */
  readonly workUntil: number;
  /** Since when it is an orphan, all of its files written; null while it is somebody's work. */
  idleSince: number | null;
  /** Was at work before it came to rest, so that it cannot be an orphan for longer than we have seen it rest. */
  readonly hasWorked: boolean;
};

const NATIVE = { shape: 'native' } as const;
const LONG_AGO = { ...NATIVE, idleSeconds: 3600 } as const;

/** What makes a process somebody's work. */
const WORK: Readonly<Record<string, FakeClaudeOptions>> = {
  'a permission prompt': { ...NATIVE, project: 'work', journal: 'permission' },
  'an open turn': { ...NATIVE, project: 'work', journal: 'open' },
  'a busy session': { ...LONG_AGO, project: 'rest', start: { sessionFile: { status: 'busy' } } },
  'a waiting session': { ...LONG_AGO, project: 'rest', start: { sessionFile: { status: 'waiting' } } },
};

/** Orphans from birth on; those whose files are from long ago have waited for their grace period already. */
const ORPHANS: Readonly<Record<string, FakeClaudeOptions>> = {
  parked: { ...NATIVE, project: 'rest', journal: 'ended' },
  'parked long ago': { ...LONG_AGO, project: 'rest', journal: 'ended' },
  'deaf to SIGTERM': { ...NATIVE, project: 'rest', journal: 'ended', start: { ignoreSigterm: true } },
  deleted: { ...LONG_AGO, project: 'rest', journal: null },
};

const anyOf = <T>(list: readonly T[]): T => list[Math.floor(Math.random() * list.length)] as T;

/** A new process, at work for some seconds or an orphan from the start. */
export async function birth(clay: Clay): Promise<Life> {
  const atWork = Math.random() < 0.4;
  const [kind, options] = anyOf(Object.entries(atWork ? WORK : ORPHANS));
  const claude = await clay.spawnClaude(options);
  const now = Date.now();
  return {
    claude,
    clay,
    kind,
    workUntil: atWork ? now + 500 + Math.random() * 5_000 : now,
    idleSince: atWork ? null : now,
    hasWorked: atWork,
  };
}

/** Its turn is over: from now on it is an orphan. */
export async function comeToRest(life: Life): Promise<void> {
  await life.claude.command({ sessionFile: { status: 'idle' } });
  await life.claude.record([{ type: 'result' }, { type: 'done', code: 0 }]);
  life.idleSince = Date.now();
}
