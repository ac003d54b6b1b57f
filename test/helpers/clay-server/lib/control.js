import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdirSync, rmSync, utimesSync } from 'node:fs';
import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import { turnRecords } from './conversation.js';
import { onJsonLines, writeJsonLine } from './lines.js';

/**
 * The socket that a test drives the stand-in by: one request {op, …} a line, one answer {ok, result | error} a line,
 * in the order of the requests.
 */
export function listenForControl(path, daemon) {
  const operations = createOperations(daemon);
  let earlier = Promise.resolve();
  const server = createServer((socket) => {
    socket.on('error', () => {});
    onJsonLines(socket, ({ op, ...parameters }) => {
      earlier = earlier.then(async () => {
        try {
          if (!Object.hasOwn(operations, op)) throw new Error(`no such operation: ${op}`);
          writeJsonLine(socket, { ok: true, result: (await operations[op](parameters)) ?? null });
        } catch (error) {
          writeJsonLine(socket, { ok: false, error: error.message });
        }
      });
    });
  });
  rmSync(path, { force: true });
  return new Promise((resolve) => server.listen(path, resolve));
}

function createOperations({ state, hosts, statusSocket, saveConfig, newConversation, stop }) {
  const { projects, conversations } = state;

  const project = (slug) => {
    const found = projects.get(slug);
    if (!found) throw new Error(`no such project: ${slug}`);
    return found;
  };
  const conversation = ({ localId, sessionId }) => {
    const found = localId === undefined ? bySessionId(sessionId) : conversations.get(localId);
    if (!found) throw new Error(`no such conversation: ${localId ?? sessionId}`);
    return found;
  };
  const bySessionId = (sessionId) => [...conversations.values()].find((known) => known.sessionId === sessionId);
  const hostFor = async (worker) => {
    if (!worker) return { call: hosts.own };
    return hosts.startWorker(worker);
  };

  /** One query for a conversation, new or taken up again. */
  const startQuery = async (chat, { sdk, text, options, env, worker }) => {
    const host = await hostFor(worker);
    const key = randomUUID();
    Object.assign(chat, { host, key, running: true });
    state.queries.set(key, chat);
    chat.sdk = { sdk, options, env, worker };
    chat.record({ type: 'user_message', text });
    const resume = chat.sessionId === null ? {} : { resume: chat.sessionId };
    const parameters = { key, cwd: chat.project.path, sdk, text, env, options: { ...options, ...resume } };
    const { pid } = await host.call('startQuery', parameters);
    chat.pids.push(pid);
    return { ...chat.describe(), pid };
  };

  return {
    addProject: ({ slug, path, title = null }) => {
      mkdirSync(path, { recursive: true });
      projects.set(slug, { slug, path, title, override: {} });
      saveConfig(process.pid);
    },
    /** A flag of null goes back to what the conversations say. */
    setProject: ({ slug, ...flags }) => {
      Object.assign(project(slug).override, flags);
    },
    removeProject: ({ slug }) => {
      projects.delete(slug);
      saveConfig(process.pid);
    },

    /** Starts a fake claude with a conversation (a new one unless `localId`), its journal and its transcript. */
    spawnClaude: async ({ project: slug, title = 'hello', localId, worker, journal = 'ended', ...rest }) => {
      const { idleSeconds, sessionId, cwd, ...spec } = rest;
      const chat = localId ? conversation({ localId }) : newConversation({ project: project(slug), title });
      const id = sessionId ?? chat.sessionId ?? randomUUID();
      const host = await hostFor(worker);
      const claude = await host.call('spawnFakeClaude', {
        shape: 'node',
        sdk: spec.shape === 'native' ? '0.3.330' : '0.2.92',
        transcript: true,
        start: {},
        ...spec,
        cwd: cwd ?? chat.project.path,
        sessionId: id,
        idleSeconds,
      });
      claudeHosts.set(claude.pid, host);
      chat.pids.push(claude.pid);
      const records = typeof journal === 'string' ? turnRecords(journal) : journal;
      const at = Date.now() - (idleSeconds ?? 0) * 1000;
      if (records === null) {
        chat.sessionId = null;
        conversations.delete(chat.localId);
      } else {
        const [first, ...others] = records;
        if (first) chat.record(first, at);
        chat.identify(id, at);
        for (const record of others) chat.record(record, at);
        if (idleSeconds !== undefined) utimesSync(chat.journal, at / 1000, at / 1000);
      }
      return { ...chat.describe(), ...claude, sessionId: id, workerPid: host.pid ?? null };
    },
    command: ({ pid, command }) => claudeHosts.get(pid)?.call('commandClaude', { pid, command }),

    /** Opens a terminal with a command of the shell in it; gives the pid of the shell. */
    openTerminal: async ({ project: slug, command, env }) => {
      // Clay hands its own environment on without what is about Clay and Claude.
      const own = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(CLAY|CLAUDE)_/.test(name)));
      const script = fileURLToPath(new URL('pty-shell.pl', import.meta.url));
      const shell = spawn('perl', [script, '/bin/bash', '-c', `${command}; exit`], {
        cwd: project(slug).path,
        env: { ...own, ...env, TERM: 'xterm-256color' },
        detached: true,
        stdio: 'ignore',
      });
      await new Promise((resolve, reject) => shell.once('spawn', resolve).once('error', reject));
      return { pid: shell.pid };
    },

    /** Starts a conversation with a real query(). */
    startConversation: ({ project: slug, title, ...query }) =>
      startQuery(newConversation({ project: project(slug), title: title ?? query.text }), query),
    /** The next message: to the running query, or, where that has ended, to a new one that resumes. */
    send: async ({ text, ...which }) => {
      const chat = conversation(which);
      if (!chat.running) return startQuery(chat, { ...chat.sdk, text });
      chat.record({ type: 'user_message', text });
      await chat.host.call('send', { key: chat.key, text });
      return chat.describe();
    },
    /** A second process for a conversation, as when Clay lost the first one from sight. */
    resume: ({ text, ...which }) => {
      const chat = conversation(which);
      return startQuery(chat, { ...chat.sdk, text });
    },
    /** Answers the oldest open permission prompt ("allow", "deny"), or question (its answers by question). */
    answer: async ({ decision, ...which }) => {
      const chat = conversation(which);
      const [requestId] = chat.permissions.keys();
      const [toolId] = chat.questions.keys();
      const id = requestId ?? chat.questions.get(toolId);
      if (id === undefined) throw new Error('nothing to answer');
      if (requestId) chat.record({ type: 'permission_resolved', requestId, decision });
      else chat.record({ type: 'ask_user_answered', toolId });
      await chat.host.call('answer', { key: chat.key, id, decision });
    },
    interrupt: async (which) => {
      const chat = conversation(which);
      await chat.host.call('interrupt', { key: chat.key });
    },
    /** Clay logs that it cannot write a journal, and goes on. */
    makeJournalReadOnly: (which) => {
      conversation(which).journalIsReadOnly = true;
    },

    conversation: (which) => conversation(which).describe(),
    conversations: () => [...conversations.values()].map((chat) => chat.describe()),
    record: ({ records, idleSeconds, ...which }) => {
      const chat = conversation(which);
      const at = Date.now() - (idleSeconds ?? 0) * 1000;
      for (const record of typeof records === 'string' ? turnRecords(records) : records) chat.record(record, at);
      if (idleSeconds !== undefined) utimesSync(chat.journal, at / 1000, at / 1000);
      return chat.describe();
    },
    rewrite: (which) => conversation(which).rewrite(),
    deleteConversation: (which) => {
      const chat = conversation(which);
      chat.deleteJournal();
      conversations.delete(chat.localId);
      state.queries.delete(chat.key);
    },

    /** How get_status is answered from now on (see status-socket.js); `closed` and `stale` close the socket. */
    status: async (behaviour) => {
      state.statusBehaviour = behaviour;
      if (behaviour.mode === 'closed' || behaviour.mode === 'stale') {
        await statusSocket.close({ stale: behaviour.mode === 'stale' });
      } else {
        await statusSocket.listen();
      }
    },
    statusRequests: () => statusSocket.requests(),
    /** No cleanup: daemon.json and daemon.sock stay behind. */
    crash: () => process.kill(process.pid, 'SIGKILL'),
    stop: () => void setImmediate(stop),
  };
}

const claudeHosts = new Map();
