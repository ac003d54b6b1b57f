import { createInterface } from 'node:readline';

/** Calls back with each line of a stream that is a JSON object, in order; other lines are dropped. */
export function onJsonLines(stream, callback) {
  const lines = createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY });
  // It passes on what goes wrong with the stream, which is seen by its end.
  lines.on('error', () => {});
  lines.on('line', (line) => {
    let message;
    try {
      message = JSON.parse(line);
    } catch {
      return;
    }
    if (message !== null && typeof message === 'object') callback(message);
  });
}

/** Writes one JSON line, unless the other side is gone. */
export function writeJsonLine(stream, message) {
  if (!stream.destroyed && stream.writable) stream.write(`${JSON.stringify(message)}\n`);
}
