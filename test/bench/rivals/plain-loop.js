// A plain loop over the files that one sweep was recorded to touch, in their order and as often: it opens, reads and closes
// each, and makes nothing of what they hold. What is no file (a link, a directory, a socket) is only looked at.
import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { serveLooks } from './worker.js';

const operations = JSON.parse(readFileSync(process.argv[2], 'utf8'));

const isFile = (path) => lstatSync(path, { throwIfNoEntry: false })?.isFile() === true;
const plain = {
  read: (path) => readFileSync(path),
  readlink: (path) => readlinkSync(path),
  readdir: (path) => readdirSync(path),
  lstat: (path) => lstatSync(path, { throwIfNoEntry: false }),
};
const stepOf = (operation, path) => (isFile(path) ? 'read' : operation === 'read' ? 'lstat' : operation);
const steps = operations.map(([operation, path]) => [plain[stepOf(operation, path)], path]);

serveLooks(() => {
  for (const [step, path] of steps) step(path);
  return steps.length;
});
