import { expect, it } from 'vitest';
import { failedCount, type Outcome, reclaimedBytes, wasTerminated } from '../../../src/reap/result.ts';
import { ENDINGS, orphan, reapedAs } from '../../helpers/assessment.ts';

const outcomes = Object.keys(ENDINGS) as Outcome['outcome'][];
const resultsWith = (rssBytes: number) => outcomes.map((outcome) => reapedAs(outcome, orphan({}, { rssBytes })));

it('wasTerminated is true for terminated and killed processes only', () => {
  const terminated = resultsWith(1).filter(wasTerminated);
  expect(terminated.map(({ result }) => result.outcome)).toEqual(['terminated', 'killed']);
});

it('reclaimedBytes sums the memory of terminated and killed processes only', () => {
  expect(reclaimedBytes(resultsWith(10))).toBe(20);
  expect(reclaimedBytes([])).toBe(0);
});

it('failedCount counts the processes that survived', () => {
  expect(failedCount(resultsWith(1))).toBe(1);
  expect(failedCount([])).toBe(0);
});
