import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

export type TelemetrySink = {
  /** Makes `claude` send its metrics here every second. */
  readonly env: Readonly<Record<string, string>>;
  /** How many connections it got. */
  readonly connections: () => number;
  readonly stop: () => Promise<void>;
};

/** An OpenTelemetry collector over HTTP that takes everything, each export on a connection of its own. */
export async function startTelemetrySink(): Promise<TelemetrySink> {
  let connections = 0;
  const server = createServer((request, response) => {
    request.resume();
    response.writeHead(200, { 'content-type': 'application/json', connection: 'close' }).end('{}');
  });
  server.on('connection', () => {
    connections += 1;
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    env: {
      CLAUDE_CODE_ENABLE_TELEMETRY: '1',
      OTEL_METRICS_EXPORTER: 'otlp',
      OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`,
      OTEL_METRIC_EXPORT_INTERVAL: '1000',
      // As deltas, which is what it sends by default, an idle process has nothing to send.
      OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE: 'cumulative',
    },
    connections: () => connections,
    stop: async () => {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
