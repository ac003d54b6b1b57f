import { describe, expect, it } from 'vitest';
import { afterCleanup, afterConfig, afterHistory, legendLine, nextStepLine } from '../../../src/report/next-steps.ts';
import { orphan, protectedBy } from '../../helpers/assessment.ts';
import { MINUTE } from '../../helpers/evidence.ts';

const kept = protectedBy(['cpu']);
const grace = orphan({ verdict: 'grace', idleMs: 10 * MINUTE });
const due = orphan();

describe('legendLine', () => {
  it('explains the verdicts that are shown, and no others', () => {
    expect(legendLine({ judgements: [due, kept] })).toBe(
      'protected: in use or in doubt, never ended; reap: its wait is over',
    );
    expect(legendLine({ judgements: [grace] })).toBe('grace: idle, its wait is not over');
    expect(legendLine({ judgements: [] })).toBeNull();
  });
});

describe('nextStepLine', () => {
  it('says when the first process is due', () => {
    expect(nextStepLine({ judgements: [grace, kept] })).toBe(
      'the first is due in 20m; "clay-reaper cleanup --now" ends them now',
    );
  });
  it('says how to end those that are due', () => {
    expect(nextStepLine({ judgements: [grace, due] })).toBe('"clay-reaper cleanup" asks, then ends those to reap');
  });
  it('says where the reasons are if nothing is idle', () => {
    expect(nextStepLine({ judgements: [kept] })).toBe('"clay-reaper explain PID" shows why a process is kept');
  });
  it('says that there is nothing to do if there is no process', () => {
    expect(nextStepLine({ judgements: [] })).toMatch(/^nothing to do: /);
  });
});

describe('afterCleanup', () => {
  it('names the command that comes next, whatever it has come to', () => {
    expect(afterCleanup('nothing-due', { judgements: [grace] })).toContain('the first is due in 20m');
    expect(afterCleanup('dry-run', { judgements: [due] })).toContain('"clay-reaper cleanup" without a dry run');
    expect(afterCleanup('declined', { judgements: [due] })).toContain('"clay-reaper explain PID"');
    expect(afterCleanup('done', { judgements: [due] })).toContain('"clay-reaper history"');
  });
});

describe('afterHistory and afterConfig', () => {
  it('name the command that comes next', () => {
    expect(afterHistory(true)).toContain('"clay-reaper status"');
    expect(afterHistory(false)).toContain('"clay-reaper explain PID"');
    expect(afterConfig('/etc/x.toml')).toMatch(/edit \/etc\/x\.toml, .*--check.*systemctl reload/);
  });
});
