// A stand-in for the Clay daemon: its process, its files, its socket and the processes that it starts, without a web UI.
// A test drives it through a second socket (see control.js).
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { listenForControl } from './control.js';
import { Conversation } from './conversation.js';
import { createHosts } from './hosts.js';
import { recordMessage } from './sdk-messages.js';
import { listenForStatus } from './status-socket.js';

const clayHome =
  process.env.CLAY_HOME ?? (process.env.CLAY_CONFIG ? dirname(process.env.CLAY_CONFIG) : join(homedir(), '.clay'));
const { dev = false, tethered = false, ...options } = JSON.parse(process.env.STAND_IN_OPTIONS ?? '{}');
const settings = { clayHome, timestamps: false, journalEncoding: 'new', osUsers: false, ...options };
const controlPath = process.env.STAND_IN_CONTROL ?? join(clayHome, 'control.sock');
const configPath = join(clayHome, dev ? 'daemon-dev.json' : 'daemon.json');
const socketPath = join(clayHome, dev ? 'daemon-dev.sock' : 'daemon.sock');

// The SDK's remarks on how Clay uses it are not what a test has to say.
process.removeAllListeners('warning');
mkdirSync(clayHome, { recursive: true, mode: 0o700 });
// What Clay leaves to its children, and what is only between a test and this process.
process.env.CLAY_HOME = clayHome;
process.env.CLAY_CONFIG = configPath;
delete process.env.STAND_IN_OPTIONS;
delete process.env.STAND_IN_CONTROL;

const state = {
  settings,
  projects: new Map(),
  conversations: new Map(),
  queries: new Map(),
  statusBehaviour: { mode: 'ok' },
};
const hosts = createHosts(settings, (event) => {
  const conversation = state.queries.get(event.key);
  if (conversation) recordMessage(conversation, event);
});
const statusSocket = listenForStatus(socketPath, getStatus, () => state.statusBehaviour);

function saveConfig(pid) {
  const projects = [...state.projects.values()].map(({ slug, path }) => ({ path, slug, addedAt: startedAt }));
  const config = {
    pid,
    port: 2633,
    pinHash: null,
    tls: false,
    debug: false,
    keepAwake: false,
    dangerouslySkipPermissions: false,
    osUsers: settings.osUsers,
    projects,
  };
  writeFileSync(configPath, JSON.stringify(config, null, 2), { mode: 0o600 });
}

/** The answer to get_status, field by field as Clay 2.17 gives it. */
function getStatus() {
  return {
    ok: true,
    pid: process.pid,
    port: 2633,
    tls: false,
    keepAwake: false,
    osUsers: settings.osUsers,
    projects: [...state.projects.values()].map(projectStatus),
    uptime: process.uptime(),
  };
}

function projectStatus({ slug, path, title, override }) {
  const conversations = [...state.conversations.values()].filter(({ project }) => project.slug === slug);
  return {
    slug,
    path,
    project: slug,
    title,
    icon: null,
    clients: 1,
    sessions: conversations.length,
    isProcessing: override.isProcessing ?? conversations.some(({ processing }) => processing),
    pendingPermissions:
      override.pendingPermissions ?? conversations.reduce((sum, { permissions }) => sum + permissions.size, 0),
    projectOwnerId: null,
  };
}

let localIds = 0;
function newConversation({ project, title, sessionId }) {
  localIds += 1;
  const conversation = new Conversation({ localId: localIds, project, title, settings, sessionId });
  state.conversations.set(localIds, conversation);
  return conversation;
}

async function stop() {
  await statusSocket.close();
  saveConfig(null);
  rmSync(controlPath, { force: true });
  process.exit(0);
}

const startedAt = Date.now();
saveConfig(process.pid);
await statusSocket.listen();
process.on('SIGTERM', stop);
// Nobody is left to stop it when the test that started it is gone.
if (tethered) process.stdin.once('close', stop).resume();
await listenForControl(controlPath, { state, hosts, statusSocket, saveConfig, newConversation, stop });
