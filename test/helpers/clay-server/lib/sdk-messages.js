import { randomUUID } from 'node:crypto';

/** Turns what the Agent SDK reports into Clay's journal records, in Clay's order. */
export function recordMessage(conversation, { key, message, ask, elicitation, cancelled, ended, error }) {
  if (message) recordSdkMessage(conversation, message);
  else if (elicitation) recordElicitation(conversation, elicitation);
  else if (ask) recordAsk(conversation, ask);
  else if (cancelled) recordCancelled(conversation, cancelled);
  else if (error && key === conversation.key && conversation.processing) {
    conversation.record({ type: 'error', text: `Claude process error: ${error}` });
    conversation.record({ type: 'done', code: 1 });
  }
  // A process that ends while its conversation is at rest leaves no trace: Clay notices nothing.
  if (ended && key === conversation.key) conversation.running = false;
}

/** A question to the user is no permission: it is in no count and has no record of its own. */
function recordAsk(conversation, { id, toolName, toolInput, toolUseId }) {
  if (toolName === 'AskUserQuestion') {
    conversation.questions.set(toolUseId, id);
    return;
  }
  conversation.record({
    type: 'permission_request',
    requestId: id,
    toolName,
    toolInput,
    toolUseId,
    decisionReason: '',
  });
}

/** What an MCP server asks the user is in no count either. */
function recordElicitation(conversation, { serverName, message }) {
  conversation.record({ type: 'elicitation_request', requestId: randomUUID(), serverName, message, mode: 'form' });
}

function recordCancelled(conversation, { id, toolName, toolUseId }) {
  if (toolName === 'AskUserQuestion') conversation.record({ type: 'ask_user_answered', toolId: toolUseId });
  else conversation.record({ type: 'permission_cancel', requestId: id });
}

function recordSdkMessage(conversation, message) {
  if (message.session_id && message.session_id !== conversation.sessionId) conversation.identify(message.session_id);
  else if (!conversation.journalStarted && conversation.sessionId) conversation.identify(conversation.sessionId);
  if (message.uuid && (message.type === 'assistant' || (message.type === 'user' && !message.parent_tool_use_id))) {
    conversation.record({ type: 'message_uuid', uuid: message.uuid, messageType: message.type });
  }
  const record = (event) => conversation.record(event);
  if (message.type === 'system' && message.subtype === 'init') {
    conversation.tools = message.tools ?? null;
    record({ type: 'fast_mode_state', state: message.fast_mode_state ?? 'off' });
  } else if (message.type === 'stream_event') {
    recordStreamEvent(conversation, message.event);
  } else if (message.type === 'user' && Array.isArray(message.message.content)) {
    for (const block of message.message.content) {
      if (block.type !== 'tool_result') continue;
      const content = typeof block.content === 'string' ? block.content : '';
      conversation.toolResults.push(content);
      record({ type: 'tool_result', id: block.tool_use_id, content, is_error: block.is_error ?? false });
    }
  } else if (message.type === 'result') {
    for (const toolId of conversation.questions.keys()) record({ type: 'ask_user_answered', toolId });
    record({
      type: 'result',
      cost: message.total_cost_usd,
      duration: message.duration_ms,
      usage: message.usage ?? null,
    });
    record({ type: 'fast_mode_state', state: message.fast_mode_state ?? 'off' });
    record({ type: 'done', code: 0 });
  } else if (message.type === 'prompt_suggestion') {
    record({ type: 'prompt_suggestion', suggestion: message.suggestion ?? '' });
  } else if (message.type === 'system' && message.subtype === 'task_started') {
    record({ type: 'task_started', parentToolId: message.tool_use_id, taskId: message.task_id, description: '' });
  } else if (message.type === 'system' && message.subtype === 'task_notification') {
    record({ type: 'subagent_done', parentToolId: message.tool_use_id, status: message.status ?? 'completed' });
  }
}

function recordStreamEvent(conversation, event) {
  conversation.blocks ??= new Map();
  const { blocks } = conversation;
  const block = blocks.get(event.index);
  if (event.type === 'content_block_start') {
    const { type, id, name } = event.content_block;
    blocks.set(event.index, { type, id, name, json: '' });
    if (type === 'tool_use') conversation.record({ type: 'tool_start', id, name });
    if (type === 'thinking') conversation.record({ type: 'thinking_start' });
  } else if (event.type === 'content_block_delta') {
    const { type, text, thinking, partial_json: json } = event.delta;
    if (type === 'text_delta') conversation.record({ type: 'delta', text });
    if (type === 'thinking_delta') conversation.record({ type: 'thinking_delta', text: thinking });
    if (type === 'input_json_delta' && block) block.json += json;
  } else if (event.type === 'content_block_stop' && block) {
    const { id, name, json } = block;
    if (block.type === 'tool_use') {
      conversation.record({ type: 'tool_executing', id, name, input: JSON.parse(json || '{}') });
    } else if (block.type === 'thinking') {
      conversation.record({ type: 'thinking_stop', duration: 0 });
    }
    blocks.delete(event.index);
  }
}
