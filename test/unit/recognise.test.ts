import { describe, expect, it } from 'vitest';
import { claudeEnvironment, isToolShell, looksLikeClaude, startedBySdk } from '../../src/claude/recognise.ts';
import { parseStat } from '../../src/proc/stat.ts';

const environment = (variables: Readonly<Record<string, string>>) =>
  claudeEnvironment(new Map(Object.entries(variables)));

describe('looksLikeClaude', () => {
  it.each([
    ['claude', true],
    ['node', false],
    ['claude-code', false],
    ['Claude', false],
    ['', false],
  ])('%j: %s', (comm, expected) => {
    const stat = parseStat(`5 (${comm}) S 1 5 5 0 -1 0 0 0 0 0 1 1 0 0 20 0 1 0 7 0 9 0\n`);
    expect(stat.ok && looksLikeClaude(stat.value)).toBe(expected);
  });
});

describe('claudeEnvironment', () => {
  it('picks what Clay and the Agent SDK set', () => {
    expect(
      environment({
        HOME: '/home/ada',
        CLAY_HOME: '/home/ada/.clay',
        CLAY_CONFIG: '/home/ada/.clay/daemon.json',
        CLAUDE_AGENT_SDK_VERSION: '0.2.92',
        CLAUDE_CODE_ENTRYPOINT: 'sdk-ts',
      }),
    ).toEqual({
      entrypoint: 'sdk-ts',
      sdkVersion: '0.2.92',
      configDir: '/home/ada/.claude',
      clayHome: '/home/ada/.clay',
      timeZone: null,
    });
  });
  it('knows nothing of an empty one', () => {
    expect(environment({})).toEqual({
      entrypoint: null,
      sdkVersion: null,
      configDir: null,
      clayHome: null,
      timeZone: null,
    });
  });
  it('keeps no more of what anybody can make as long as he likes than is shown', () => {
    const long = 'x'.repeat(100_000);
    const kept = environment({ TZ: `:${long}`, CLAUDE_CODE_ENTRYPOINT: long, CLAUDE_AGENT_SDK_VERSION: long });
    for (const text of [kept.timeZone, kept.entrypoint, kept.sdkVersion]) expect(text?.length).toBeLessThanOrEqual(100);
  });
  it('lets $CLAUDE_CONFIG_DIR go before $HOME', () => {
    expect(environment({ HOME: '/home/ada', CLAUDE_CONFIG_DIR: '/srv/claude' }).configDir).toBe('/srv/claude');
  });
  it('finds the home of Clay by its configuration, in dev mode too', () => {
    expect(environment({ CLAY_CONFIG: '/home/ada/.clay/daemon-dev.json' }).clayHome).toBe('/home/ada/.clay');
    expect(environment({ CLAY_HOME: '/srv/clay', CLAY_CONFIG: '/x/daemon.json' }).clayHome).toBe('/srv/clay');
  });
  it.each(['', 'clay', './clay', '~/.clay'])('takes no path that begins elsewhere than at the root: %j', (path) => {
    expect(environment({ HOME: path, CLAY_HOME: path, CLAY_CONFIG: path, CLAUDE_CONFIG_DIR: path })).toMatchObject({
      configDir: null,
      clayHome: null,
      timeZone: null,
    });
  });
});

describe('startedBySdk', () => {
  it.each([
    ['sdk-ts', true],
    ['sdk-py', true],
    ['cli', false],
    ['', false],
    ['remote', false],
  ])('%j: %s', (entrypoint, expected) => {
    expect(startedBySdk(environment({ CLAUDE_CODE_ENTRYPOINT: entrypoint }))).toBe(expected);
  });
  it('not without an entrypoint: a person’s own sets it after its start', () => {
    expect(startedBySdk(environment({}))).toBe(false);
  });
});

describe('isToolShell', () => {
  const shell = (script: string): string[] => ['/bin/bash', '-c', script];
  it('knows the shells of Bash tools', () => {
    const script =
      "source /home/ada/.claude/shell-snapshots/snapshot-bash-1795341932025-qjfhlz.sh 2>/dev/null || true && shopt -u extglob 2>/dev/null || true && eval 'sleep 900' < /dev/null && pwd -P >| /tmp/claude-c78f-cwd";
    expect(isToolShell(shell(script))).toBe(true);
    expect(isToolShell(['/bin/zsh', '-c', '-l', script])).toBe(true);
  });
  it('knows them without a snapshot, too', () => {
    expect(isToolShell(shell("eval 'make' < /dev/null && pwd -P >| /tmp/claude-2c47-cwd"))).toBe(true);
  });
  it.each([
    ['an MCP server', ['node', '/srv/mcp/index.js', '--stdio']],
    ['one that npx started', ['npm', 'exec', '@modelcontextprotocol/server-filesystem', '/srv']],
    ['a shell that starts one', shell('exec /srv/mcp/run.sh --claude')],
    ['nothing', []],
    ['a zombie', ['']],
  ])('does not take %s for one', (_, cmdline) => expect(isToolShell(cmdline)).toBe(false));
});
