// Loaded before the program with --require: writes the file operations of one steady sweep to $BENCH_RECORD, as
// [operation, path]. A sweep goes from one question to Clay to the next.
const fs = require('node:fs');
const net = require('node:net');
const { syncBuiltinESMExports } = require('node:module');

const STEADY_SWEEP = 40;
const { readlinkSync: targetOf, writeFileSync } = fs;
let operations = [];
let sweeps = 0;

// A path below one of the program's descriptors is another one in the plain loop, or none.
const OWN_DESCRIPTOR = /^\/proc\/self\/fd\/\d+(?=\/)/;

function wrap(name, operation) {
  const original = fs[name];
  fs[name] = (path, ...parameters) => {
    operations.push([operation, String(path).replace(OWN_DESCRIPTOR, (link) => targetOf(link))]);
    return original(path, ...parameters);
  };
}

wrap('openSync', 'read');
const { openSync, readSync, readlinkSync } = fs;
const opened = new Set();
fs.openSync = (...parameters) => {
  const fd = openSync(...parameters);
  opened.add(fd);
  return fd;
};
fs.readSync = (fd, ...parameters) => {
  // What stays open from one sweep to the next is a file that is read, too.
  if (!opened.has(fd)) operations.push(['read', readlinkSync(`/proc/self/fd/${fd}`)]);
  return readSync(fd, ...parameters);
};
wrap('readlinkSync', 'readlink');
for (const name of ['readdirSync', 'opendirSync']) wrap(name, 'readdir');
for (const name of ['lstatSync', 'statSync', 'existsSync', 'accessSync']) wrap(name, 'lstat');

const { connect } = net.Socket.prototype;
net.Socket.prototype.connect = function (...parameters) {
  if (sweeps === STEADY_SWEEP) writeFileSync(process.env.BENCH_RECORD, JSON.stringify(operations));
  operations = [];
  opened.clear();
  sweeps += 1;
  return connect.apply(this, parameters);
};
syncBuiltinESMExports();
