import { readFileSync } from 'node:fs';
import type { CpuPart, Evidence } from '../../src/judge/evidence.ts';
import { keyOf } from '../../src/proc/process-id.ts';
import { CLAY_HOME, CLAY_PID, cpuPart, idleEvidence, JOURNAL, NOW, SESSION } from './evidence.ts';

/** What the other witnesses said from a moment on; times in ms since the recording began, null or '-': not there. */
type Witnesses = {
  readonly connections: number;
  readonly tools: number;
  readonly hook: boolean;
  /** null: no session file; '-': a session file without a status. */
  readonly status: string | null;
  readonly statusAt: number | null;
  readonly transcript: number | null;
  readonly turn: 'open' | 'ended';
  readonly turnAt: number;
  readonly loadPerCore: number | null;
};

/**
 * One real `claude`, read once a second. Each row: ms since the recording began, then the CPU time of each part in ticks
 * of 10 ms: `claude` itself, then its children, null while there is none.
 */
export type Recording = {
  readonly sdk: string;
  readonly situation: string;
  readonly atWork: boolean;
  /** From here on the process is in its situation, ms. */
  readonly since: number;
  readonly changes: readonly (readonly [number, Witnesses])[];
  readonly rows: readonly (readonly [number, ...(number | null)[]])[];
};

/** All recordings. */
export const RECORDINGS: readonly Recording[] = readFileSync(
  new URL('../fixtures/cpu-recordings.jsonl', import.meta.url),
  'utf8',
)
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line) as Recording);

/** Gives the evidence on a recorded process at ever later moments. */
export type Player = { readonly evidenceAt: (ms: number) => Evidence };

const ID = { pid: 16_246, startTicks: 135_996 };
const BLOCK_MS = 60_000;

/**
 * Plays a recording, and beyond its end blocks of a minute from its situation, chosen by `random` (0 to 1), for as long as is
 * asked for. `speed`: how many times slower than the recorded one the machine is: everything takes so many times more CPU.
 */
export function play(recording: Recording, random: () => number, speed = 1): Player {
  const { rows, since } = recording;
  const parts = (rows[0]?.length ?? 1) - 1;
  const used = Array<number>(parts).fill(0);
  const first = Math.max(
    0,
    rows.findIndex(([ms]) => ms >= since + 5_000),
  );
  let row = 0;
  let [nowMs = 0] = rows[0] ?? [];
  let blockMs = Number.POSITIVE_INFINITY;

  const step = (): void => {
    const [from, to] = [rows[row], rows[row + 1]];
    if (!from || !to || blockMs <= 0) {
      row = first + Math.floor(random() * Math.max(1, rows.length - first - 30));
      blockMs = BLOCK_MS;
      return;
    }
    for (let part = 0; part < parts; part++) {
      used[part] = (used[part] ?? 0) + Math.max(0, (to[part + 1] ?? 0) - (from[part + 1] ?? 0));
    }
    row += 1;
    nowMs += to[0] - from[0];
    blockMs -= to[0] - from[0];
  };
  const partsNow = (): Map<string, CpuPart> => {
    const [, ...ticks] = rows[row] ?? [0];
    const entries = ticks.flatMap((tick, part): [string, CpuPart][] => {
      if (tick === null) return [];
      const id = part === 0 ? ID : { pid: 20_000 + part, startTicks: 1 };
      return [[keyOf(id), cpuPart(id.pid, { [keyOf(id)]: (used[part] ?? 0) * 10 * speed })]];
    });
    return new Map(entries);
  };
  return {
    evidenceAt: (ms) => {
      while (nowMs < ms) step();
      return evidenceOf(witnessesAt(recording, rows[row]?.[0] ?? 0, nowMs), partsNow(), nowMs);
    },
  };
}

/** What the witnesses said; beyond the end of the recording, times are as they were last. */
function witnessesAt({ changes, rows }: Recording, recordedMs: number, nowMs: number): Witnesses {
  const isBeyond = nowMs > (rows.at(-1)?.[0] ?? 0);
  const last = changes.findLast(([ms]) => isBeyond || ms <= recordedMs) ?? changes[0];
  const now = changes.findLast(([ms]) => ms <= recordedMs) ?? changes[0];
  if (!last || !now) throw new Error('a recording without witnesses');
  // Connections and tools come and go in the situation; the files of the conversation do not.
  return { ...last[1], connections: now[1].connections, tools: now[1].tools, hook: now[1].hook };
}

/** The wall clock at the beginning of a recording. */
export const BEGAN_MS = NOW.wallMs;

function evidenceOf(witnesses: Witnesses, cpuParts: ReadonlyMap<string, CpuPart>, nowMs: number): Evidence {
  const { status, statusAt, transcript, turn, turnAt } = witnesses;
  const isTied = status !== null;
  const inTurn = turn === 'open';
  return idleEvidence({
    id: ID,
    startedAtMs: BEGAN_MS,
    // Older than min_age, which would protect the first minute.
    ageMs: nowMs + 3_600_000,
    cpuParts,
    loadPerCore: witnesses.loadPerCore ?? 1,
    connections: Array.from({ length: witnesses.connections }, (_, inode) => ({ inode, local: 'a', remote: 'b' })),
    tools: [
      ...Array.from({ length: witnesses.tools }, () => ({ pid: 5, why: 'own session' as const })),
      ...(witnesses.hook ? [{ pid: 6, why: 'hook' as const }] : []),
    ],
    sessionId: isTied ? SESSION : null,
    status: status === '-' ? null : status,
    statusUpdatedAtMs: statusAt === null ? null : BEGAN_MS + statusAt,
    transcriptChangedAtMs: isTied && transcript !== null ? BEGAN_MS + transcript : null,
    journal: isTied
      ? {
          state: 'found',
          path: JOURNAL,
          turn,
          decidedBy: inTurn ? 'delta' : 'done',
          changedAtMs: BEGAN_MS + turnAt,
        }
      : { state: 'unknown' },
    clay: { state: 'answered', pid: CLAY_PID, home: CLAY_HOME, busyProjects: inTurn ? ['alpha'] : [] },
    project: { slug: 'alpha', path: '/srv/projects/alpha', inTurn },
  });
}

/** Random numbers from 0 to 1 that are the same for the same seed (a linear congruential generator). */
export function randomOf(seed: number): () => number {
  let state = (seed * 2_654_435_761) % 2 ** 32;
  return () => {
    state = (1_664_525 * state + 1_013_904_223) % 2 ** 32;
    return state / 2 ** 32;
  };
}
