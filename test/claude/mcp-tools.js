// An MCP server on stdin and stdout with two tools that never answer: `ask` waits for the user, `compute` uses so many percent of
// a core, also after the call was cancelled.
import { createInterface } from 'node:readline';

const tool = (name, properties) => ({ name, description: name, inputSchema: { type: 'object', properties } });
const tools = [tool('ask', {}), tool('compute', { percent: { type: 'number' } })];
const send = (message) => process.stdout.write(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`);

const call = {
  ask: () => {
    const requestedSchema = { type: 'object', properties: { name: { type: 'string' } } };
    send({ id: 'question', method: 'elicitation/create', params: { message: 'Which one?', requestedSchema } });
  },
  compute: ({ percent }) => {
    setInterval(() => {
      const before = process.cpuUsage();
      while (process.cpuUsage(before).user < percent * 10_000);
    }, 1000);
  },
};

createInterface({ input: process.stdin }).on('line', (line) => {
  const { id, method, params } = JSON.parse(line);
  if (method === 'tools/call') call[params.name](params.arguments ?? {});
  else if (method === 'initialize') {
    const { protocolVersion } = params;
    const serverInfo = { name: 'tools', version: '1.0.0' };
    send({ id, result: { protocolVersion, capabilities: { tools: {} }, serverInfo } });
  } else if (method === 'tools/list') send({ id, result: { tools } });
  else if (method !== undefined && id !== undefined) send({ id, result: {} });
});
