import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isToolShell, parseClaudeEnvironment } from '../../src/claude/process.ts';
import { areAnswered } from '../../src/claude/prompt-queue.ts';
import { compareReleases } from '../../src/claude/release.ts';
import { createScheduleParser } from '../../src/claude/schedule.ts';
import { parseSessionFile } from '../../src/claude/session-file.ts';
import { parseDaemonFile } from '../../src/clay/daemon.ts';
import { passwdHomes } from '../../src/clay/homes.ts';
import { parseJournalTail, readTitle } from '../../src/clay/journal.ts';
import { parseStatusAnswer } from '../../src/clay/status-socket.ts';
import { homeOfUser, sudoUidOf } from '../../src/clay/sudo-user.ts';
import { parseDuration } from '../../src/config/duration.ts';
import { parseConfigFile, UsageError } from '../../src/config/load.ts';
import { parseJson } from '../../src/fs/json.ts';
import { parseUserNames } from '../../src/fs/passwd.ts';
import { parseSince } from '../../src/history/since.ts';
import { readHistory } from '../../src/history/store.ts';
import { parseCmdline } from '../../src/proc/cmdline.ts';
import { parseEnviron } from '../../src/proc/environ.ts';
import { parseMount } from '../../src/proc/mountinfo.ts';
import { parseTcpTable } from '../../src/proc/net-tcp.ts';
import { parseUnixInodes } from '../../src/proc/net-unix.ts';
import { parseSomeAvg10 } from '../../src/proc/pressure.ts';
import { parseStat } from '../../src/proc/stat.ts';
import { parseEffectiveCapabilities, parseNamespacePids, parseStatus } from '../../src/proc/status.ts';
import { sanitize } from '../../src/report/sanitize.ts';
import { noLimit } from '../helpers/budget.ts';
import { corpusOf } from './corpus.ts';

/** A parser of text that somebody else writes, with honest inputs to begin from. */
export type FuzzedParser = {
  /** Also that of its folder in corpus/. */
  readonly name: string;
  readonly parse: (input: Buffer) => unknown;
  readonly seeds: readonly Buffer[];
  /** Root or the program itself writes it: 1 MB may take ten times as long. */
  readonly isTrusted?: true;
};

const fixtures = new URL('../fixtures/', import.meta.url);
const filesIn = (folder: string): Buffer[] =>
  readdirSync(new URL(`${folder}/`, fixtures), { withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ name }) => readFileSync(new URL(`${folder}/${name}`, fixtures)));

/** The lines of a section of all captures, as one text each. */
const sections = (title: string): Buffer[] =>
  filesIn('captures')
    .map((capture) => capture.toString('utf8').split(`## ${title}`)[1]?.split('\n## ')[0] ?? '')
    .filter((text) => text !== '')
    .map((text) => Buffer.from(text.slice(text.indexOf('\n') + 1)));

const text = (parse: (text: string) => unknown) => (input: Buffer) => parse(input.toString('utf8'));
const latin1 = (parse: (text: string) => unknown) => (input: Buffer) => parse(input.toString('latin1'));

/** Tables of sockets are read line by line; a line that does not fit into the buffer of 32 KiB is refused. */
const line = (parse: (text: string) => unknown) => (input: Buffer) => parse(input.toString('latin1', 0, 32 * 1024));

/** Readers that open their file themselves get it here. */
const folder = join(tmpdir(), `clay-reaper-fuzz-${process.pid}`);
const file = (name: string, read: (path: string) => unknown) => (input: Buffer) => {
  mkdirSync(folder, { recursive: true });
  const path = join(folder, name);
  writeFileSync(path, input, { mode: 0o600 });
  return read(path);
};

/** A record of the history, as `run` writes it. */
const HISTORY_LINE =
  '{"at":"2026-11-22T12:00:00.000Z","pid":1193,"startTicks":135996,"uid":1000,"outcome":"terminated","orphan":"parked","signal":"SIGTERM","rssBytes":230686720,"idleSeconds":1860,"project":"shop","sessionId":"cd7ece16-29e6-474a-94b5-bd0998c39c7c","clayPid":142}';

/** Removes what the parsers were given as files. */
export const removeFiles = (): void => rmSync(folder, { recursive: true, force: true });

const PASSWD = Buffer.from('root:x:0:0:root:/root:/bin/bash\nada:x:1000:1000:Ada,,,:/home/ada:/bin/bash\n');

const owner = { pid: 16246, uid: 1000, startTicks: 135996, startedAtMs: [1_795_341_900_000] };

