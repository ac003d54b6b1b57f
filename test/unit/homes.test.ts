import { describe, expect, it } from 'vitest';
import { chooseHomes, type HomesInput, passwdHomes } from '../../src/observe/homes.ts';

const PASSWD = `root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
ada:x:1000:1000:Ada,,,:/home/ada:/bin/zsh
bob:x:1001:1001:Bob:/home/bob/:/bin/bash
`;
const input: HomesInput = {
  configured: [],
  clayHome: undefined,
  home: '/home/ada',
  privileged: false,
  passwd: PASSWD,
};

describe('chooseHomes', () => {
  it('of an ordinary user are their own', () => {
    expect(chooseHomes(input)).toEqual({ paths: ['/home/ada/.clay'], discover: 'own' });
    expect(chooseHomes({ ...input, clayHome: '/srv/clay' })).toEqual({ paths: ['/srv/clay'], discover: 'own' });
    expect(chooseHomes({ ...input, clayHome: '' }).paths).toEqual(['/home/ada/.clay']);
  });
  it('with privileges are everybody’s, their own first', () => {
    expect(chooseHomes({ ...input, home: '/root', privileged: true })).toEqual({
      paths: ['/root/.clay', '/usr/sbin/.clay', '/nonexistent/.clay', '/home/ada/.clay', '/home/bob/.clay'],
      discover: 'machine',
    });
    expect(chooseHomes({ ...input, privileged: true, clayHome: '/srv/clay' }).paths).toContain('/home/bob/.clay');
  });
  it('are only the configured ones, if there are any, and nothing is searched for', () => {
    const configured = ['/srv/clay', '/srv/clay/', '/srv/x/../clay', '/other'];
    expect(chooseHomes({ ...input, configured, clayHome: '/no', privileged: true })).toEqual({
      paths: ['/srv/clay', '/other'],
      discover: 'nothing',
    });
  });
  it('are absolute', () => {
    const [path] = chooseHomes({ ...input, configured: ['clay'] }).paths;
    expect(path).toMatch(/^\/.*\/clay$/);
  });
  it('do without a password database', () => {
    expect(chooseHomes({ ...input, privileged: true, passwd: '' }).paths).toEqual(['/home/ada/.clay']);
  });
});

describe('passwdHomes', () => {
  it('are the sixth fields', () => {
    expect(passwdHomes(PASSWD)).toEqual(['/root', '/usr/sbin', '/nonexistent', '/home/ada', '/home/bob/']);
  });
  it('leave out what is no home', () => {
    expect(passwdHomes('a:x:1:1:A:/:/bin/sh\nb:x:1:1:B::/bin/sh\nc:x:1:1:C:home:/bin/sh\n+::::::\n# x\n\n')).toEqual(
      [],
    );
  });
});
