import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { provenanceOf, quoteWord, renderUnit, withChecksum } from '../../../src/install/unit-file.ts';

const templates = fileURLToPath(new URL('../../../systemd', import.meta.url));
const template = (name: string): string => readFileSync(join(templates, name), 'utf8');

describe('quoteWord', () => {
  it.each([
    ['/usr/bin/node', '/usr/bin/node'],
    ['/opt/my node', '"/opt/my node"'],
    ['/opt/100%', '/opt/100%%'],
    ['/opt/a"b\\c', '"/opt/a\\"b\\\\c"'],
    ["/opt/it's", '"/opt/it\'s"'],
    ['/opt/ü;#', '"/opt/ü;#"'],
  ])('quotes %s as %s', (word, quoted) => {
    expect(quoteWord(word)).toBe(quoted);
  });
  it('doubles $', () => expect(quoteWord('/opt/$HOME')).toBe('"/opt/$$HOME"'));
});

describe('renderUnit', () => {
  const command = {
    node: '/n/node',
    program: '/p/dist/x.js',
  };
  it.each(['clay-reaper.service', 'clay-reaper.user.service'])('changes only the paths of %s', (name) => {
    const changed = renderUnit(template(name), command, 254).split('\n');
    const different = template(name)
      .split('\n')
      .flatMap((line, index) => (line === changed[index] ? [] : [changed[index]]));
    expect(different).toEqual([
      'ExecStart=/usr/bin/env /n/node --expose-gc --single-threaded --no-opt --optimize-for-size --max-semi-space-size=1 --max-old-space-size=128 /p/dist/x.js run',
      'ExecReload=/usr/bin/env /n/node /p/dist/x.js config --check',
    ]);
  });
  it.each([
    ['clay-reaper.service', ['NotifyAccess=main', 'OpenFile=/run/systemd/notify:notify'], ['NotifyAccess=all']],
    ['clay-reaper.user.service', [], []],
  ])('leaves out of %s what systemd 252 does not know, and nothing else', (name, onlyCurrent, onlyOlder) => {
    const [current, older, unknown] = [254, 252, null].map((version) => renderUnit(template(name), command, version));
    const missingIn = (one?: string, other?: string) =>
      one?.split('\n').filter((line) => !other?.split('\n').includes(line) && !line.startsWith('#'));
    expect(missingIn(current, older)).toEqual([...onlyCurrent, 'RestartSteps=6', 'RestartMaxDelaySec=5min']);
    expect(missingIn(older, current)).toEqual(onlyOlder);
    expect(unknown).toBe(older);
  });
});

describe('provenanceOf', () => {
  it('tells missing, unchanged, edited and foreign files apart', () => {
    expect(provenanceOf(null)).toBe('missing');
    expect(provenanceOf(withChecksum('[Unit]\n'))).toBe('ours');
    expect(provenanceOf(`${withChecksum('[Unit]\n')}#\n`)).toBe('edited');
    expect(provenanceOf('[Unit]\n')).toBe('foreign');
  });
});
