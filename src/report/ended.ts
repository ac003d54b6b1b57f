import { bytesOf, type HistoryRecord } from '../history/store.ts';
import { formatDuration } from '../judge/duration.ts';
import { formatBytes, type TerminalStyle } from './format.ts';
import { sanitize } from './sanitize.ts';
import { type Item, section, wrapped } from './sections.ts';

/** `explain` of a process that clay-reaper has ended: when, whose it was, and why nothing protected it. */
export function endedText(record: HistoryRecord, style: TerminalStyle): string {
  const wait = record.graceSeconds === null ? '' : `, its wait was ${formatDuration(record.graceSeconds * 1000)}`;
  const headline = `clay-reaper ended claude ${record.pid} at ${record.at} with ${record.signal}: an idle orphan (${record.orphan}), idle for ${formatDuration(record.idleSeconds * 1000)}${wait}.`;
  const facts: Item[] = [
    { term: 'user', text: record.user ?? `uid ${record.uid}` },
    { term: 'project', text: record.project ?? 'not known' },
    { term: 'folder', text: record.cwd ?? 'not known' },
    { term: 'conversation', text: record.title ?? 'not known' },
    { term: 'session', text: record.sessionId ?? 'not known' },
    { term: 'memory', text: `${formatBytes(bytesOf(record))} came back` },
  ];
  const evidence = (record.evidence ?? []).map(({ code, whyNot }): Item => ({ term: code, text: whyNot }));
  return [
    wrapped(sanitize(headline), style),
    section('Process', facts.map(sanitized), style),
    ...(evidence.length > 0 ? [section('Why nothing protected it', evidence.map(sanitized), style)] : []),
    'The conversation is not lost: its next message in Clay starts a new process, which resumes it.',
  ].join('\n\n');
}

const sanitized = ({ term, text }: Item): Item => ({ term: sanitize(term), text: sanitize(text) });
