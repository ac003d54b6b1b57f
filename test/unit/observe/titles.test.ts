import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Candidate } from '../../../src/observe/candidates.ts';
import { readTitles } from '../../../src/observe/titles.ts';
import { clayLook } from '../../helpers/assessment.ts';
import { noLimits } from '../../helpers/budget.ts';
import { idleEvidence } from '../../helpers/evidence.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'clay-reaper-titles-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** The titles of one process whose journal has this first line. */
function titlesOf(firstLine: string, uid = process.getuid?.() ?? 0): string[] {
  const path = join(directory, 'journal.jsonl');
  writeFileSync(path, `${firstLine}\n{"type":"done"}\n`);
  const evidence = idleEvidence({
    journal: { state: 'found', path, turn: 'ended', decidedBy: 'done', changedAtMs: 1 },
  });
  const probe = { ...clayLook(), daemon: { ...clayLook().daemon, uid } };
  const candidate: Candidate = {
    stat: { ...stat, ...evidence.id },
    owner: { state: 'alive', probe },
    expectedIdentity: { uid, ppid: probe.daemon.pid },
    inTerminal: false,
    unplaced: null,
  };
  return [...readTitles({ evidence: [evidence], candidates: [candidate], budgets: noLimits }).values()];
}

const stat: Candidate['stat'] = {
  pid: 1,
  comm: 'claude',
  state: 'S',
  ppid: 1,
  session: 1,
  ttyNr: 0,
  isKernelThread: false,
  ownTicks: 0,
  reapedTicks: 0,
  threads: 1,
  startTicks: 1,
};

describe('readTitles', () => {
  it('reads the title from the first line of the journal', () => {
    expect(titlesOf('{"type":"meta","title":"Fix the build"}')).toEqual(['Fix the build']);
  });
  it.each(['{"type":"meta","title":""}', '{"type":"meta","title":{"a":1}}', '{"type":"meta"}', 'no JSON', '[]'])(
    'returns no title for the first line %s',
    (line) => expect(titlesOf(line)).toEqual([]),
  );
  it("does not open a journal that is not the Clay owner's", () => {
    expect(titlesOf('{"type":"meta","title":"Fix the build"}', 54_321)).toEqual([]);
  });
});
