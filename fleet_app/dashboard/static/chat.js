// @ts-check
// A small chat to try a model. The conversation lives in this page alone and goes with it.
import { html } from './html.js';
import { batch, signal } from '@preact/signals';
import { useLayoutEffect, useRef } from 'preact/hooks';
import { announce } from './announce.js';
import { AnswerError, answer } from './answer.js';
import { models } from './fleet.js';
import { Shape } from './shapes.js';
import { plain } from './words.js';

/** The model picked by hand; '' follows the first one that can serve. */
export const chosen = signal('');
/** One question and its answer; every field that changes while it streams is a signal. */
const turns = signal(/** @type {ReturnType<typeof newTurn>[]} */ ([]));
const running = signal(/** @type {AbortController|null} */ (null));

const ENDINGS = { length: 'cut at the length limit', content_filter: 'ended by a filter', tool_calls: 'asked for a tool', '': 'the answer broke off' };

const newTurn = (/** @type {string} */ question, /** @type {string} */ model) => ({
  question, model, text: signal(''), thought: signal(''), node: signal(''), ending: signal(''), error: signal(''), done: signal(false),
});

/** Pick a model and put the cursor where the question goes. */
export function choose(/** @type {string} */ name) {
  chosen.value = name;
  document.getElementById('question')?.focus();
}

const current = () => chosen.value || Object.keys(models.value)[0] || '';
const able = () => current() in models.value;

/** What was said so far, as the endpoint wants it; turns without an answer are left out. */
const conversation = (/** @type {string} */ question) => [
  ...turns.value.filter((turn) => turn.text.value).flatMap((turn) => [
    { role: 'user', content: turn.question }, { role: 'assistant', content: turn.text.value }]),
  { role: 'user', content: question },
];

async function ask(/** @type {string} */ question) {
  const messages = conversation(question);
  const turn = newTurn(question, current());
  const abort = new AbortController();
  const began = performance.now();
  let first = 0;
  batch(() => { turns.value = [...turns.value, turn]; running.value = abort; });
  try {
    const reason = await answer({
      model: turn.model, messages, signal: abort.signal,
      onStart: (node) => { turn.node.value = node; },
      onPiece: ({ text, thought }) => batch(() => {
        first ||= performance.now();
        turn.text.value += text;
        turn.thought.value += thought;
      }),
    });
    turn.ending.value = [reason === 'stop' ? '' : ENDINGS[reason] ?? plain(reason, 40), times(began, first)].filter(Boolean).join(' · ');
    announce('Answer complete');
  } catch (error) {
    fail(turn, error);
  } finally {
    batch(() => { turn.done.value = true; running.value = null; });
  }
}

const times = (began, first) =>
  `${first ? `first words after ${seconds(first - began)}, ` : ''}${seconds(performance.now() - began)} in all`;
const seconds = (ms) => `${(ms / 1000).toFixed(ms < 995 ? 2 : ms < 9950 ? 1 : 0)} s`;

function fail(turn, error) {
  if (error.name === 'AbortError') turn.ending.value = 'stopped by you';
  else turn.error.value = error instanceof AnswerError ? plain(error.message, 600) : `the connection failed (${plain(error.message, 200)})`;
  announce(turn.error.value ? 'The answer failed' : 'Answer stopped');
}

function Turn({ turn }) {
  const node = plain(turn.node.value, 80);
  return html`<li class="turn">
    <p class="question"><span class="unseen">You: </span>${turn.question}</p>
    ${turn.thought.value && html`<details class="thought"><summary>Thoughts</summary><p>${turn.thought.value}</p></details>`}
    <div class="answer"><p class=${turn.done.value ? 'words' : 'words writing'}>${turn.text.value}</p></div>
    ${turn.error.value && html`<p class="error"><${Shape} kind="triangle" /><span>${turn.error.value}</span></p>`}
    <p class="source"><bdi>${plain(turn.model, 80)}</bdi>${node && html` on <strong><bdi>${node}</bdi></strong>`}${turn.ending.value && html` · ${turn.ending.value}`}</p>
  </li>`;
}

function Log() {
  const list = useRef(null);
  const end = useRef(true);
  const newest = turns.value[turns.value.length - 1];
  const size = newest ? newest.text.value.length + newest.thought.value.length + newest.ending.value.length + newest.error.value.length : 0;
  useLayoutEffect(() => { if (end.current) list.current.scrollTop = list.current.scrollHeight; }, [size, turns.value.length]);
  const scrolled = ({ currentTarget: at }) => { end.current = at.scrollHeight - at.scrollTop - at.clientHeight < 40; };
  return html`<ol class="turns" ref=${list} tabindex="0" aria-label="Conversation" onScroll=${scrolled}>
    ${turns.value.map((turn, i) => html`<${Turn} key=${i} turn=${turn} />`)}</ol>`;
}

function Picker() {
  const names = Object.keys(models.value);
  const lost = current() && !able();
  return html`<select id="model" aria-label="Model" value=${current()} disabled=${!names.length && !lost} onChange=${(event) => { chosen.value = event.currentTarget.value; }}>
    ${lost && html`<option value=${chosen.value} disabled>${plain(chosen.value, 80)} (not available now)</option>`}
    ${names.map((name) => html`<option key=${name} value=${name}>${plain(name, 80)}</option>`)}
    ${!names.length && !lost && html`<option value="">no model is ready</option>`}
  </select>`;
}

export function Chat() {
  const box = useRef(null);
  const send = (/** @type {Event} */ event) => {
    event.preventDefault();
    const question = box.current.value.trim();
    if (!question || running.value || !able()) return;
    box.current.value = '';
    ask(question);
  };
  const keyed = (event) => { if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) send(event); };
  return html`<section class="panel chat" id="chat" aria-labelledby="chat-head">
    <h2 id="chat-head">Chat
      ${turns.value.length > 0 && html`<button class="quiet-button" disabled=${running.value !== null} onClick=${() => { turns.value = []; }}>Clear</button>`}
    </h2>
    ${turns.value.length ? html`<${Log} />` : html`<p class="none">Try a model. Nothing you type is stored anywhere.</p>`}
    <form class="ask" onSubmit=${send}>
      <textarea id="question" ref=${box} rows="2" aria-label="Your question" placeholder="Ask something" autocomplete="off" onKeyDown=${keyed}></textarea>
      <${Picker} />
      ${running.value
        ? html`<button type="button" class="stop" onClick=${() => running.value?.abort()}>Stop</button>`
        : html`<button type="submit" class="send" disabled=${!able()}>Send</button>`}
    </form>
  </section>`;
}
