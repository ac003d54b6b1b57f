import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

export type HttpMcpServer = {
  readonly url: string;
  /** How many event streams are open. */
  readonly streams: () => number;
  /** How many event streams were opened by now. */
  readonly opened: () => number;
  readonly stop: () => Promise<void>;
};

/**
 * An MCP server over HTTP that offers nothing but its event stream, and keeps that open for ever; with `?seconds=` in the URL it
 * ends it after so long.
 */
export async function startHttpMcpServer(): Promise<HttpMcpServer> {
  let streams = 0;
  let opened = 0;
  const server = createServer(async (request, response) => {
    if (request.method === 'GET') {
      streams += 1;
      opened += 1;
      response.once('close', () => {
        streams -= 1;
      });
      response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
      const seconds = new URL(request.url ?? '/', 'http://localhost').searchParams.get('seconds');
      if (seconds !== null) setTimeout(() => response.end(), Number(seconds) * 1000);
      return;
    }
    let body = '';
    for await (const chunk of request.setEncoding('utf8')) body += chunk;
    const { id, method, params } = JSON.parse(body || '{}') as {
      id?: number;
      method?: string;
      params?: { protocolVersion?: string };
    };
    if (id === undefined) {
      response.writeHead(202).end();
      return;
    }
    const serverInfo = { name: 'quiet', version: '1.0.0' };
    const hello = { protocolVersion: params?.protocolVersion, capabilities: { tools: {} }, serverInfo };
    const result = method === 'initialize' ? hello : method === 'tools/list' ? { tools: [] } : {};
    // One request, one connection: only the stream stays.
    response.writeHead(200, { 'content-type': 'application/json', 'mcp-session-id': 'one', connection: 'close' });
    response.end(JSON.stringify({ jsonrpc: '2.0', id, result }));
  });
  server.requestTimeout = 0;
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/mcp`,
    streams: () => streams,
    opened: () => opened,
    stop: async () => {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
