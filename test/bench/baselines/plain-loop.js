// A plain loop over the files that one sweep was recorded to touch, in their order and as often: it opens, reads and closes
// each, Clay's socket included (which takes a question to be read) and those that the service keeps open, and makes nothing of
// what they hold. What cannot be read (a link, a directory) is only looked at.
import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { connect } from 'node:net';
import { serveRuns } from './worker.js';

const [, , record, mayAsk] = process.argv;
const operations = JSON.parse(readFileSync(record, 'utf8'));

const plain = {
  read: (path) => readFileSync(path),
  readlink: (path) => {
    try {
      return readlinkSync(path);
    } catch {
      // The namespaces of PID 1, in a container with fewer capabilities: the program tries, too.
      return null;
    }
  },
  readdir: (path) => readdirSync(path),
  lstat: (path) => lstatSync(path, { throwIfNoEntry: false }),
  ask: (path) =>
    new Promise((resolve, reject) => {
      const socket = connect(path, () => socket.write('{"cmd":"get_status"}\n'));
      socket.once('error', reject);
      socket.once('data', () => {
        socket.destroy();
        resolve();
      });
    }),
};

function stepOf(operation, path) {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat?.isFile()) return 'read';
  if (operation !== 'read') return operation;
  return stat?.isSocket() && mayAsk ? 'ask' : 'lstat';
}
const steps = operations.map(([operation, path]) => [plain[stepOf(operation, path)], path]);

serveRuns(async () => {
  for (const [step, path] of steps) {
    const done = step(path);
    if (step === plain.ask) await done;
  }
  return steps.length;
});
