// An MCP server on stdin and stdout that offers nothing. Polls if its argument says how many percent of a core that takes.
import { createInterface } from 'node:readline';

createInterface({ input: process.stdin }).on('line', (line) => {
  const { id, method, params } = JSON.parse(line);
  if (id === undefined) return;
  const results = {
    initialize: {
      protocolVersion: params?.protocolVersion,
      capabilities: { tools: {} },
      serverInfo: { name: 'quiet', version: '1.0.0' },
    },
    'tools/list': { tools: [] },
  };
  process.stdout.write(`${JSON.stringify({ jsonrpc: '2.0', id, result: results[method] ?? {} })}\n`);
});

const POLL_MS = 200;
const percent = Number(process.argv[2] ?? 0);
if (percent > 0)
  setInterval(() => {
    const before = process.cpuUsage();
    const used = () => Object.values(process.cpuUsage(before)).reduce((sum, microseconds) => sum + microseconds, 0);
    while (used() < POLL_MS * 1000 * (percent / 100));
  }, POLL_MS);
