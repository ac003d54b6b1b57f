// Mallory's own Clay: it has a home, a socket that answers, and what an attack needs. `node lib/daemon.js ATTACK` with the
// program of hostile.c as ~/bin/claude. It prints "ready" when everything is in place.
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync, linkSync, mkdirSync, rmSync, statSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { homedir } from 'node:os';
import { join } from 'node:path';

const home = homedir();
const clayHome = join(home, '.clay');
const configDir = join(home, '.claude');
const projects = join(configDir, 'projects');
const project = join(home, 'project');
const program = join(home, 'bin/claude');
/** Where the transcripts of the project are. */
const projectFolder = join(projects, project.replace(/[^a-zA-Z0-9]/g, '-'));
/** More homes of hers. */
const homes = join(home, 'homes');
/** Changes when one of her processes gets a SIGTERM that it survives. */
const termed = join(home, 'termed');
/** `lib/daemon.js` of this Clay; whatever has it in its command line passes for a daemon. */
const script = process.argv[1];

/** MAX_ARG_STRLEN in linux/binfmts.h is 128 KiB; all of them together may have a quarter of the stack's limit, 2 MB. */
const LONG_ARGUMENTS = Array(7).fill('x'.repeat(130_000));

const ATTACKS = {
  'sparse transcripts': async () => {
    const { folder } = await withTranscript('');
    for (let n = 0; n < 1_000; n += 1) {
      const path = join(folder, `agent-${n}.jsonl`);
      writeFileSync(path, '');
      // What is longer than 256 MB was not read in 0.1.0.
      truncateSync(path, 255 * 2 ** 20);
    }
  },
  'empty folders': async () => {
    for (let n = 0; n < 9_999; n += 1) {
      mkdirSync(join(projects, `empty-${n}`));
      mkdirSync(join(clayHome, 'sessions', `empty-${n}`));
    }
    for (let n = 0; n < 50; n += 1) writeSession(await claude(['wait']), randomUUID());
  },
  'forks with long command lines': () => claude(['forks', '4000', ...LONG_ARGUMENTS]),
  'alarms on 30 February': () => withTranscript(alarms(3_300, { cron: '0 0 30 2 *', recurring: false })),
  'network namespaces': async () => {
    for (let n = 0; n < 500; n += 1) await claude(['namespace']);
  },
  'calls without an answer': async () => {
    const { folder } = await withTranscript('');
    const calls = Array.from({ length: 1_000 }, (_, n) =>
      call(`toolu_${n}${'x'.repeat(180)}`, { cron: 'x'.repeat(190) }),
    );
    writeFileSync(join(folder, 'agent-0.jsonl'), calls.join(''));
    for (let n = 1; n < 1_000; n += 1) linkSync(join(folder, 'agent-0.jsonl'), join(folder, `agent-${n}.jsonl`));
  },
  'daemon.json of 1 MB': async () => {
    const many = Array.from({ length: 4_500 }, (_, n) => ({ slug: `${n}`, path: `/${'x'.repeat(190)}` }));
    const config = join(home, 'daemon.json');
    writeFileSync(config, JSON.stringify({ pid: process.pid, projects: many }));
    for (let n = 0; n < 256; n += 1) {
      const other = join(homes, `${n}`);
      mkdirSync(other, { recursive: true });
      for (const name of ['daemon.json', 'daemon-dev.json']) linkSync(config, join(other, name));
      await passForDaemon({ CLAY_HOME: other });
    }
  },
  'long homes': () => claude(['homes', '8000', script]),
  'a command line that backtracks': () => claude(['backtrack', ...LONG_ARGUMENTS]),
  // More than max_kills_per_sweep; whoever asks after one of them was to end hears that there is a turn.
  'deaf to SIGTERM': async () => {
    for (let n = 0; n < 120; n += 1) {
      const sessionId = randomUUID();
      const transcript = join(projectFolder, `${sessionId}.jsonl`);
      mkdirSync(projectFolder, { recursive: true });
      writeFileSync(transcript, '{}\n');
      utimesSync(transcript, 1, 1);
      writeSession(await claude(['deaf', termed]), sessionId);
    }
  },
  // More than 32 MB of /proc/net/unix.
  'abstract sockets': async () => {
    for (let n = 0; n < 10; n += 1) await claude(['sockets']);
  },
};

/** Starts a program with the environment that the Agent SDK gives a claude, and waits until it is as it should be. */
function claude(args) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      cwd: project,
      env: { HOME: home, CLAY_HOME: clayHome, CLAUDE_CODE_ENTRYPOINT: 'sdk-ts', CLAUDE_AGENT_SDK_VERSION: '0.2.92' },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    child.once('exit', (code) => reject(new Error(`${args[0]} exited with ${code}`)));
    child.stdout.once('data', () => resolve(child.pid));
  });
}

/** A process that looks like a daemon of this package. */
function passForDaemon(env) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, ['wait', script], { env, stdio: ['ignore', 'ignore', 'inherit'] });
    child.once('error', reject).once('spawn', resolve);
  });
}

function writeSession(pid, sessionId) {
  writeFileSync(
    join(configDir, 'sessions', `${pid}.json`),
    JSON.stringify({ pid, sessionId, cwd: project, startedAt: Date.now(), kind: 'interactive', entrypoint: 'sdk-ts' }),
  );
}

/** A claude with a transcript; `folder`: where its subagents have theirs. */
async function withTranscript(text) {
  const sessionId = randomUUID();
  const folder = join(projectFolder, sessionId, 'subagents');
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(projectFolder, `${sessionId}.jsonl`), text);
  const pid = await claude(['wait']);
  writeSession(pid, sessionId);
  return { pid, folder };
}

const record = (content) => `${JSON.stringify({ timestamp: new Date().toISOString(), message: { content } })}\n`;
const call = (id, input) => record([{ type: 'tool_use', id, name: 'CronCreate', input }]);
const alarms = (count, input) =>
  Array.from({ length: count }, (_, n) => `toolu_${n}`)
    .map((id) => call(id, input) + record([{ type: 'tool_result', tool_use_id: id, content: 'x' }]))
    .join('');

for (const path of [configDir, clayHome, homes, termed]) rmSync(path, { recursive: true, force: true });
for (const path of [join(configDir, 'sessions'), projects, join(clayHome, 'sessions'), project])
  mkdirSync(path, { recursive: true, mode: 0o700 });
const wasTermed = () => existsSync(termed) && Date.now() - statSync(termed).mtimeMs < 2_000;
const status = () => ({
  ok: true,
  pid: process.pid,
  projects: [{ slug: 'project', path: project, isProcessing: wasTermed(), pendingPermissions: 0 }],
});
createServer((socket) => {
  socket.on('error', () => {}).on('data', () => socket.write(`${JSON.stringify(status())}\n`));
}).listen(join(clayHome, 'daemon.sock'));
await ATTACKS[process.argv[2]]();
// Last: when a daemon appears, the process table is scanned.
writeFileSync(join(clayHome, 'daemon.json'), JSON.stringify({ pid: process.pid, projects: [] }), { mode: 0o600 });
console.log('ready');
