import { describe, expect, it } from 'vitest';
import type { HomeProbe } from '../../../src/clay/daemon.ts';
import { noClayMessage, notices, unknownProjectWarnings, warnings } from '../../../src/report/messages.ts';
import { clayLook, lookWith, orphan, protectedBy } from '../../helpers/assessment.ts';
import { CLAY_HOME, CLAY_PID, LIMITS } from '../../helpers/evidence.ts';

const unreadable = protectedBy(['unverified'], {
  issues: ['fd may not be read', 'environ may not be read'],
  unreadable: true,
});

const refused = (path: string, reason: string): HomeProbe => ({
  home: path,
  daemons: [],
  refusals: [reason],
  absentReason: null,
});

describe('notices', () => {
  it('names three refused homes and counts the others', () => {
    const homes = Array.from({ length: 5 }, (_, number) => refused(`/h${number}`, 'odd'));
    expect(notices({ homes })).toEqual([
      '/h0 was refused: odd',
      '/h1 was refused: odd',
      '/h2 was refused: odd',
      '2 more homes were refused',
    ]);
  });
  it('returns nothing if no home was refused', () => {
    expect(notices({ homes: [] })).toEqual([]);
  });
});

describe('warnings', () => {
  it('returns the shape that is not known instead of an API error, and Clays of containers', () => {
    const clay = clayLook({ error: 'no answer' });
    const unknown = { ...clay, children: { ...clay.children, unknownShape: 'a shape' } };
    expect(warnings(lookWith({ clays: [unknown], inContainers: 'in a container' }))).toEqual([
      'a shape',
      'in a container',
    ]);
  });
  it('returns nothing if every Clay answered and every process was read', () => {
    expect(warnings(lookWith({ judgements: [orphan(), protectedBy(['unverified'], { issues: ['odd'] })] }))).toEqual(
      [],
    );
  });
  it('names each Clay that was left alone, and why', () => {
    const clays = [clayLook(), clayLook({ pid: 7, home: '/srv/clay', error: 'no answer within 2 s' })];
    expect(warnings(lookWith({ clays }))).toEqual([
      'Clay 7 (/srv/clay) was left alone: its API gave no usable answer: no answer within 2 s',
    ]);
  });
  it('names each process that could not be read, with all reasons', () => {
    expect(warnings(lookWith({ judgements: [unreadable] }))).toEqual([
      'claude 16246 was left alone: it could not be read: fd may not be read; environ may not be read',
    ]);
  });
  it('reports a missing permission once, not once for each process', () => {
    const look = lookWith({
      clays: [clayLook({ blind: 'cannot do its job', error: 'denied' })],
      judgements: [unreadable, unreadable],
    });
    expect(warnings(look)).toEqual(['cannot do its job']);
  });
  it('reports the processes of another Clay than the one without permission', () => {
    const elsewhere = { ...unreadable.evidence, clay: { state: 'dead', home: CLAY_HOME } as const };
    const look = lookWith({
      clays: [clayLook({ pid: CLAY_PID, blind: 'cannot do its job' })],
      judgements: [unreadable, { ...unreadable, evidence: elsewhere }],
    });
    expect(warnings(look)).toHaveLength(2);
  });
});

describe('unknownProjectWarnings', () => {
  const policyWith = (protectedProjects: string[]) => ({ ...LIMITS, protectedProjects });
  it('names a protected project that no Clay has, and those that there are', () => {
    expect(unknownProjectWarnings(lookWith({ policy: policyWith(['shopp', 'alpha']) }))).toEqual([
      'no Clay has the project "shopp" of [protect]; there are alpha, beta',
    ]);
  });
  it('knows projects by slug, by path and by a directory above them', () => {
    const known = policyWith(['beta', '/srv/projects/alpha', '/srv/projects/']);
    expect(unknownProjectWarnings(lookWith({ policy: known }))).toEqual([]);
  });
  it('returns nothing while a Clay does not answer, or none runs', () => {
    const policy = policyWith(['shopp']);
    expect(unknownProjectWarnings(lookWith({ policy, clays: [] }))).toEqual([]);
    expect(unknownProjectWarnings(lookWith({ policy, clays: [clayLook({ error: 'x' })] }))).toEqual([]);
  });
});

describe('noClayMessage', () => {
  const home = (path: string, overrides: Partial<HomeProbe> = {}): HomeProbe => ({
    home: path,
    daemons: [],
    refusals: [],
    absentReason: `${path}/daemon.json is not there`,
    ...overrides,
  });
  it('names the homes and what to do, on one line', () => {
    const line = noClayMessage(lookWith({ homes: [home('/home/ada/.clay')] }));
    expect(line).toContain('/home/ada/.clay (no daemon.json)');
    expect(line).toContain('--clay-home DIR');
    expect(line).not.toContain('\n');
  });
  it('says why a home was refused or has no running Clay', () => {
    const homes = [
      home('/a', { refusals: ['daemon.json is not JSON', 'other'], absentReason: null }),
      home('/b', { absentReason: 'daemon.json names pid 7, which does not run' }),
    ];
    const line = noClayMessage(lookWith({ homes }));
    expect(line).toContain('/a (daemon.json is not JSON; other)');
    expect(line).toContain('/b (daemon.json names pid 7, which does not run)');
  });
  it('counts homes without a daemon.json if there are more than four', () => {
    const homes = Array.from({ length: 5 }, (_, number) => home(`/home/user${number}/.clay`));
    expect(noClayMessage(lookWith({ homes }))).toContain('5 homes without a daemon.json');
    const [first] = homes;
    expect(noClayMessage(lookWith({ homes: [...homes, home('/b', { absentReason: 'odd' })] }))).toContain(
      '/b (odd), 5 homes',
    );
    expect(noClayMessage(lookWith({ homes: first ? [first] : [] }))).toContain('/home/user0/.clay (no daemon.json)');
  });
  it('says what to do about a Clay that it did not look at', () => {
    const line = noClayMessage(lookWith({ homes: [home('/home/bob/.clay')], hint: 'Clay 142 runs as root: use sudo' }));
    expect(line).toMatch(/among the running processes; Clay 142 runs as root: use sudo$/);
    expect(line).not.toContain('start Clay');
  });
  it('does not claim to have searched the running processes if homes were named', () => {
    const line = noClayMessage(lookWith({ homes: [home('/root')], searchedProcesses: false }));
    expect(line).toContain('looked in /root (no daemon.json) and nowhere else;');
  });
  it('advises another user, not another home, if a home could not be entered', () => {
    const refused = home('/root/.clay', { refusals: ['/root/.clay/daemon.json: EACCES'], absentReason: null });
    const line = noClayMessage(lookWith({ homes: [refused], searchedProcesses: false }));
    expect(line).toMatch(/run it as root \(sudo\) or as the user whose Clay it is$/);
  });
  it('includes the note of the process scan', () => {
    expect(noClayMessage(lookWith({ scanNote: 'ps does not run' }))).toContain('; ps does not run; ');
  });
});
