import { appendFileSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** The folder of a project's journals: newer installs encode every non-alphanumeric, older ones only `/` and `.`. */
function journalFolder(clayHome, cwd, encoding) {
  const encoded = cwd.replace(encoding === 'old' ? /[/.]/g : /[^a-zA-Z0-9]/g, '-');
  return join(clayHome, 'sessions', encoded);
}

/**
 * One conversation as Clay keeps it: its history, its journal and what get_status says about it.
 * The journal comes into being when the Agent SDK has reported the session id; until then the history is in memory only.
 */
export class Conversation {
  constructor({ localId, project, title, settings, sessionId }) {
    this.localId = localId;
    this.project = project;
    this.title = title;
    this.settings = settings;
    this.sessionId = sessionId ?? null;
    this.createdAt = Date.now();
    this.history = [];
    this.journalStarted = false;
    this.journalIsReadOnly = false;
    this.processing = false;
    this.permissions = new Map();
    this.questions = new Map();
    this.turns = 0;
    this.tools = null;
    this.toolResults = [];
    this.pids = [];
  }

  get journal() {
    if (this.sessionId === null) return null;
    const folder = journalFolder(this.settings.clayHome, this.project.path, this.settings.journalEncoding);
    return join(folder, `${this.sessionId}.jsonl`);
  }

  /** Takes the id that the SDK reported, and starts the journal with all that happened before. */
  identify(sessionId, at) {
    this.sessionId = sessionId;
    if (this.journalStarted) return;
    this.rewrite();
    this.record({ type: 'session_id', cliSessionId: sessionId }, at);
  }

  /** `at`: the time stamp of newer releases, where it is not now. */
  record(event, at = Date.now()) {
    const record = this.settings.timestamps ? { ...event, _ts: at } : event;
    this.history.push(record);
    this.follow(event);
    if (this.journalStarted && !this.journalIsReadOnly) appendFileSync(this.journal, `${JSON.stringify(record)}\n`);
  }

  /** Only a user's message opens a turn here: one that claude starts itself (an alarm) leaves `isProcessing` false. */
  follow(event) {
    if (event.type === 'user_message') {
      this.processing = true;
    } else if (event.type === 'permission_request') {
      if (!this.permissions.has(event.requestId)) this.permissions.set(event.requestId, event);
    } else if (event.type === 'permission_resolved' || event.type === 'permission_cancel') {
      this.permissions.delete(event.requestId);
    } else if (event.type === 'ask_user_answered') {
      this.questions.delete(event.toolId);
    } else if (event.type === 'result') {
      this.permissions.clear();
      this.questions.clear();
    } else if (event.type === 'done') {
      this.processing = false;
      this.permissions.clear();
      this.turns += 1;
    }
  }

  rewrite() {
    const meta = {
      type: 'meta',
      localId: this.localId,
      cliSessionId: this.sessionId,
      title: this.title,
      createdAt: this.createdAt,
      sessionVisibility: 'shared',
    };
    const temporary = `${this.journal}.tmp.${process.pid}`;
    mkdirSync(dirname(this.journal), { recursive: true, mode: 0o700 });
    writeFileSync(temporary, [meta, ...this.history].map((record) => `${JSON.stringify(record)}\n`).join(''));
    renameSync(temporary, this.journal);
    this.journalStarted = true;
  }

  /** What Clay does when the user deletes a conversation: the journal goes, the process is not told. */
  deleteJournal() {
    if (this.journal !== null) rmSync(this.journal, { force: true });
    this.journalStarted = false;
    this.processing = false;
    this.permissions.clear();
  }

  describe() {
    return {
      localId: this.localId,
      project: this.project.slug,
      sessionId: this.sessionId,
      journal: this.journalStarted ? this.journal : null,
      running: this.running ?? false,
      processing: this.processing,
      turns: this.turns,
      tools: this.tools,
      toolResults: this.toolResults,
      permissions: [...this.permissions.values()].map(({ requestId, toolName }) => ({ requestId, toolName })),
      questions: [...this.questions.keys()],
      text: this.history.map((record) => (record.type === 'delta' ? record.text : '')).join(''),
      pids: this.pids,
    };
  }
}

/** The records of a whole turn, the way it stands at a moment that matters here. */
export function turnRecords(state, text = 'hello') {
  const opened = [
    { type: 'user_message', text },
    { type: 'fast_mode_state', state: 'off' },
  ];
  const toolId = 'toolu_01';
  const tool = (name, input) => [
    { type: 'tool_start', id: toolId, name },
    { type: 'tool_executing', id: toolId, name, input },
  ];
  const closed = [
    { type: 'delta', text: 'done' },
    { type: 'result', cost: 0.0001, duration: 159, usage: null },
    { type: 'fast_mode_state', state: 'off' },
    { type: 'done', code: 0 },
  ];
  const command = { command: 'touch /srv/never', description: 'x' };
  switch (state) {
    case 'none':
      return [];
    case 'open':
      return opened;
    case 'tool':
      return [...opened, ...tool('Bash', command)];
    case 'permission':
      return [
        ...opened,
        ...tool('Bash', command),
        {
          type: 'permission_request',
          requestId: '48469fe1-fde7-4f04-aa76-771ca4c8c6b1',
          toolName: 'Bash',
          toolInput: command,
          toolUseId: toolId,
          decisionReason: '',
        },
      ];
    case 'question':
      return [...opened, ...tool('AskUserQuestion', { questions: [{ question: 'Which one?' }] })];
    case 'ended':
      return [...opened, ...closed];
    case 'suggested':
      return [...opened, ...closed, { type: 'prompt_suggestion', suggestion: 'go on' }];
    case 'woken':
      return [...opened, ...closed, { type: 'fast_mode_state', state: 'off' }, { type: 'delta', text: 'I woke up' }];
    default:
      throw new Error(`no such turn: ${state}`);
  }
}
