import { describe, expect, it } from 'vitest';
import { isToolShell, parseClaudeEnvironment, startedBySdk } from '../../../src/claude/process.ts';

const environment = (variables: Readonly<Record<string, string>>) =>
  parseClaudeEnvironment(new Map(Object.entries(variables)));

describe('parseClaudeEnvironment', () => {
  it('returns the variables that Clay and the Agent SDK set', () => {
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
      insideTool: false,
      timeZone: null,
    });
  });
  it('recognises a program that a tool of another claude started', () => {
    expect(environment({ CLAUDECODE: '1' }).insideTool).toBe(true);
    expect(environment({ CLAUDECODE: '' }).insideTool).toBe(false);
  });
  it('returns no values for an empty environment', () => {
    expect(environment({})).toEqual({
      entrypoint: null,
      sdkVersion: null,
      configDir: null,
      clayHome: null,
      insideTool: false,
      timeZone: null,
    });
  });
  it('truncates attacker-controlled values', () => {
    const long = 'x'.repeat(100_000);
    const kept = environment({ TZ: `:${long}`, CLAUDE_CODE_ENTRYPOINT: long, CLAUDE_AGENT_SDK_VERSION: long });
    for (const text of [kept.timeZone, kept.entrypoint, kept.sdkVersion]) expect(text?.length).toBeLessThanOrEqual(100);
  });
  it('prefers $CLAUDE_CONFIG_DIR to $HOME', () => {
    expect(environment({ HOME: '/home/ada', CLAUDE_CONFIG_DIR: '/srv/claude' }).configDir).toBe('/srv/claude');
  });
  it('finds the home of Clay by its configuration, in dev mode too', () => {
    expect(environment({ CLAY_CONFIG: '/home/ada/.clay/daemon-dev.json' }).clayHome).toBe('/home/ada/.clay');
    expect(environment({ CLAY_HOME: '/srv/clay', CLAY_CONFIG: '/x/daemon.json' }).clayHome).toBe('/srv/clay');
  });
  it.each(['', 'clay', './clay', '~/.clay'])('ignores a path that is not absolute: %j', (path) => {
    expect(environment({ HOME: path, CLAY_HOME: path, CLAY_CONFIG: path, CLAUDE_CONFIG_DIR: path })).toMatchObject({
      configDir: null,
      clayHome: null,
      insideTool: false,
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
  ])('returns for the entrypoint %j: %s', (entrypoint, expected) => {
    expect(startedBySdk(environment({ CLAUDE_CODE_ENTRYPOINT: entrypoint }))).toBe(expected);
  });
  it('is false without an entrypoint: a claude of a person sets it after its start', () => {
    expect(startedBySdk(environment({}))).toBe(false);
  });
});

describe('isToolShell', () => {
  const shell = (script: string): string[] => ['/bin/bash', '-c', script];
  it('recognises the shells of Bash tools', () => {
    const script =
      "source /home/ada/.claude/shell-snapshots/snapshot-bash-1795341932025-qjfhlz.sh 2>/dev/null || true && shopt -u extglob 2>/dev/null || true && eval 'sleep 900' < /dev/null && pwd -P >| /tmp/claude-c78f-cwd";
    expect(isToolShell(shell(script))).toBe(true);
    expect(isToolShell(['/bin/zsh', '-c', '-l', script])).toBe(true);
  });
  it('recognises a tool shell without a snapshot', () => {
    expect(isToolShell(shell("eval 'make' < /dev/null && pwd -P >| /tmp/claude-2c47-cwd"))).toBe(true);
  });
  it.each([
    ['an MCP server', ['node', '/srv/mcp/index.js', '--stdio']],
    ['an MCP server that npx started', ['npm', 'exec', '@modelcontextprotocol/server-filesystem', '/srv']],
    ['a shell that starts an MCP server', shell('exec /srv/mcp/run.sh --claude')],
    ['nothing', []],
    ['a zombie', ['']],
  ])('is false for %s', (_, cmdline) => expect(isToolShell(cmdline)).toBe(false));
  it.each([
    ['many claude- without an end', `pwd -P >| ${'claude-'.repeat(150_000)}`],
    ['many starts', 'pwd -P >| claude-'.repeat(60_000)],
    ['one long word', `pwd -P >| ${'a'.repeat(1_000_000)}`],
  ])('takes linear time for a hostile command line: %s', (_, script) => {
    const began = performance.now();
    expect(isToolShell(['sh', '-c', script])).toBe(false);
    expect(performance.now() - began).toBeLessThan(500);
  });
});
