import { describe, expect, it } from 'vitest';
import { type Private, publicPath, redact } from '../../../src/report/redact.ts';

const SECRETS: Private = {
  places: [
    { path: '/home/anna', label: '<home of uid 1000>' },
    { path: '/home/anna/top secret/.clay', label: '<home of Clay 142>' },
    { path: '/', label: 'never' },
  ],
  userNames: new Map([
    [0, 'root'],
    [1000, 'anna'],
    [1001, 'j.r'],
  ]),
};

describe('publicPath', () => {
  it.each([
    ['/usr/bin/node', '/usr/bin/node'],
    ['/etc/clay-reaper/config.toml', '/etc/clay-reaper/config.toml'],
    ['/var/lib/clay-reaper/history.jsonl', '/var/lib/clay-reaper/history.jsonl'],
    ['/home/anna/.nvm/versions/node/v22.1.0/bin/node', '…/nvm/…/node'],
    ['/home/anna/acme/dist/clay-reaper.js', '…/clay-reaper.js'],
    ['/srv/acme/merger.txt', '…/…'],
    ['/usr/local/acme', '…/…'],
  ])('shows %s as %s', (path, shown) => {
    expect(publicPath(path)).toBe(shown);
  });
});

describe('redact', () => {
  it.each([
    ['/home/anna/top secret/.clay was refused: mode 0777', '<home of Clay 142> was refused: mode 0777'],
    ['/home/anna/acme/daemon.json is a symbolic link', '<home of uid 1000>…/daemon.json is a symbolic link'],
    ['anybody may write to /srv/acme/clay', 'anybody may write to …/…'],
    ['it is in (/srv/acme), "/srv/merger" and ~/acme/x', 'it is in (…/…), "…/…" and …/…'],
    ['/proc/142/fd may not be read (EACCES)', '/proc/142/fd may not be read (EACCES)'],
    ['Clay 142 runs as anna, not as j.r: use sudo', 'Clay 142 runs as uid 1000, not as uid 1001: use sudo'],
    ['susanna and anna-lena', 'susanna and anna-lena'],
    ['run as root', 'run as root'],
  ])('turns %j into %j', (text, shown) => {
    expect(redact(text, SECRETS)).toBe(shown);
  });
});
