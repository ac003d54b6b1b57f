import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createScheduleParser, type ScheduledRun } from '../../../src/claude/schedule.ts';
import { DAY } from '../../helpers/evidence.ts';

// Cron expressions are in local time; the samples were taken where it is UTC.
const zone = process.env.TZ;
beforeAll(() => {
  process.env.TZ = 'UTC';
});
afterAll(() => {
  if (zone === undefined) delete process.env.TZ;
  else process.env.TZ = zone;
});

const sample = (...names: readonly string[]): Buffer =>
  Buffer.concat(
    names.map((name) => readFileSync(new URL(`../../fixtures/transcripts/${name}.jsonl`, import.meta.url))),
  );
const alarmsIn = (...pieces: readonly (string | Buffer)[]): readonly ScheduledRun[] => {
  const reader = createScheduleParser();
  for (const piece of pieces) reader.read(Buffer.from(piece));
  return reader.scheduledRuns();
};
const at = (iso: string): number => Date.parse(iso);

describe('captured transcripts', () => {
  it.each([
    ['0.2.92-cron-one-shot', 'CronCreate', '2026-11-22T11:26:07.205Z', '2026-12-31T23:59:00Z'],
    ['0.3.330-cron-one-shot', 'CronCreate', '2026-11-22T11:26:08.081Z', '2026-12-31T23:59:00Z'],
    ['0.2.92-one-shot-fired', 'CronCreate', '2026-11-22T11:26:48.674Z', '2026-11-22T11:28:00Z'],
    ['0.3.330-one-shot-fired', 'CronCreate', '2026-11-22T11:26:47.801Z', '2026-11-22T11:28:00Z'],
    ['0.3.330-schedule-wakeup', 'ScheduleWakeup', '2026-11-22T11:26:08.328Z', '2026-11-22T11:37:00Z'],
    ['0.3.330-wakeup-fired', 'ScheduleWakeup', '2026-11-22T11:26:48.185Z', '2026-11-22T11:28:00Z'],
  ])('%s: runs once', (name, tool, setAt, lastFire) => {
    expect(alarmsIn(sample(name))).toEqual([{ tool, setAtMs: at(setAt), lastRunMs: at(lastFire) }]);
  });
  it.each([
    // 0.2.92 does not write that it ends after 7 days: no release goes on for longer than 30.
    ['0.2.92-cron-recurring', '2026-11-22T11:26:07.150Z'],
    ['0.2.92-recurring-fired', '2026-11-22T11:26:48.739Z'],
    ['0.2.92-cron-durable', '2026-11-22T11:26:07.239Z'],
    ['0.3.330-cron-recurring', '2026-11-22T11:26:07.995Z'],
    ['0.3.330-recurring-fired', '2026-11-22T11:26:48.032Z'],
    ['0.3.330-cron-durable', '2026-11-22T11:26:08.141Z'],
  ])('%s: runs until its end', (name, setAt) => {
    expect(alarmsIn(sample(name))).toEqual([
      { tool: 'CronCreate', setAtMs: at(setAt), lastRunMs: at(setAt) + 30 * DAY },
    ]);
  });
  it.each(['0.2.92-cron-list', '0.3.330-cron-list', '0.3.330-cron-refused', '0.2.92-schedule-wakeup-refused'])(
    '%s: schedules nothing',
    (name) => expect(alarmsIn(sample(name))).toEqual([]),
  );
  it.each([
    ['0.3.243-mcp-background', 'MCP', '2026-11-25T09:43:27.232Z'],
    ['0.3.330-mcp-background', 'MCP', '2026-11-25T09:44:01.113Z'],
    ['0.3.243-agent-background', 'Agent', '2026-11-25T09:47:45.379Z'],
  ])('%s: goes on in the background', (name, tool, setAt) => {
    expect(alarmsIn(sample(name))).toEqual([{ tool, setAtMs: at(setAt), lastRunMs: Number.POSITIVE_INFINITY }]);
  });
  it.each(['0.3.243', '0.3.330'])('%s: a call in the background has ended with its notification', (sdk) => {
    expect(alarmsIn(sample(`${sdk}-mcp-background`), sample(`${sdk}-mcp-ended`))).toEqual([]);
    expect(alarmsIn(sample(`${sdk}-mcp-background`, `${sdk}-mcp-ended`))).toEqual([]);
    // Another one goes on.
    expect(alarmsIn(sample('0.3.243-agent-background', `${sdk}-mcp-ended`))).toHaveLength(1);
  });
  it('an agent in the background has ended with its notification', () => {
    const notification = sample('0.3.243-mcp-ended')
      .toString('utf8')
      .replaceAll(/<task-id>\w+/g, '<task-id>AGENT');
    const agent = sample('0.3.243-agent-background').toString('utf8');
    const [, id = ''] = /agentId: (\w+)/.exec(agent) ?? [];
    expect(alarmsIn(agent, notification.replaceAll('AGENT', id))).toEqual([]);
    expect(alarmsIn(agent, notification)).toHaveLength(1);
  });
  it.each(['agentId: a ', 'agentId: ', 'be notified automaticall'])(
    'an answer of 1 MB that begins like that of an agent and repeats %j takes linear time',
    (part) => {
      const lines = sample('0.3.243-agent-background').toString('utf8').split('\n');
      const record = lines.find((line) => line.includes('Async agent launched')) ?? '';
      const hostile = `Async agent launched successfully.${part.repeat(900_000 / part.length)}`;
      const line = record.replace(/Async agent launched(?:[^"\\]|\\.)*/, hostile);
      const before = process.cpuUsage();
      alarmsIn(`${line}\n`);
      expect(process.cpuUsage(before).user / 1000).toBeLessThan(500);
    },
  );
  it('a text that quotes such a result goes on nowhere', () => {
    const quoted = sample('0.3.243-mcp-background').toString('utf8').replaceAll('MCP tool ', 'It said: MCP tool ');
    expect(alarmsIn(quoted)).toEqual([]);
  });
  it.each(['0.2.92', '0.3.330'])('%s: a deleted entry is no longer scheduled', (sdk) => {
    expect(alarmsIn(sample(`${sdk}-cron-recurring`))).toHaveLength(1);
    expect(alarmsIn(sample(`${sdk}-cron-recurring`, `${sdk}-cron-delete`))).toEqual([]);
    expect(alarmsIn(sample(`${sdk}-cron-recurring`), sample(`${sdk}-cron-delete`))).toEqual([]);
    // Another one stays.
    expect(alarmsIn(sample(`${sdk}-cron-one-shot`, `${sdk}-cron-delete`))).toHaveLength(1);
  });
  it('give the same result read at once or line by line', () => {
    const names = [
      ...['0.3.330-cron-recurring', '0.3.330-cron-one-shot', '0.3.330-cron-durable', '0.3.330-cron-list'],
      ...['0.3.330-cron-refused', '0.3.330-schedule-wakeup', '0.3.330-cron-delete'],
    ];
    const whole = sample(...names);
    const byLine = whole
      .toString('utf8')
      .split('\n')
      .map((line) => `${line}\n`);
    expect(alarmsIn(whole)).toHaveLength(3);
    expect(alarmsIn(...byLine)).toEqual(alarmsIn(whole));
  });
});

type Input = Readonly<Record<string, unknown>>;

let calls = 0;
/** A call and its result, as both SDKs write them. */
function call(name: string, input: Input, toolUseResult: unknown, more: Input = {}): string {
  const id = `toolu_${++calls}`;
  const use = {
    type: 'assistant',
    timestamp: '2026-11-22T11:26:07.000Z',
    message: { content: [{ type: 'tool_use', id, name, input }] },
  };
  const content = [{ type: 'tool_result', tool_use_id: id, content: 'x', ...more }];
  const result = { type: 'user', timestamp: '2026-11-22T11:26:08.000Z', message: { content }, toolUseResult };
  return `${JSON.stringify(use)}\n${JSON.stringify(result)}\n`;
}
const SET_AT = at('2026-11-22T11:26:08.000Z');
const lastFires = (...pieces: readonly string[]): number[] => alarmsIn(...pieces).map(({ lastRunMs }) => lastRunMs);

describe('CronCreate', () => {
  it('schedules runs without an end if its result names none', () => {
    expect(lastFires(call('CronCreate', { cron: '3 4 * * *' }, { id: 'a', recurring: true, maxAgeMs: 0 }))).toEqual([
      Number.POSITIVE_INFINITY,
    ]);
  });
  it('schedules runs until the end that its result names', () => {
    expect(lastFires(call('CronCreate', { cron: '3 4 * * *' }, { id: 'a', recurring: true, maxAgeMs: DAY }))).toEqual([
      SET_AT + DAY,
    ]);
  });
  it('uses the result, not the request', () => {
    const once = { id: 'a', recurring: false, nextFireAt: 5 };
    expect(lastFires(call('CronCreate', { cron: '3 4 * * *', recurring: true }, once))).toEqual([5]);
    expect(lastFires(call('CronCreate', { cron: '3 4 * * *', recurring: false }, { id: 'a' }))).toEqual([
      at('2026-11-23T04:03:00Z'),
    ]);
    expect(lastFires(call('CronCreate', { cron: '3 4 * * *' }, { id: 'a' }))).toEqual([SET_AT + 30 * DAY]);
  });
  // Both SDKs take "true" and "false" for booleans, and write down what the model said (measured).
  it.each(['true', 'false'])('reads recurring: "%s" as the SDK does', (recurring) => {
    const result = { id: 'a', humanSchedule: 'x', recurring: recurring === 'true', durable: false };
    expect(alarmsIn(call('CronCreate', { cron: '59 23 31 12 *', prompt: 'x', recurring }, result))).toHaveLength(1);
  });
  it('uses the request if the result says nothing', () => {
    const once = call('CronCreate', { cron: '59 23 31 12 *', recurring: 'false' }, { id: 'a' });
    expect(lastFires(once)).toEqual([at('2026-12-31T23:59:00Z')]);
  });
  it('replaces an entry with the same id', () => {
    const first = call('CronCreate', { cron: '3 4 * * *' }, { id: 'a', recurring: false, nextFireAt: 5 });
    const second = call('CronCreate', { cron: '3 4 * * *' }, { id: 'a', recurring: false, nextFireAt: 7 });
    expect(lastFires(first, second)).toEqual([7]);
  });
  it('adds to entries with other ids', () => {
    const first = call('CronCreate', { cron: '3 4 * * *' }, { id: 'a', recurring: false, nextFireAt: 5 });
    const second = call('CronCreate', { cron: '3 4 * * *' }, { id: 'b', recurring: false, nextFireAt: 7 });
    expect(lastFires(first, second)).toEqual([5, 7]);
  });
  it.each(['never', '', '61 * * * *', '* * * *', '0 0 31 2 *'])(
    'has no end if its expression is invalid: %j',
    (cron) => {
      const [lastFire] = lastFires(call('CronCreate', { cron }, { id: 'a', recurring: false }));
      expect(lastFire).toBe(Number.POSITIVE_INFINITY);
    },
  );
  it.each([
    ['31 11 22 11 *', '2026-11-22T11:31:00Z'],
    // Of this very minute: it has begun, so the next one is a year off.
    ['26 11 22 11 *', '2027-11-22T11:26:00Z'],
    ['0 9 * * 1', '2026-11-23T09:00:00Z'],
    ['*/15 * * * *', '2026-11-22T11:30:00Z'],
    // Either of the two days will do (cron(8)).
    ['0 9 25 * 2', '2026-11-24T09:00:00Z'],
  ])('runs once for %s at %s', (cron, expected) => {
    expect(lastFires(call('CronCreate', { cron }, { id: 'a', recurring: false }))).toEqual([at(expected)]);
  });
  it('counts from now if its time is unknown', () => {
    const line = call('CronCreate', { cron: '3 4 * * *' }, { id: 'a', recurring: true });
    for (const timestamp of ['"soon"', '""']) {
      const [alarm] = alarmsIn(line.replaceAll(/"timestamp":"[^"]*"/g, `"timestamp":${timestamp}`));
      expect(alarm).toEqual({
        tool: 'CronCreate',
        setAtMs: Number.POSITIVE_INFINITY,
        lastRunMs: Number.POSITIVE_INFINITY,
      });
    }
  });
});

describe('CronDelete', () => {
  const set = call('CronCreate', { cron: '3 4 * * *' }, { id: 'a', recurring: true });
  it('removes the entry that its result names', () => {
    expect(alarmsIn(set, call('CronDelete', { id: 'a' }, { id: 'a' }))).toEqual([]);
  });
  it('removes nothing if it was refused', () => {
    expect(alarmsIn(set, call('CronDelete', { id: 'a' }, 'Error: no such job', { is_error: true }))).toHaveLength(1);
  });
  it('removes nothing if it names another entry', () => {
    expect(alarmsIn(set, call('CronDelete', { id: 'b' }, { id: 'b' }))).toHaveLength(1);
  });
  it('removes nothing before it has a result', () => {
    const [asked] = call('CronDelete', { id: 'a' }, { id: 'a' }).split('\n');
    expect(alarmsIn(set, `${asked}\n`)).toHaveLength(1);
  });
});

describe('ScheduleWakeup', () => {
  it('runs at the time that its result names', () => {
    expect(lastFires(call('ScheduleWakeup', { delaySeconds: 60 }, { scheduledFor: 7 }))).toEqual([7]);
    expect(lastFires(call('ScheduleWakeup', { delaySeconds: '60' }, { scheduledFor: 7 }))).toEqual([7]);
  });
  it('never counts as past if its result names no time', () => {
    expect(lastFires(call('ScheduleWakeup', { delaySeconds: 60 }, {}))).toEqual([Number.POSITIVE_INFINITY]);
  });
  it('is removed by a stop, unlike cron entries', () => {
    const wake = call('ScheduleWakeup', { delaySeconds: 60 }, { scheduledFor: 7 });
    const cron = call('CronCreate', { cron: '3 4 * * *' }, { id: 'a', recurring: false, nextFireAt: 5 });
    const stop = call('ScheduleWakeup', { stop: true }, { stopped: true });
    expect(lastFires(wake, cron, stop)).toEqual([5]);
    expect(lastFires(stop, wake)).toEqual([7]);
  });
});

describe('uncertain calls', () => {
  it('a refused call schedules nothing', () => {
    const refused = call('CronCreate', { cron: 'bad' }, 'Error: Invalid cron expression', { is_error: true });
    expect(alarmsIn(refused)).toEqual([]);
  });
  it.each([
    ['none', undefined],
    ['null', null],
    ['another shape', { jobId: 5, nextFireAt: null }],
    ['an id that is a number', { id: 5, recurring: true }],
    ['a text that is no error', 'Scheduled job a'],
  ])('a result of an unknown form schedules a run: %s', (_, result) => {
    expect(alarmsIn(call('CronCreate', { cron: '3 4 * * *' }, result))).toHaveLength(1);
    expect(alarmsIn(call('ScheduleWakeup', { delaySeconds: 60 }, result))).toHaveLength(1);
  });
  it('a call without a result schedules nothing yet', () => {
    const [asked, answered] = call('CronCreate', { cron: '3 4 * * *' }, { id: 'a', recurring: true }).split('\n');
    const reader = createScheduleParser();
    reader.read(Buffer.from(`${asked}\n`));
    expect(reader.scheduledRuns()).toEqual([]);
    // The result may come many sweeps later, with many lines between.
    reader.read(Buffer.from(`{"type":"progress"}\n`.repeat(50)));
    reader.read(Buffer.from(`${answered}\n`));
    expect(reader.scheduledRuns()).toHaveLength(1);
  });
  it('other tools and mere text schedule nothing', () => {
    const talk = { type: 'user', message: { content: [{ type: 'text', text: '"CronCreate"' }] } };
    const line = call('CronCreate', { cron: '3 4 * * *' }, { id: 'a', recurring: true });
    expect(
      alarmsIn(
        call('Bash', { command: 'echo "CronCreate"' }, { id: 'a', recurring: true }),
        `${JSON.stringify(talk)}\n`,
        `${JSON.stringify({ type: 'user', message: { content: line } })}\n`,
      ),
    ).toEqual([]);
  });
  it('lines that are not records are skipped', () => {
    const line = call('CronCreate', { cron: '3 4 * * *' }, { id: 'a', recurring: true });
    const broken = '{"message":{"content":[{"type":"tool_use","name":"CronCreate"';
    expect(alarmsIn(`${broken}\n"CronCreate"\n5\nnull\n\n${line}${broken}\n`)).toHaveLength(1);
  });
  it('parallel calls are kept apart', () => {
    const [a1, a2] = call('CronCreate', { cron: '3 4 * * *' }, { id: 'a', recurring: false, nextFireAt: 5 }).split(
      '\n',
    );
    const [b1, b2] = call('ScheduleWakeup', { delaySeconds: 60 }, { scheduledFor: 7 }).split('\n');
    expect(lastFires(`${a1}\n${b1}\n${b2}\n${a2}\n`).sort()).toEqual([5, 7]);
  });
});

describe('limits of the schedule parser', () => {
  const set = call('CronCreate', { cron: '3 4 * * *' }, { id: 'a', recurring: true });
  const readerOf = (text: string) => {
    const reader = createScheduleParser();
    reader.read(Buffer.from(text));
    return reader;
  };
  it('allow an ordinary conversation', () => {
    const other = `${JSON.stringify({ type: 'user', message: { content: 'x'.repeat(100) } })}\n`;
    expect(readerOf(`${other.repeat(20_000)}${set.repeat(1000)}`).overflowed()).toBe(false);
  });
  it('make the schedule unknown once they are exceeded', () => {
    const unanswered = Array.from({ length: 2000 }, () => call('CronCreate', {}, {}).split('\n')[0]);
    expect(readerOf(`${unanswered.join('\n')}\n`).overflowed()).toBe(true);
    expect(readerOf(set.repeat(20_000)).overflowed()).toBe(true);
    // Many calls with their results in one record.
    const pair = (at: number) => [
      { type: 'tool_use', id: `t${at}`, name: 'CronCreate', input: {} },
      { type: 'tool_result', tool_use_id: `t${at}` },
    ];
    const overfull = { message: { content: Array.from({ length: 2_500 }, (_, at) => pair(at)).flat() } };
    expect(readerOf(`${JSON.stringify(overfull)}\n`.repeat(5)).overflowed()).toBe(true);
    const endless = call('CronCreate', {}, {}).replaceAll(/toolu_\d+/g, 'x'.repeat(201));
    expect(readerOf(endless).overflowed()).toBe(true);
  });
});
