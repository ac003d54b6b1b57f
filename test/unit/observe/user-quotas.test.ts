import { describe, expect, it } from 'vitest';
import { newUserBudgets } from '../../../src/fs/user-budget.ts';
import type { Candidate } from '../../../src/observe/candidates.ts';
import {
  addFoundHomes,
  capCandidatesPerUser,
  capDaemonsPerUser,
  markLeftAlone,
} from '../../../src/observe/user-quotas.ts';
import { clayLook } from '../../helpers/assessment.ts';

describe('markLeftAlone', () => {
  it('marks the Clay of a user whose budget is exhausted, and names such users without a Clay', () => {
    const budgets = newUserBudgets({ ms: 100, bytes: 100, items: 100 }, null);
    budgets.of(1000).charge(200);
    budgets.of(1001).charge(50);
    budgets.of(1002).charge(200);
    const mine = clayLook({ pid: 10 });
    const other = { ...clayLook({ pid: 20 }), daemon: { ...mine.daemon, pid: 20, uid: 1001 } };
    const { clays, others } = markLeftAlone([mine, other], budgets);
    expect(clays.map(({ permissionProblem }) => permissionProblem)).toEqual([
      expect.stringMatching(/^Clay 10 was left alone: reading for uid 1000 takes more than 100 ms/),
      null,
    ]);
    expect(others).toEqual([expect.stringMatching(/^reading for uid 1002 /)]);
  });
});

describe('capCandidatesPerUser', () => {
  const probes = [clayLook({ pid: 10 }), clayLook({ pid: 20 })];
  const candidatesOf = (uid: number, count: number, probe = probes[0]): Candidate[] =>
    Array.from({ length: count }, () => ({
      stat: {} as Candidate['stat'],
      owner: { state: 'alive', probe: probe ?? clayLook() },
      expectedIdentity: { uid, ppid: 1 },
      inTerminal: false,
      unplaced: null,
    }));

  it('keeps all candidates of users with 5,000', () => {
    const candidates = candidatesOf(1, 5_000);
    expect(capCandidatesPerUser(probes, candidates)).toEqual({ clays: probes, candidates, exceeded: false });
  });
  it('drops all candidates of a user with more, keeps those of others, and marks that user’s Clay', () => {
    const others = candidatesOf(2, 3, probes[1]);
    const capped = capCandidatesPerUser(probes, [...candidatesOf(1, 5_001), ...others]);
    expect(capped).toMatchObject({ candidates: others, exceeded: true });
    expect(capped.clays.map(({ permissionProblem }) => permissionProblem)).toEqual([
      expect.stringContaining('Clay 10 was left alone'),
      null,
    ]);
  });
});

describe('capDaemonsPerUser', () => {
  it('keeps 64 daemons of each user and says that there were more', () => {
    const { daemon } = clayLook();
    const probe = (uid: number) => ({
      home: `/home/${uid}`,
      daemons: [{ ...daemon, uid }],
      refusals: [],
      absentReason: null,
    });
    const probes = capDaemonsPerUser([...Array.from({ length: 66 }, () => probe(1)), probe(2)]);
    expect(probes.flatMap(({ daemons }) => daemons)).toHaveLength(65);
    expect(probes.at(-1)?.daemons).toHaveLength(1);
    expect(probes.filter(({ refusals }) => refusals.length > 0)).toHaveLength(2);
  });
});

describe('addFoundHomes', () => {
  it('drops homes that are not named any more when there are more than 256', () => {
    const homes = new Set(['/old']);
    addFoundHomes(homes, ['/new']);
    expect([...homes]).toEqual(['/old', '/new']);
    const many = Array.from({ length: 256 }, (_, number) => `/home/${number}`);
    addFoundHomes(homes, many);
    expect([...homes]).toEqual(many);
  });
});