/** All parsers of text. A new one belongs in here: test/unit/fuzzed.test.ts fails until it is. */
const ALL: readonly FuzzedParser[] = [
  { name: 'stat', parse: latin1(parseStat), seeds: sections('/proc/PID/stat') },
  { name: 'status', parse: latin1(parseStatus), seeds: sections('/proc/PID/status') },
  {
    name: 'status-namespaces',
    parse: latin1((status) => [parseNamespacePids(status), parseEffectiveCapabilities(status)]),
    seeds: sections('/proc/PID/status'),
  },
  { name: 'net-tcp', parse: line(parseTcpTable), seeds: sections('its rows in /proc/PID/net/tcp') },
  { name: 'net-unix', parse: line(parseUnixInodes), seeds: sections('its rows in /proc/PID/net/unix') },
  {
    name: 'mountinfo',
    parse: line(parseMount),
    seeds: [Buffer.from('36 35 98:0 /mnt1 /mnt/my\\0402 rw,noatime master:1 - ext3 /dev/root rw,errors=continue')],
  },
  { name: 'pressure', parse: latin1(parseSomeAvg10), seeds: [Buffer.from('some avg10=1.50 avg60=0.00 total=1\n')] },
  { name: 'passwd-names', parse: text(parseUserNames), seeds: [PASSWD], isTrusted: true },
  { name: 'passwd-homes', parse: text(passwdHomes), seeds: [PASSWD], isTrusted: true },
  { name: 'passwd-home', parse: text((passwd) => homeOfUser('ada', passwd)), seeds: [PASSWD], isTrusted: true },
  {
    name: 'sudo',
    parse: (input) => sudoUidOf(parseEnviron(input), PASSWD.toString()),
    seeds: [Buffer.from('SUDO_UID=1000\0SUDO_USER=ada\0')],
  },
  {
    name: 'environ',
    parse: (input) => parseClaudeEnvironment(parseEnviron(input)),
    seeds: sections('environ').map((lines) => Buffer.from(lines.toString('utf8').replaceAll('\n', '\0'))),
  },
  {
    name: 'cmdline',
    parse: (input) => isToolShell(parseCmdline(input)),
    seeds: sections('children').map((lines) => Buffer.from(lines.toString('utf8').replaceAll(' | ', '\0'))),
  },
  {
    name: 'session-file',
    parse: text((file) => parseSessionFile(file, owner)),
    seeds: sections('.claude/sessions/PID.json'),
  },
  { name: 'journal', parse: (input) => parseJournalTail(input, true), seeds: filesIn('journals') },
  {
    name: 'transcript',
    parse: (input) => {
      const parser = createScheduleParser('Europe/Berlin');
      // The reader of transcripts stops where the budget of the user ends, and goes on from there in the next sweep.
      const stopMs = performance.now() + 20;
      parser.read(input, () => performance.now() > stopMs);
      parser.feedFragment(input);
      return parser.scheduledRuns();
    },
    seeds: filesIn('transcripts'),
  },
  {
    name: 'prompt-queue',
    parse: text((transcript) => areAnswered(transcript, true, { firstMs: 0, lastMs: 1 })),
    seeds: filesIn('transcripts'),
  },
  {
    name: 'get_status',
    parse: text((answer) => parseStatusAnswer(answer, 16199)),
    seeds: [readFileSync(new URL('captures/get_status.json', fixtures))],
  },
  {
    name: 'daemon.json',
    parse: text((file) => parseDaemonFile(file, 'daemon.json')),
    seeds: [Buffer.from('{"pid":16199,"port":26330,"projects":[{"slug":"alpha","path":"/srv/projects/alpha"}]}')],
  },
  {
    name: 'journal-title',
    parse: file('journal.jsonl', (path) => readTitle(path, process.getuid?.() ?? 0, noLimit)),
    seeds: filesIn('journals'),
  },
  {
    name: 'history',
    isTrusted: true,
    parse: file('history.jsonl', () => readHistory(folder)),
    seeds: [Buffer.from(`${HISTORY_LINE}\n${HISTORY_LINE}\n`)],
  },
  { name: 'release', parse: text((release) => compareReleases(release, '2.1.141')), seeds: [Buffer.from('2.1.330')] },
  { name: 'duration', parse: text(parseDuration), seeds: [Buffer.from('5m'), Buffer.from('1.5h')] },
  {
    name: 'since',
    parse: text((since) => parseSince(since, Date.UTC(2026, 10, 25))),
    seeds: [Buffer.from('7d'), Buffer.from('2026-11-22')],
  },
  { name: 'json', parse: text(parseJson), seeds: [Buffer.from('[[{"a":[1,"x\\"y",null]}]]')] },
  {
    name: 'config.toml',
    isTrusted: true,
    parse: text((file) => {
      try {
        return parseConfigFile(file, 'config.toml');
      } catch (error) {
        // Bad configuration is an error by contract, in one line.
        if (error instanceof UsageError && !error.message.includes('\n')) return error.message;
        throw error;
      }
    }),
    seeds: [
      readFileSync(new URL('../../systemd/config.toml', import.meta.url)),
      Buffer.from('grace_period = "5m"\n[protect]\nprojects = ["shop"]\n'),
    ],
  },
  {
    name: 'sanitize',
    parse: text((shown) => sanitize(shown, 2000)),
    seeds: [Buffer.from('a\u001b[31mred\u001b[0m \u202e text')],
  },
];

/** {@link ALL}, each with the inputs of its corpus to begin from as well. */
export const PARSERS: readonly FuzzedParser[] = ALL.map((parser) => ({
  ...parser,
  seeds: [...parser.seeds, ...corpusOf(parser.name)],
}));
