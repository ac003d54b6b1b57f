import type { ClaudeEnvironment } from '../claude/process.ts';
import { sessionFilePath } from '../claude/session-file.ts';
import { subagentsFolder } from '../claude/transcript.ts';
import { mayExist } from '../fs/untrusted-file.ts';
import type { UserBudgets } from '../fs/user-budget.ts';
import { type Conversation, type ConversationFiles, type ConversationOwner, clayOf } from './conversation.ts';

// Most conversations are at rest: what was made of their files in one sweep is what would be made of them in the next. To find each
// file, ask its reader and put together what they say takes an eighth of a sweep (measured).

/** What was made of the files of a conversation, and of which. */
export type KeptConversation = {
  readonly conversation: Conversation;
  /** The environment that it was found by: the cache makes a new one for another program. */
  readonly environment: ClaudeEnvironment;
  readonly home: string;
  readonly sessionFile: string;
  readonly transcript: string;
  readonly subagents: string;
  readonly journal: string;
  readonly items: number;
};

/** What is kept of a conversation that was read without an issue; null if it depends on more than what {@link isStillValid} compares. */
export function keepConversation(
  conversation: Conversation,
  files: ConversationFiles,
  { environment, process, clay }: ConversationOwner,
): KeptConversation | null {
  const { session, transcript, journal } = conversation;
  const transcriptPath = files.transcriptPath();
  const items = transcript?.itemsOfOneFile ?? null;
  if (!session?.namesStartTicks || items === null || transcriptPath === null) return null;
  if (journal?.evidence.state !== 'found' || journal.evidence.turn === 'unclear') return null;
  return {
    conversation,
    environment,
    home: clayOf(clay).home,
    sessionFile: sessionFilePath(environment.configDir ?? '', process.pid),
    transcript: transcriptPath,
    subagents: subagentsFolder(transcriptPath),
    journal: journal.evidence.path,
    items,
  };
}

/** Whether the same files would be found again, and say the same. */
export function isStillValid(
  kept: KeptConversation,
  files: ConversationFiles,
  { environment, process, clay }: ConversationOwner,
  budgets: UserBudgets,
): boolean {
  const { home, uid } = clayOf(clay);
  const budget = budgets.of(process.uid);
  return (
    kept.environment === environment &&
    kept.home === home &&
    files.sessionFile.isUnchanged(kept.sessionFile, budget) &&
    files.transcripts.isUnchanged(kept.transcript, budget) &&
    !mayExist(kept.subagents, budget) &&
    files.journal.isUnchanged(kept.journal, budgets.of(uid)) &&
    budget.reserve(kept.items)
  );
}
