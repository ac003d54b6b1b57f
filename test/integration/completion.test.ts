import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createProgram } from '../../src/cli.ts';
import { runCli } from '../helpers/cli.ts';

const program = fileURLToPath(new URL('../../dist/clay-reaper.js', import.meta.url));

describe('completion', () => {
  /** What is offered behind these words. The last line is for the script. */
  const offered = async (...words: string[]): Promise<string[]> => {
    const { status, stdout, stderr } = await runCli(['complete', '--', ...words]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    return stdout
      .trimEnd()
      .split('\n')
      .slice(0, -1)
      .map((line) => line.split('\t')[0] ?? '');
  };

  it('offers every command', async () => {
    const commands = createProgram({ version: '1.2.3', commit: null }, () => {}).commands.map((one) => one.name());
    expect(await offered('')).toEqual(expect.arrayContaining(commands));
    expect(await offered('sta')).toEqual(['status']);
  });

  it('offers the options of a command, and values where there are few', async () => {
    expect(await offered('cleanup', '--')).toEqual(expect.arrayContaining(['--dry-run', '--yes', '--now', '--grace']));
    expect(await offered('run', '--log-level', 'd')).toEqual(['debug']);
    expect(await offered('completion', '')).toEqual(['bash', 'zsh', 'fish']);
  });

  it('leaves paths to the shell', async () => {
    expect((await runCli(['complete', '--', 'config', '--check', ''])).stdout).toBe(':0\n');
  });

  it.each(['bash', 'zsh', 'fish'])('prints a script for %s that asks the program', async (shell) => {
    const { status, stdout } = await runCli(['completion', shell]);
    expect(status).toBe(0);
    expect(stdout).toContain('clay-reaper complete -- ');
  });

  it('refuses other shells', async () => {
    expect(await runCli(['completion', 'csh'])).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('bash, zsh, fish'),
    });
  });

  describe('in bash', () => {
    let folder: string;
    beforeAll(() => {
      folder = mkdtempSync(join(tmpdir(), 'clay-reaper-completion-'));
      writeFileSync(join(folder, 'clay-reaper'), `#!/bin/sh\nexec '${process.execPath}' '${program}' "$@"\n`);
      chmodSync(join(folder, 'clay-reaper'), 0o755);
    });
    afterAll(() => rmSync(folder, { recursive: true, force: true }));

    it('completes a command', () => {
      // The first function is that of bash-completion, as far as the script needs it; compopt needs a prompt.
      const script = `
        _get_comp_words_by_ref() {
          words=("\${COMP_WORDS[@]}") cword=$COMP_CWORD cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD - 1]}
        }
        compopt() { :; }
        source <(clay-reaper completion bash)
        COMP_WORDS=(clay-reaper expl) COMP_CWORD=1
        __clay_reaper_complete
        printf '%s\\n' "\${COMPREPLY[@]}"`;
      const { stdout, stderr } = spawnSync('bash', ['--norc', '--noprofile', '-c', script], {
        // A socket there would make bash read ~/.bashrc.
        stdio: ['ignore', 'pipe', 'pipe'],
        encoding: 'utf8',
        env: { PATH: `${folder}:${process.env.PATH}` },
      });
      expect(stderr).toBe('');
      expect(stdout.trim()).toMatch(/^explain\b/);
    });
  });
});
