// Loaded into the built program before it starts (node --import): lets a test change the world between two of its system
// calls, or make one of them fail. What to do is in $INTERFERE, see interference.ts.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import process from 'node:process';

const { rules, trace, signals, clock } = JSON.parse(process.env.INTERFERE);
delete process.env.INTERFERE;
/** Every process is a day older than it is, as in test/helpers/older-machine.cjs. */
const DAY_SECONDS = 86_400;
const real = { ...fs };
const kill = process.kill;
const paths = new Map();
const counts = new Map();

const CALLS = ['openSync', 'readSync', 'writeSync', 'fdatasyncSync', 'readdirSync', 'readlinkSync', 'lstatSync'];
const MORE_CALLS = ['opendirSync', 'fstatSync', 'statSync', 'mkdirSync', 'renameSync', 'realpathSync', 'readFileSync'];
const FEW_MAKE = ['fchmodSync', 'unlinkSync'];

for (const name of [...CALLS, ...MORE_CALLS, ...FEW_MAKE]) {
  const original = real[name];
  fs[name] = Object.assign((...args) => {
    const path = typeof args[0] === 'number' ? (paths.get(args[0]) ?? '') : String(args[0]);
    const call = `${name} ${path}`;
    if (trace) real.appendFileSync(trace, `${call}\n`);
    const fired = rules.filter((rule) => fires(rule, call));
    for (const rule of fired) if (rule.when !== 'after') act(rule, name, path);
    const shifted =
      clock && name === 'openSync' && path === '/proc/uptime' ? [shiftedUptime(), ...args.slice(1)] : args;
    const result = original(...shifted);
    if (name === 'openSync') paths.set(result, path);
    for (const rule of fired) if (rule.when === 'after') act(rule, name, path);
    return result;
  }, original);
}

process.kill = (pid, signal) => {
  if (signals) real.appendFileSync(signals, `${pid} ${startTicks(pid)} ${signal}\n`);
  const call = `kill ${pid} ${signal}`;
  if (trace) real.appendFileSync(trace, `${call}\n`);
  for (const rule of rules.filter((known) => fires(known, call))) {
    act(rule, 'kill', String(pid));
    if (rule.swallow) return true;
  }
  return kill.call(process, pid, signal);
};
if (clock) shiftClock();
syncBuiltinESMExports();

/** How far the clocks are from the real ones: {wallMs, uptimeMs}. */
function shift() {
  return JSON.parse(real.readFileSync(clock, 'utf8'));
}

/** The wall clock that somebody sets; the monotonic one stays as it is, as it does in a machine that was suspended. */
function shiftClock() {
  const RealDate = Date;
  globalThis.Date = class extends RealDate {
    constructor(...args) {
      if (args.length === 0) super(RealDate.now() + shift().wallMs);
      else super(...args);
    }
    static now() {
      return RealDate.now() + shift().wallMs;
    }
  };
}

/** Uptime goes on while a machine is suspended. */
function shiftedUptime() {
  const [up, idle] = real.readFileSync('/proc/uptime', 'utf8').split(' ');
  const path = `${clock}.uptime`;
  real.writeFileSync(path, `${(Number(up) + DAY_SECONDS + shift().uptimeMs / 1000).toFixed(2)} ${idle}`);
  return path;
}

/** Whether a rule is about this call, and about this time of it. */
function fires(rule, call) {
  if (!new RegExp(rule.call).test(call)) return false;
  if (rule.onceThereIs !== undefined && !real.existsSync(rule.onceThereIs)) return false;
  const count = (counts.get(rule) ?? 0) + 1;
  counts.set(rule, count);
  return count >= (rule.from ?? 1) && count <= (rule.to ?? Number.POSITIVE_INFINITY);
}

function act({ run, error }, name, path) {
  if (run !== undefined) {
    const done = spawnSync('/bin/sh', ['-c', run], { stdio: ['ignore', 'ignore', 'inherit'] });
    if (done.status !== 0) throw new Error(`the interference failed: ${run}`);
  }
  if (error !== undefined) {
    throw Object.assign(new Error(`${error}: made up, ${name} '${path}'`), { code: error, syscall: name, path });
  }
}

function startTicks(pid) {
  try {
    const stat = real.readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return 'none';
  }
}
