import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * What the model does next: calls a tool, or says something; with `waitFor` it thinks or talks until that name is released.
 * `refuse`: the API answers with this HTTP status and asks to come back after `retryAfterSeconds`, whenever it is asked.
 */
export type Step =
  | { readonly tool: string; readonly input: Readonly<Record<string, unknown>>; readonly waitFor?: string }
  | { readonly text: string; readonly waitFor?: string }
  | { readonly refuse: number; readonly retryAfterSeconds: number };

type Answer = Exclude<Step, { refuse: number }>;

export type ModelApi = {
  readonly url: string;
  readonly release: (name: string) => void;
  /** How many requests were refused. */
  readonly refusals: () => number;
  /** Closes connections that wait for their next request, as a server does whose patience is over. */
  readonly closeIdle: () => void;
  readonly stop: () => Promise<void>;
};

const MARK = 'script:';

/** A user's text that tells the model what to do, message by message; after the last step it says "done". */
export function script(...steps: readonly Step[]): string {
  return `${MARK}${JSON.stringify(steps)}`;
}

type Block = { readonly type: string; readonly text?: string };
type Message = { readonly role: string; readonly content: string | readonly Block[] };
type MessagesRequest = { readonly model: string; readonly stream?: boolean; readonly messages: readonly Message[] };

/** Claude's API as far as the Agent SDK needs it, on 127.0.0.1, with a model that does what the user's text says. */
export async function startModelApi(): Promise<ModelApi> {
  const released = new Set<string>();
  let refusals = 0;
  const server = createServer(async (request, response) => {
    const body = await read(request);
    const path = request.url?.split('?')[0];
    if (request.method !== 'POST' || path !== '/v1/messages') {
      // count_tokens, and what a client looks at before it begins.
      response.writeHead(path?.startsWith('/v1/messages') ? 200 : 404, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ input_tokens: 10 }));
      return;
    }
    const { model, stream, messages } = JSON.parse(body) as MessagesRequest;
    const step = nextStep(messages);
    if ('refuse' in step) {
      refusals += 1;
      const headers = { 'content-type': 'application/json', 'retry-after': String(step.retryAfterSeconds) };
      const error = { type: step.refuse === 429 ? 'rate_limit_error' : 'overloaded_error', message: 'Come back later' };
      response.writeHead(step.refuse, headers).end(JSON.stringify({ type: 'error', error }));
      return;
    }
    if (stream) await streamAnswer(response, model, step, released);
    else response.end(JSON.stringify(wholeAnswer(model, step)));
  });
  // The real API does not hang up on an idle client after five seconds either.
  server.keepAliveTimeout = 0;
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    release: (name) => void released.add(name),
    refusals: () => refusals,
    closeIdle: () => server.closeIdleConnections(),
    stop: async () => {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

async function read(request: IncomingMessage): Promise<string> {
  let body = '';
  for await (const chunk of request.setEncoding('utf8')) body += chunk;
  return body;
}

/** The script counts from the last message that has one, among all after it: 0.3.x adds messages of its own. */
function nextStep(messages: readonly Message[]): Step {
  let steps: readonly Step[] = [];
  let from = 0;
  messages.forEach((message, index) => {
    const found =
      message.role === 'user'
        ? texts(message)
            .map(parseScript)
            .find((one) => one !== null)
        : undefined;
    if (!found) return;
    steps = found;
    from = index;
  });
  const said = messages.slice(from).filter(({ role }) => role === 'assistant').length;
  return steps[said] ?? { text: 'done' };
}

function texts({ content }: Message): readonly string[] {
  return typeof content === 'string' ? [content] : content.flatMap(({ text }) => text ?? []);
}

/** The outermost script only: one for a subagent stands inside its parent's. */
function parseScript(text: string): readonly Step[] | null {
  const at = text.indexOf(MARK);
  if (at < 0) return null;
  const line = text.slice(at + MARK.length).split('\n')[0] ?? '';
  try {
    return JSON.parse(line) as readonly Step[];
  } catch {
    return null;
  }
}

const usage = { input_tokens: 10, output_tokens: 5, cache_creation_input_tokens: 0, cache_read_input_tokens: 0 };

function wholeAnswer(model: string, step: Answer): object {
  const block = 'tool' in step ? toolUse(step) : { type: 'text', text: step.text };
  const stop_reason = 'tool' in step ? 'tool_use' : 'end_turn';
  return { id: messageId(), type: 'message', role: 'assistant', model, content: [block], stop_reason, usage };
}

async function streamAnswer(
  response: ServerResponse,
  model: string,
  step: Answer,
  released: Set<string>,
): Promise<void> {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  const send = (type: string, data: object): void => {
    response.write(`event: ${type}\ndata: ${JSON.stringify({ type, ...data })}\n\n`);
  };
  const message = { id: messageId(), type: 'message', role: 'assistant', model, content: [], stop_reason: null, usage };
  send('message_start', { message });
  const isHeldBack = (): boolean => step.waitFor !== undefined && !released.has(step.waitFor) && !response.destroyed;
  if ('tool' in step) {
    while (isHeldBack()) {
      send('ping', {});
      await sleep(200);
    }
    const json = JSON.stringify(step.input);
    send('content_block_start', { index: 0, content_block: { ...toolUse(step), input: {} } });
    send('content_block_delta', { index: 0, delta: { type: 'input_json_delta', partial_json: json } });
  } else {
    const say = (text: string): void => send('content_block_delta', { index: 0, delta: { type: 'text_delta', text } });
    send('content_block_start', { index: 0, content_block: { type: 'text', text: '' } });
    while (isHeldBack()) {
      say('word ');
      await sleep(200);
    }
    say(step.text);
  }
  send('content_block_stop', { index: 0 });
  const stop_reason = 'tool' in step ? 'tool_use' : 'end_turn';
  send('message_delta', { delta: { stop_reason, stop_sequence: null }, usage: { output_tokens: 5 } });
  send('message_stop', {});
  response.end();
}

function toolUse(step: Extract<Answer, { tool: string }>): object {
  return { type: 'tool_use', id: `toolu_${randomUUID().replaceAll('-', '')}`, name: step.tool, input: step.input };
}

function messageId(): string {
  return `msg_${randomUUID().replaceAll('-', '')}`;
}

/** What a real `claude` has to have in its environment to talk to this API and to nothing else. */
export const environmentFor = ({ url }: Pick<ModelApi, 'url'>): Record<string, string> => ({
  ANTHROPIC_BASE_URL: url,
  ANTHROPIC_API_KEY: 'anything',
  // Lets root bypass permissions.
  IS_SANDBOX: '1',
  DISABLE_TELEMETRY: '1',
  CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1',
});
