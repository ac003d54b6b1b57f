import { describe, expect, it } from 'vitest';
import { type HomesInput, passwdHomes, resolveHomes } from '../../../src/clay/homes.ts';

const PASSWD = `root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
ada:x:1000:1000:Ada,,,:/home/ada:/bin/zsh
bob:x:1001:1001:Bob:/home/bob/:/bin/bash
`;
const input: HomesInput = {
  configured: [],
  trustedPackages: [],
  clayHome: undefined,
  home: '/home/ada',
  privileged: false,
  passwd: PASSWD,
};

describe('resolveHomes', () => {
  it('returns only the own home of an ordinary user', () => {
    expect(resolveHomes(input)).toEqual({ paths: ['/home/ada/.clay'], discover: 'user', trustedPackages: [] });
    expect(resolveHomes({ ...input, clayHome: '/srv/clay' })).toEqual({
      paths: ['/srv/clay'],
      discover: 'user',
      trustedPackages: [],
    });
    expect(resolveHomes({ ...input, clayHome: '' }).paths).toEqual(['/home/ada/.clay']);
  });
  it('returns the homes of all users for root, its own first', () => {
    expect(resolveHomes({ ...input, home: '/root', privileged: true })).toEqual({
      paths: ['/root/.clay', '/usr/sbin/.clay', '/nonexistent/.clay', '/home/ada/.clay', '/home/bob/.clay'],
      discover: 'system',
      trustedPackages: [],
    });
    expect(resolveHomes({ ...input, privileged: true, clayHome: '/srv/clay' }).paths).toContain('/home/bob/.clay');
  });
  it('returns only the configured homes, if there are any, and disables the search', () => {
    const configured = ['/srv/clay', '/srv/clay/', '/srv/x/../clay', '/other'];
    expect(resolveHomes({ ...input, configured, clayHome: '/no', privileged: true })).toEqual({
      paths: ['/srv/clay', '/other'],
      discover: 'none',
      trustedPackages: [],
    });
  });
  it('returns absolute paths', () => {
    const [path] = resolveHomes({ ...input, configured: ['clay'] }).paths;
    expect(path).toMatch(/^\/.*\/clay$/);
  });
  it('works without a password database', () => {
    expect(resolveHomes({ ...input, privileged: true, passwd: '' }).paths).toEqual(['/home/ada/.clay']);
  });
});

describe('passwdHomes', () => {
  it('returns the sixth field of each line', () => {
    expect(passwdHomes(PASSWD)).toEqual(['/root', '/usr/sbin', '/nonexistent', '/home/ada', '/home/bob/']);
  });
  it('omits fields that are not absolute paths', () => {
    expect(passwdHomes('a:x:1:1:A:/:/bin/sh\nb:x:1:1:B::/bin/sh\nc:x:1:1:C:home:/bin/sh\n+::::::\n# x\n\n')).toEqual(
      [],
    );
  });
});
