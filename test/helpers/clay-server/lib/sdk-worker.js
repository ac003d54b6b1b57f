// Clay's worker for another user's conversation: connects to the daemon's socket and does there what is asked.
import { connect } from 'node:net';
import { createHost } from './claude-host.js';
import { onJsonLines, writeJsonLine } from './lines.js';

const socket = connect(process.argv[2]);
const host = createHost((event) => writeJsonLine(socket, { event }));

onJsonLines(socket, async ({ id, operation, parameters }) => {
  try {
    writeJsonLine(socket, { id, result: await host[operation](parameters) });
  } catch (error) {
    writeJsonLine(socket, { id, error: error.message });
  }
});
socket.on('error', () => process.exit(1));
socket.on('close', () => process.exit(0));
