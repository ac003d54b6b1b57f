import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { explainNonCandidate } from '../../../src/observe/non-candidate.ts';
import type { Observation } from '../../../src/observe/observe.ts';
import { readStat } from '../../../src/proc/stat.ts';
import { clayLook } from '../../helpers/assessment.ts';
import { noLimits } from '../../helpers/budget.ts';
import { CLAY_PID } from '../../helpers/evidence.ts';
import { type FakeProc, fakeProc } from '../../helpers/fake-proc.ts';

let proc: FakeProc;
beforeEach(() => {
  proc = fakeProc();
});
afterEach(() => proc.end());

describe('explainNonCandidate', () => {
  it('leads from a wrapper to the claude that it started', () => {
    const environ = { CLAUDE_CODE_ENTRYPOINT: 'sdk-ts' };
    proc.put({ pid: CLAY_PID, comm: 'node', children: [[101]] });
    proc.put({ pid: 101, ppid: CLAY_PID, comm: 'bash', environ, children: [[102]] });
    proc.put({ pid: 102, ppid: 101, environ });
    const stat = readStat(proc.root, 102);
    if (!stat.ok) throw new Error(stat.failure.detail);
    const probe = clayLook();
    const candidate = {
      stat: stat.value,
      owner: { state: 'alive', probe },
      expectedIdentity: { uid: 1000, ppid: 101 },
      inTerminal: false,
      unplaced: null,
    } as const;
    const found = { clays: [probe], candidates: [candidate], budgets: noLimits } as unknown as Observation;
    expect(explainNonCandidate(proc.root, found, 101)).toMatchObject({
      ok: true,
      value: [{ holds: true }, { holds: true }, { holds: false, detail: expect.stringContaining('explain 102') }],
    });
  });
});
