import { execFileSync, spawn } from 'node:child_process';
import { chmodSync, lchownSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { type Clay, type FakeClaude, IDLE_NATIVE, startClay } from '../helpers/clay.ts';
import { type Report, startService } from '../helpers/cli.ts';
import { identify, kill } from '../helpers/processes.ts';
import { waitFor } from '../helpers/wait-for.ts';
import { type Measured, measured } from './measured.ts';
import {
  ADA,
  claudeProgram,
  clayScript,
  commonFolder,
  fakeDaemon,
  fileOf,
  folderOf,
  parseClaudeEnvironment,
} from './users.ts';

const SECRET = 'SECRET-THAT-ONLY-ROOT-MAY-READ';
const MIB = 1024 * 1024;
const common = commonFolder();

/** What may stand at a path in place of an honest file of ada's, and whether that is a regular file at all. */
type Kind = { readonly regular: boolean; readonly make: (path: string) => unknown };

const mine = (path: string): void => lchownSync(path, ADA.uid, ADA.gid);
const link = (target: string): Kind => ({
  regular: false,
  make: (path) => {
    symlinkSync(target, path);
    mine(path);
  },
});
const text = (content: string | Buffer): Kind => ({ regular: true, make: (path) => fileOf(ADA, path, content) });

const KINDS: Readonly<Record<string, Kind>> = {
  'a FIFO': {
    regular: false,
    make: (path) => {
      execFileSync('mkfifo', [path]);
      mine(path);
    },
  },
  'a link to /dev/zero': link('/dev/zero'),
  'a link to /etc/shadow': link('/etc/shadow'),
  'a link to itself': {
    regular: false,
    make: (path) => {
      symlinkSync(path, path);
      mine(path);
    },
  },
  'a link to nothing': link('/nonexistent'),
  'a directory': { regular: false, make: (path) => folderOf(ADA, path) },
  'a device': {
    regular: false,
    make: (path) => {
      execFileSync('mknod', [path, 'c', '1', '5']);
      mine(path);
    },
  },
  'a socket': {
    regular: false,
    make: (path) => {
      execFileSync('perl', [
        '-MIO::Socket::UNIX',
        '-e',
        // A path that is longer than 108 bytes can be no socket's.
        'chdir shift; IO::Socket::UNIX->new(Local => shift, Listen => 1) or die',
        dirname(path),
        basename(path),
      ]);
      mine(path);
    },
  },
  "root's own file, as a hard link": {
    regular: true,
    make: (path) => execFileSync('cp', ['/etc/shadow', path]),
  },
  'a sparse file of 10 GB': {
    regular: true,
    make: (path) => {
      fileOf(ADA, path, '');
      truncateSync(path, 10 * 1024 * MIB);
    },
  },
  'a file with a lease on it': {
    regular: true,
    make: (path) => {
      fileOf(ADA, path, '{}');
      // F_SETLEASE, F_WRLCK: whoever opens it waits for 45 s, unless he says that he will not.
      const lessee = spawn(
        'perl',
        [
          '-e',
          'open(F, "+<", shift) or die; $SIG{IO} = sub {}; fcntl(F, 1024, 1) or die "$!"; $| = 1; print "held"; sleep 3600 while 1',
          path,
        ],
        { stdio: ['ignore', 'pipe', 'inherit'] },
      );
      const found = identify(lessee.pid ?? 0);
      ends.push(() => found && kill(found));
      return new Promise<void>((resolve) => lessee.stdout.once('data', () => resolve()));
    },
  },
  'nothing at all': text(''),
  'no UTF-8': text(Buffer.from([0xff, 0xfe, 0x00, 0xc3, 0x28, 0x0a])),
  'JSON nested a hundred thousand deep': text(`${'['.repeat(1e5)}${']'.repeat(1e5)}\n`),
  'brackets without number': text(`${'[{"a":'.repeat(3e5)}\n`),
  '__proto__ and constructor': text(
    '{"__proto__":{"pid":2},"constructor":{"prototype":{"pid":2}},"type":"__proto__"}\n',
  ),
  'an endless line': text('x'.repeat(40 * MIB)),
  'an endless line about an alarm': text(`${'x'.repeat(20 * MIB)}"CronCreate"${'x'.repeat(20 * MIB)}`),
  'four million empty lines': text('\n'.repeat(4 * MIB)),
  'a list of a million wrong things': text(`{"pid":2,"projects":[${'1,'.repeat(1e6)}1]}`),
};
const NAMES = Object.keys(KINDS);
const kindOf = (name: string): Kind => KINDS[name] ?? text('');

const ends: (() => void)[] = [];
let unmount: () => void;
beforeAll(() => {
  const shadow = join(common.path, 'shadow');
  writeFileSync(shadow, `root:${SECRET}:20000:0:99999:7:::\nkey = "${SECRET}"\n`, { mode: 0o600 });
  execFileSync('mount', ['--bind', shadow, '/etc/shadow']);
  unmount = () => execFileSync('umount', ['/etc/shadow']);
});
afterAll(() => {
  for (const end of ends) end();
  unmount?.();
  common.remove();
});

/** No hang, no growth, no crash, and nothing of root's in what anybody gets to see. */
function expectSound(run: Measured, statuses: readonly number[], maxMs = 15_000): void {
  expect(run.signal).toBeNull();
  expect(statuses).toContain(run.status);
  expect(run.stdout + run.stderr).not.toContain(SECRET);
  expect(run.stderr).not.toMatch(/internal error|\n {4}at /);
  expect(run.tookMs).toBeLessThan(maxMs);
  expect(run.peakBytes).toBeLessThan(160 * MIB);
}

/** A folder for one kind of file. */
let folders = 0;
function folder(): string {
  folders += 1;
  return folderOf(ADA, join(common.path, `f${folders}`));
}

describe('daemon.json of an unexpected kind', () => {
  test.concurrent.for(NAMES)('is ignored if it is %s', async (name) => {
    const home = folderOf(ADA, join(folder(), '.clay'), 0o700);
    await kindOf(name).make(join(home, 'daemon.json'));
    expectSound(await measured(['status', '--clay-home', home]), [3], 5_000);
  });
});

describe('daemon.sock of an unexpected kind', () => {
  const claude = claudeProgram(join(common.path, 'bin'));
  test.concurrent.for(NAMES.filter((name) => name !== 'a socket'))(
    'is not connected to if it is %s',
    async (name, { onTestFinished }) => {
      const at = folder();
      const home = folderOf(ADA, join(at, '.clay'), 0o700);
      const daemon = await fakeDaemon(
        ADA,
        clayScript(ADA, at),
        [`exec ${claude} 86400`],
        parseClaudeEnvironment(at, home),
      );
      onTestFinished(daemon.end);
      fileOf(ADA, join(home, 'daemon.json'), JSON.stringify({ pid: daemon.pid }));
      await kindOf(name).make(join(home, 'daemon.sock'));
      expectSound(await measured(['cleanup', '--yes', '--now', '--clay-home', home]), [3, 4]);
      expect(identify(daemon.claudes[0]?.pid ?? 0)).toEqual(daemon.claudes[0]);
    },
  );
});

describe('conversation files of an unexpected kind', () => {
  /** Each file that is read for a process, by where it is. */
  const FILES = ['session file', 'journal', 'transcript', 'scheduled_tasks.lock', 'scheduled_tasks.json'] as const;
  type File = (typeof FILES)[number];
  let clay: Clay;
  let run: Measured;
  const claudes = new Map<string, FakeClaude>();
  const paths: Readonly<Record<File, (claude: FakeClaude) => string>> = {
    'session file': (claude) => claude.sessionFile,
    journal: (claude) => claude.journal ?? '',
    transcript: (claude) => claude.transcript,
    'scheduled_tasks.lock': (claude) => join(clay.projectPath(claude.sessionId), '.claude', 'scheduled_tasks.lock'),
    'scheduled_tasks.json': (claude) => join(clay.projectPath(claude.sessionId), '.claude', 'scheduled_tasks.json'),
  };

  beforeAll(async () => {
    clay = await startClay({ user: ADA, projects: ['rest'] });
    for (const file of FILES) {
      for (const name of NAMES) {
        const sessionId = crypto.randomUUID();
        const cwd = folderOf(ADA, clay.projectPath(sessionId));
        folderOf(ADA, join(cwd, '.claude'));
        const claude = await clay.spawnClaude({ ...IDLE_NATIVE, sessionId, cwd });
        claudes.set(`${file} ${name}`, claude);
        if (file === 'scheduled_tasks.json')
          fileOf(ADA, paths['scheduled_tasks.lock'](claude), JSON.stringify({ pid: claude.pid }));
        const path = paths[file](claude);
        rmSync(path, { force: true });
        await kindOf(name).make(path);
      }
    }
    const honest = await clay.spawnClaude(IDLE_NATIVE);
    claudes.set('honest', honest);
    run = await measured(['cleanup', '--yes', '--now', '--min-age', '0s', '--json', '--clay-home', clay.home]);
  }, 120_000);
  afterAll(async () => clay?.stop());

  const row = (key: string) =>
    (JSON.parse(run.stdout) as Report).processes.find((process) => process.pid === claudes.get(key)?.pid);

  test('do not hang or crash cleanup, and a normal orphan is reaped', () => {
    expectSound(run, [0, 4], 25_000);
    expect(row('honest')).toMatchObject({ outcome: 'terminated' });
  });

  test.for(NAMES)('a session file that is %s protects its process', (name) => {
    expect(row(`session file ${name}`)).toMatchObject({ verdict: 'protected' });
    expect(row(`session file ${name}`)?.reasons.map((reason) => reason.code)).toContain('unverified');
  });

  test.for(NAMES.filter((name) => !kindOf(name).regular))(
    'a journal or transcript that is %s protects its process',
    (name) => {
      for (const file of ['journal', 'transcript'] as const) {
        const reasons = row(`${file} ${name}`)?.reasons.map((reason) => reason.code);
        expect([file, reasons]).toEqual([file, ['unverified']]);
      }
    },
  );

  test.for([
    'a sparse file of 10 GB',
    'an endless line about an alarm',
    'a file with a lease on it',
    "root's own file, as a hard link",
  ])('a transcript that is %s protects its process', (name) => {
    expect(row(`transcript ${name}`)?.reasons.map((reason) => reason.code)).toEqual(['unverified']);
  });

  test.for(NAMES)('a scheduled_tasks.json that is %s protects the process that holds its lock', (name) => {
    expect(row(`scheduled_tasks.json ${name}`)).toMatchObject({ verdict: 'protected' });
  });
});

describe('conversation directory of an unexpected kind', () => {
  test.concurrent.for(NAMES)('does not hang status if it is %s', async (name, { onTestFinished }) => {
    const clay = await startClay({ user: ADA, projects: ['rest'] });
    onTestFinished(clay.stop);
    const claude = await clay.spawnClaude(IDLE_NATIVE);
    for (const path of [
      join(clay.home, 'sessions'),
      dirname(claude.sessionFile),
      dirname(dirname(claude.transcript)),
    ]) {
      rmSync(path, { recursive: true });
      await kindOf(name).make(path);
    }
    expectSound(await measured(['status', '--json', '--min-age', '0s', '--clay-home', clay.home]), [0, 4]);
  });
});

describe('config.toml of an unexpected kind', () => {
  test.concurrent.for(NAMES)('is refused in one line or obeyed if it is %s', async (name) => {
    const path = join(folder(), 'config.toml');
    await kindOf(name).make(path);
    for (const command of [
      ['config', '--check', path],
      ['status', '--clay-home', '/nonexistent', '--config', path],
    ]) {
      const run = await measured(command);
      expectSound(run, name === 'nothing at all' ? [0, 3] : [2], 5_000);
      expect(run.stderr.split('\n').length).toBeLessThanOrEqual(2);
    }
  });

  test('is refused on reload if it is a FIFO, and the service continues', async () => {
    const path = join(folder(), 'config.toml');
    writeFileSync(path, 'grace_period = "7m"\n');
    const running = startService([
      '--config',
      path,
      '--clay-home',
      '/nonexistent',
      '--poll',
      '100ms',
      '--log-level',
      'debug',
    ]);
    onTestFinished(async () => void (await running.stop()));
    await running.logged('started');
    for (const name of ['a FIFO', 'a link to /dev/zero', 'a link to /etc/shadow']) {
      const before = running.log.filter((line) => line.event === 'reload-refused').length;
      rmSync(path);
      await kindOf(name).make(path);
      running.signal('SIGHUP');
      await waitFor(
        'it is refused',
        () => running.log.filter((line) => line.event === 'reload-refused').length > before,
      );
    }
    expect(JSON.stringify(running.log)).not.toContain(SECRET);
  });
});

describe('history of an unexpected kind', () => {
  const stateDirectory = (): string => {
    const path = mkdtempSync(join(tmpdir(), 'state-'));
    ends.push(() => rmSync(path, { recursive: true, force: true }));
    return path;
  };

  test.concurrent.for(NAMES)('is read safely if it is %s', async (name) => {
    for (const file of ['history.jsonl', 'history.jsonl.1']) {
      const directory = stateDirectory();
      await kindOf(name).make(join(directory, file));
      expectSound(await measured(['history', '--json'], { STATE_DIRECTORY: directory }), [0, 1], 5_000);
    }
  });

  test.concurrent.for(NAMES)('does not stop reaping if it is %s', async (name, { expect, onTestFinished }) => {
    const clay = await startClay({ user: ADA, projects: ['rest'] });
    onTestFinished(clay.stop);
    const claude = await clay.spawnClaude(IDLE_NATIVE);
    const directory = stateDirectory();
    await kindOf(name).make(join(directory, 'history.jsonl'));
    const args = ['cleanup', '--yes', '--now', '--min-age', '0s', '--clay-home', clay.home];
    expectSound(await measured(args, { STATE_DIRECTORY: directory }), [0]);
    expect(claude.isAlive()).toBe(false);
  });

  test('is reported and does not stop reaping if its directory is a file', async () => {
    const clay = await startClay({ user: ADA, projects: ['rest'] });
    onTestFinished(clay.stop);
    const claude = await clay.spawnClaude(IDLE_NATIVE);
    const run = await measured(['cleanup', '--yes', '--now', '--min-age', '0s', '--clay-home', clay.home], {
      STATE_DIRECTORY: '/dev/null',
    });
    expectSound(run, [0]);
    expect(run.stderr).toContain('history');
    expect(claude.isAlive()).toBe(false);
  });
});

describe('unreadable files', () => {
  test('are named, and protect the process they belong to', async () => {
    const clay = await startClay({ user: ADA, projects: ['rest'] });
    onTestFinished(clay.stop);
    const claude = await clay.spawnClaude(IDLE_NATIVE);
    const state = folderOf(ADA, join(common.path, 'state'), 0o700);
    const args = ['cleanup', '--yes', '--now', '--min-age', '0s', '--clay-home', clay.home];
    for (const path of [
      claude.sessionFile,
      claude.journal ?? '',
      claude.transcript,
      dirname(claude.sessionFile),
      clay.socket,
      clay.configFile,
    ]) {
      chmodSync(path, 0);
      const run = await measured(args, { STATE_DIRECTORY: state }, ADA);
      expectSound(run, path === clay.configFile ? [3] : [4]);
      expect(run.stderr).toMatch(/may not be read|cannot connect \(EACCES\)/);
      chmodSync(path, 0o700);
    }
    expect(claude.isAlive()).toBe(true);
  });

  test('are reported in one line by install', async () => {
    const home = folderOf(ADA, join(common.path, 'home'), 0o700);
    const unit = join(home, '.config/systemd/user/clay-reaper.service');
    for (const path of [join(home, '.config'), dirname(dirname(unit)), dirname(unit)]) folderOf(ADA, path);
    fileOf(ADA, unit, '');
    for (const path of [unit, dirname(unit), join(home, '.config')]) {
      chmodSync(path, 0);
      for (const command of ['install', 'uninstall']) {
        const run = await measured([command, '--user'], { HOME: home }, ADA);
        expectSound(run, [1], 5_000);
        expect(run.stderr).toMatch(/^clay-reaper: (not installed|not everything was removed): EACCES[^\n]*\n$/);
      }
      chmodSync(path, 0o700);
    }
  });
});
