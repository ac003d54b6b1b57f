import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { dirname, join, relative } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { type Assessment, type AssessSettings, assess, newAssessState } from '../../src/assess.ts';
import type { Judgement } from '../../src/judge/judge.ts';
import { SERVICE_OBSERVER } from '../../src/observe/observe.ts';
import { readTitles } from '../../src/observe/titles.ts';
import type { EvidenceSources } from '../../src/report/describe-evidence.ts';
import { explainJudgement, explanationText } from '../../src/report/explain.ts';
import { statusReport } from '../../src/report/json.ts';
import { clayLines, processTable } from '../../src/report/table.ts';
import { type Captured, createCapturedProc, settingsFor } from '../helpers/captured.ts';
import { describeFailure, forTime } from './check.ts';
import { mutatedFrom } from './mutate.ts';

/** The whole sweep over processes of real Clays, as captured, with some of the files and answers mutated that are not the kernel's. */

const TOTAL_MS = Number(process.env.CLAY_REAPER_FUZZ_SECONDS ?? 60) * 500;

/** CPU time of one assessment: an honest one takes 10 ms. All is one user's here, who may use up 1 s. */
const BUDGET_MS = 1_500;
const ATTEMPTS = 3;

/** What the heap may have grown by in all runs together: an observer is forgotten after each. Measured: 2.4 MB in 940 runs. */
const MAX_GROWTH_BYTES = 16 * 1024 * 1024;

/** A pipe has no colours. */
const STYLE = { columns: 200, colour: false };

let captured: Captured;
let settings: AssessSettings;
let files: readonly { readonly path: string; readonly honest: Buffer }[];
let answer: Buffer;
const servers: Server[] = [];

/** The name under which the answer of Clay is mutated, beside the paths of files. */
const ANSWER = 'get_status';

beforeAll(async () => {
  captured = createCapturedProc();
  vi.useFakeTimers({ toFake: ['Date'], now: captured.nowMs });
  addProject();
  for (const { pid, socket } of Object.values(captured.clays)) {
    const server = createServer((connection) => {
      const honest = JSON.stringify({ ...captured.status, pid });
      connection.on('error', () => {}).on('data', () => connection.end(answer.length > 0 ? answer : `${honest}\n`));
    });
    await new Promise<void>((resolve) => server.listen(socket, resolve));
    servers.push(server);
  }
  const root = dirname(dirname(captured.userHome));
  files = [captured.procRoot, captured.userHome, join(root, 'clay-server')]
    .flatMap(filesBelow)
    // The kernel's own, which no user can shape.
    .filter((path) => !/proc\/(uptime|loadavg|stat|self\/.*)$/.test(path))
    .map((path) => ({ path, honest: readFileSync(path) }));
  answer = Buffer.alloc(0);
  settings = settingsFor(captured, captured.procRoot);
});
afterAll(async () => {
  vi.useRealTimers();
  for (const server of servers) await new Promise((resolve) => server.close(resolve));
  captured?.remove();
});

/** Gives one process a working directory that is there, and in it alarms that outlive a process, which it holds the lock of. */
function addProject(): void {
  const { pid } = captured.processes.idle ?? { pid: 0 };
  const project = join(captured.userHome, 'alpha');
  mkdirSync(join(project, '.claude'), { recursive: true });
  writeFileSync(join(project, '.claude/scheduled_tasks.lock'), JSON.stringify({ pid }));
  writeFileSync(join(project, '.claude/scheduled_tasks.json'), '{"tasks":[]}');
  rmSync(join(captured.procRoot, String(pid), 'cwd'));
  symlinkSync(project, join(captured.procRoot, String(pid), 'cwd'));
}

/** Without following links: those of processes lead out of the tree. */
const filesBelow = (folder: string): string[] =>
  readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    return entry.isDirectory() ? filesBelow(path) : entry.isFile() ? [path] : [];
  });

