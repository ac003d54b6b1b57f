// Loaded into the program before it starts (node --require): adds a day to the uptime that it reads, so that every process is a
// day older to it. Tests need processes that have been idle for hours, and none is idle for longer than it exists.
const fs = require('node:fs');
const { syncBuiltinESMExports } = require('node:module');

const { openSync, readSync } = fs;
const DAY_SECONDS = 86_400;
const opened = new Set();

fs.openSync = (path, ...more) => {
  const fd = openSync(path, ...more);
  if (path === '/proc/uptime') opened.add(fd);
  else opened.delete(fd);
  return fd;
};
fs.readSync = (fd, buffer, ...more) => {
  const length = readSync(fd, buffer, ...more);
  if (length === 0 || !opened.has(fd)) return length;
  const [up, idle] = buffer.toString('latin1', 0, length).split(' ');
  return buffer.write(`${(Number(up) + DAY_SECONDS).toFixed(2)} ${idle}`, 'latin1');
};
syncBuiltinESMExports();
