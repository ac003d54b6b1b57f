import { chmodSync, renameSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { writeJsonLine } from './lines.js';

/**
 * daemon.sock: one JSON object a line. `behaviour()` returns how get_status is answered now:
 * ok | error | garbage | half | huge | slow (a byte at a time) | silent | hangup, each with fields to override.
 */
export function listenForStatus(path, getStatus, behaviour) {
  const open = new Set();
  let requests = 0;
  const server = createServer((socket) => {
    open.add(socket);
    socket.on('close', () => open.delete(socket));
    socket.on('error', () => {});
    if (behaviour().mode === 'hangup') return socket.destroy();
    let unread = '';
    socket.setEncoding('utf8').on('data', (text) => {
      const lines = (unread + text).split('\n');
      unread = lines.pop() ?? '';
      for (const line of lines) {
        requests += 1;
        answer(socket, line, getStatus, behaviour());
      }
    });
  });

  return {
    requests: () => requests,
    listen: () =>
      new Promise((resolve, reject) => {
        if (server.listening) return resolve();
        rmSync(path, { force: true });
        server.once('error', reject);
        server.listen(path, () => {
          chmodSync(path, 0o755);
          resolve();
        });
      }),
    /** `stale`: leaves the file behind as a crash does, so that connecting is refused. */
    close: ({ stale = false } = {}) =>
      new Promise((resolve) => {
        for (const socket of open) socket.destroy();
        if (!server.listening) return resolve();
        // Closing removes the path that was listened on, so the file steps aside for a moment.
        if (stale) renameSync(path, `${path}.stale`);
        server.close(() => {
          if (stale) renameSync(`${path}.stale`, path);
          resolve();
        });
      }),
  };
}

function answer(socket, line, getStatus, { mode = 'ok', override = {}, bytes = 8 * 1024 * 1024, delayMs = 0 }) {
  const status = { ...getStatus(), ...override };
  const whole = `${JSON.stringify(status)}\n`;
  switch (mode) {
    case 'ok':
      return setTimeout(() => writeJsonLine(socket, reply(line, status)), delayMs);
    case 'error':
      return writeJsonLine(socket, { ok: false, error: 'internal error' });
    case 'garbage':
      return socket.write('\u001b[31m<html>502 Bad Gateway</html>\n');
    case 'half':
      return socket.end(whole.slice(0, whole.length / 2));
    case 'huge':
      return socket.write(`${JSON.stringify({ ...status, padding: 'x'.repeat(bytes) })}\n`);
    case 'slow':
      return drip(socket, whole, delayMs || 50);
    case 'silent':
      return undefined;
    default:
      throw new Error(`no such behaviour: ${mode}`);
  }
}

function reply(line, status) {
  let request;
  try {
    request = JSON.parse(line);
  } catch {
    return { ok: false, error: 'invalid JSON' };
  }
  return request?.cmd === 'get_status' ? status : { ok: false, error: `unknown command: ${request?.cmd}` };
}

function drip(socket, text, everyMs) {
  let at = 0;
  const timer = setInterval(() => {
    if (at >= text.length || socket.destroyed) return clearInterval(timer);
    socket.write(text.charAt(at));
    at += 1;
  }, everyMs);
}
