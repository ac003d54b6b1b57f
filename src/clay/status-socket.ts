import { closeSync } from 'node:fs';
import { Socket } from 'node:net';
import * as v from 'valibot';
import { parseJsonAs } from '../fs/json.ts';
import { openSocketFile, procFdPath } from '../fs/unix-socket.ts';
import type { UserBudget } from '../fs/user-budget.ts';
import { fail, type Result, toFailure } from '../result.ts';

const count = v.pipe(v.number(), v.integer(), v.minValue(0));

/** A slug ends up in logs and in the history: one that is longer than any honest one is not taken. */
export const Slug = v.pipe(v.string(), v.maxLength(256));

/** limits.h, PATH_MAX. */
export const Path = v.pipe(v.string(), v.maxLength(4096));

const ProjectStatus = v.object({
  slug: Slug,
  path: Path,
  isProcessing: v.boolean(),
  pendingPermissions: count,
});

const StatusAnswer = v.object({ ok: v.literal(true), pid: count, projects: v.array(ProjectStatus) });

/** A project in the answer of Clay's `get_status` (the same shape from 2.17 to 4.8). */
export type ClayProject = v.InferOutput<typeof ProjectStatus>;

/** What Clay says of itself. */
export type ClayStatus = v.InferOutput<typeof StatusAnswer>;

/** An answer that takes longer is none: a Clay at rest gives it in some milliseconds. */
export const API_TIMEOUT_MS = 2_000;

/** Some 12,000 projects. */
const MAX_ANSWER_BYTES = 4 * 1024 * 1024;

/** A Clay with 200 projects answers less. Answers up to this size do not count against the shared limit. */
const SMALL_ANSWER_BYTES = 64 * 1024;

/**
 * Many Clays are asked at once, and a user can run any number of them: larger answers share this, so that
 * their answers together cannot fill the memory that the service may use.
 */
const MAX_LARGE_BYTES = 16 * 1024 * 1024;
let largeBytes = 0;

/** Whom to ask: the socket, and who has to be behind it. */
export type StatusEndpoint = { readonly socketPath: string; readonly uid: number; readonly pid: number };

/**
 * Asks a Clay daemon for its status: one JSON object a line each way.
 * It has no side effects, unlike Clay's web socket, which makes sessions when one connects to it.
 * Fails with `denied` if the socket may not be connected to, else with what was wrong in the answer.
 */
export function queryStatus(
  { socketPath, uid, pid }: StatusEndpoint,
  budget: UserBudget,
  timeoutMs = API_TIMEOUT_MS,
): Promise<Result<ClayStatus>> {
  const file = openSocketFile(socketPath, uid, budget);
  // No socket (yet, or any more) is an answer that did not come.
  if (!file.ok) return Promise.resolve(file.failure.code === 'not-found' ? fail('invalid', file.failure.detail) : file);
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    let large = 0;
    const socket = new Socket();
    const finish = (result: Result<ClayStatus>): void => {
      clearTimeout(timer);
      largeBytes -= large;
      large = 0;
      socket.destroy();
      resolve(result);
    };
    // One limit for all of it: a daemon that sends a byte a second is as silent as one that sends none.
    const timer = setTimeout(() => finish(fail('invalid', `no answer within ${timeoutMs / 1000} s`)), timeoutMs);
    socket.on('error', (error: NodeJS.ErrnoException) => {
      const denied = error.code === 'EACCES' || error.code === 'EPERM';
      finish(fail(denied ? 'denied' : 'invalid', `cannot connect (${error.code ?? error.message})`));
    });
    socket.on('connect', () => socket.write('{"cmd":"get_status"}\n'));
    socket.on('data', (chunk: Buffer) => {
      const newline = chunk.indexOf(0x0a);
      chunks.push(newline === -1 ? chunk : chunk.subarray(0, newline));
      bytes += chunk.length;
      if (bytes > SMALL_ANSWER_BYTES) {
        large += chunk.length;
        largeBytes += chunk.length;
      }
      if (newline !== -1) finish(parseStatusAnswer(Buffer.concat(chunks).toString('utf8'), pid));
      else if (bytes > MAX_ANSWER_BYTES) finish(fail('invalid', `its answer is longer than ${MAX_ANSWER_BYTES} bytes`));
      else if (largeBytes > MAX_LARGE_BYTES)
        finish(fail('invalid', 'its answer is too long beside those of other Clays'));
    });
    socket.on('close', () => finish(fail('invalid', 'it closed the connection before its answer was whole')));
    try {
      // Not by its path: that may lead to another socket by now. connect(2) is called at once, and needs no descriptor later.
      socket.connect(procFdPath(file.value));
    } catch (error) {
      finish(toFailure(error, socketPath));
    } finally {
      closeSync(file.value);
    }
  });
}

/** Checks an answer to `get_status`; `expectedPid`: the daemon that was asked. */
export function parseStatusAnswer(text: string, expectedPid: number): Result<ClayStatus> {
  const answer = parseJsonAs(StatusAnswer, text);
  if (!answer.ok) return fail('invalid', `its answer ${answer.failure.detail}`);
  if (answer.value.pid !== expectedPid) {
    return fail('invalid', `pid ${answer.value.pid} answers, not the daemon with pid ${expectedPid}`);
  }
  return answer;
}

/** Whether Clay says that a turn is on in the project, one that waits for a permission included. */
export const isInTurn = (project: ClayProject): boolean => project.isProcessing || project.pendingPermissions > 0;