const sourcesOf = ({ cache }: Assessment, { evidence }: Judgement): EvidenceSources => {
  const { environment, transcriptPath } = cache.lastSources(evidence.id) ?? { environment: null, transcriptPath: null };
  return {
    procRoot: settings.procRoot,
    environment,
    transcript: transcriptPath,
    clay: evidence.clay.home,
    usage: null,
  };
};

/** Judges twice, as a sweep after a sweep, and shows what a person sees; the CPU time of the slower one, ms. */
async function sweepTwice(): Promise<{ readonly slowestMs: number; readonly shown: string; readonly rows: number }> {
  const state = newAssessState(settings.procRoot, SERVICE_OBSERVER);
  let slowestMs = 0;
  let shown = '';
  let rows = 0;
  for (let sweep = 0; sweep < 2; sweep++) {
    const before = process.cpuUsage();
    const assessment = await assess(settings, state);
    const { user, system } = process.cpuUsage(before);
    slowestMs = Math.max(slowestMs, (user + system) / 1000);
    const titles = readTitles(assessment);
    JSON.stringify(statusReport(assessment));
    rows = assessment.judgements.length;
    const explained = assessment.judgements.map((judgement) =>
      explanationText(explainJudgement(judgement, assessment, sourcesOf(assessment, judgement)), judgement, STYLE),
    );
    const table = processTable(assessment.judgements, { titles }, STYLE);
    shown = [...clayLines(assessment, new Map()), table, ...explained].join('\n');
  }
  return { slowestMs, shown, rows };
}

/** Control characters that a terminal obeys; the program's own colours are off without a terminal. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not be there.
const OBEYED = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e]/u;

it('takes the captured processes as they are', async () => {
  const { slowestMs, rows } = await sweepTwice();
  expect(rows).toBe(Object.keys(captured.processes).length);
  expect(slowestMs).toBeLessThan(500);
});

it(
  'neither throws, nor takes long, nor grows, nor shows control characters, whatever files and answers hold',
  async () => {
    const changes = fc.uniqueArray(fc.nat({ max: files.length }), { minLength: 1, maxLength: 3 }).chain((chosen) =>
      fc.tuple(
        ...chosen.map((index) => {
          const honest = files[index]?.honest ?? Buffer.from(`${JSON.stringify({ ...captured.status, pid: 1 })}\n`);
          return fc.record({ path: fc.constant(files[index]?.path ?? ANSWER), content: mutatedFrom([honest]) });
        }),
      ),
    );
    const property = fc.asyncProperty(changes, async (changed) => {
      const where = changed.map(({ path }) => relative(captured.procRoot, path)).join(', ');
      try {
        for (const { path, content } of changed) {
          if (path === ANSWER) answer = content;
          else writeFileSync(path, content);
        }
        let { slowestMs, shown } = await sweepTwice();
        // The smallest of some, as the machine is busy with something else in some of them.
        for (let attempt = 1; attempt < ATTEMPTS && slowestMs > BUDGET_MS; attempt++)
          slowestMs = Math.min(slowestMs, (await sweepTwice()).slowestMs);
        if (slowestMs > BUDGET_MS) throw new Error(`a sweep took ${Math.round(slowestMs)} ms with another ${where}`);
        if (OBEYED.test(shown)) throw new Error(`${JSON.stringify(OBEYED.exec(shown))} is shown with another ${where}`);
      } finally {
        answer = Buffer.alloc(0);
        for (const { path } of changed) {
          const honest = files.find((file) => file.path === path)?.honest;
          if (honest) writeFileSync(path, honest);
        }
      }
    });
    const heap = (): number => {
      if (!globalThis.gc) throw new Error('start Node with --expose-gc');
      globalThis.gc();
      return process.memoryUsage().heapUsed;
    };
    // The first runs make what stays: compiled code, and the buffers of the readers.
    await fc.check(property, forTime(TOTAL_MS / 10));
    const before = heap();
    const run = await fc.check(property, forTime(TOTAL_MS));
    if (run.failed) throw new Error(describeFailure(run));
    expect(run.numRuns).toBeGreaterThan(5);
    expect(heap() - before).toBeLessThan(MAX_GROWTH_BYTES);
  },
  2 * TOTAL_MS + 60_000,
);
