// @ts-check
// One chat completion over this origin's OpenAI-compatible endpoint. Nothing is kept: the caller holds the words.
import { EventParser } from './events.js';

/** A refusal or failure in words for people. */
export class AnswerError extends Error {}

/**
 * Ask, and hand over every piece of the answer as it comes.
 * @param {{model: string, messages: {role: string, content: string}[], signal: AbortSignal,
 *   onStart: (node: string) => void, onPiece: (piece: {text: string, thought: string}) => void}} request
 * @returns {Promise<string>} Why it ended: `stop`, `length`, another reason of the engine's, or '' if it broke off.
 */
export async function answer({ model, messages, signal, onStart, onPiece }) {
  const response = await fetch('/v1/chat/completions', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', Accept: 'text/event-stream' },
    body: JSON.stringify({ model, messages, stream: true }),
    cache: 'no-store',
    signal,
  });
  if (!response.ok) throw new AnswerError(await refusal(response));
  onStart(decoded(response.headers.get('X-Propagul-Node') ?? ''));
  if (!response.headers.get('Content-Type')?.startsWith('text/event-stream')) return whole(await response.json(), onPiece);
  return streamed(/** @type {ReadableStream} */ (response.body), onPiece);
}

/** A header carries a name percent-encoded; what is not is taken as it is. */
function decoded(/** @type {string} */ name) {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}

async function streamed(body, onPiece) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  const parser = new EventParser();
  let reason = '';
  try {
    for (let ended = false; !ended;) {
      const { value, done } = await reader.read();
      const text = decoder.decode(value, { stream: !done });
      for (const data of [...parser.push(text), ...(done ? parser.end() : [])]) {
        if (data.trim() === '[DONE]') return reason || 'stop';
        reason = chunk(data, onPiece) || reason;
      }
      ended = done;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
  return reason;
}

/** One chunk of a streamed answer; returns its finish reason, if it has one. */
function chunk(data, onPiece) {
  const { error, choices } = parsed(data);
  if (error) throw new AnswerError(said(error));
  const choice = choices?.[0];
  const delta = choice?.delta ?? {};
  const piece = { text: delta.content ?? '', thought: delta.reasoning_content ?? delta.reasoning ?? '' };
  if (piece.text || piece.thought) onPiece(piece);
  return choice?.finish_reason ?? '';
}

function parsed(data) {
  try {
    return JSON.parse(data) ?? {};
  } catch {
    throw new AnswerError('the engine sent something that is not JSON');
  }
}

/** An engine that does not stream answers in one piece. */
function whole(body, onPiece) {
  const choice = body.choices?.[0];
  onPiece({ text: choice?.message?.content ?? '', thought: choice?.message?.reasoning_content ?? '' });
  return choice?.finish_reason ?? 'stop';
}

/** What a refusal says: the message of an OpenAI-shaped body, else the status alone. */
async function refusal(response) {
  const body = await response.json().catch(() => null);
  const words = body?.error ? said(body.error) : response.statusText || 'no reason given';
  return `${response.status}: ${words}`;
}

const said = (error) => String(typeof error === 'string' ? error : error.message ?? 'no reason given');
