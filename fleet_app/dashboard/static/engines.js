// @ts-check
// The inference servers of a node: what they are, how they are, which models they have.
import { html } from './html.js';
import { useState } from 'preact/hooks';
import { Shape } from './shapes.js';
import { CONDITIONS, ENGINES, amount, count, plain } from './words.js';

/** Chips shown before the rest is folded away. */
const CHIPS = 8;
const LOADED = new Map([
  [true, { shape: 'disc', word: 'loaded' }],
  [false, { shape: 'ring', word: 'not loaded' }],
  [null, { shape: 'dashed', word: 'cannot tell whether it is loaded' }],
]);

/** Size, context and abilities of a model, as far as its engine tells. */
function facts(/** @type {any} */ model) {
  return [
    model.size_bytes != null && amount(model.size_bytes),
    model.vram_bytes > 0 && `${amount(model.vram_bytes)} on the GPU`,
    model.context > 0 && `${model.context} tokens of context`,
    model.capabilities?.length > 0 && model.capabilities.map((/** @type {string} */ one) => plain(one, 20)).join(' and '),
  ].filter(Boolean).map((fact) => `, ${fact}`).join('');
}

function Chip({ model }) {
  const { shape, word } = LOADED.get(model.loaded ?? null);
  return html`<li class=${`chip ${model.loaded ? 'loaded' : ''}`} title=${`${plain(model.name)}: ${word}${facts(model)}`}>
    <${Shape} kind=${shape} /><bdi>${plain(model.name, 120)}</bdi><span class="unseen">, ${word}</span></li>`;
}

function Chips({ models }) {
  const [open, setOpen] = useState(false);
  const loadedFirst = [...models].sort((a, b) => Number(b.loaded === true) - Number(a.loaded === true));
  const shown = open ? loadedFirst : loadedFirst.slice(0, CHIPS);
  const folded = models.length - CHIPS;
  return html`<ul class="chips" aria-label="Models">
    ${shown.map((model, i) => html`<${Chip} key=${`${i} ${model.name}`} model=${model} />`)}
    ${folded > 0 && html`<li><button class="more" aria-expanded=${String(open)} onClick=${() => setOpen(!open)}>
      ${open ? 'fewer' : `${folded} more`}</button></li>`}</ul>`;
}

function Engine({ backend, unheard }) {
  const { word, shape, tone } = CONDITIONS[backend.condition] ?? CONDITIONS.unhealthy;
  return html`<li class="engine">
    <p class="engine-head">
      <strong>${ENGINES[backend.kind] ?? plain(backend.kind, 30)}</strong>
      <span class=${`condition ${unheard ? 'none' : tone}`}><${Shape} kind=${shape} />${unheard ? `was ${word}` : word}</span>
      ${backend.in_flight > 0 && !unheard && html`<span class="busy">${backend.in_flight} in flight</span>`}
      ${backend.queued > 0 && !unheard && html`<span class="busy">${backend.queued} waiting</span>`}
      ${backend.slots > 0 && html`<span class="slots">${count(backend.slots, 'slot')}</span>`}
    </p>
    <p class="where"><bdi>${plain(backend.url.replace(/^http:\/\//, ''), 80)}</bdi>${backend.version && html` · <bdi>${plain(backend.version, 40)}</bdi>`}</p>
    ${backend.reason && html`<p class="reason"><bdi>${plain(backend.reason, 256)}</bdi></p>`}
    ${backend.models.length > 0
      ? html`<${Chips} models=${backend.models} />`
      : backend.condition === 'ready' && html`<p class="reason">no models here yet</p>`}
  </li>`;
}

export function Engines({ presence, unheard }) {
  if (!presence.backends.length) return html`<p class="none">No engine found on this node.</p>`;
  return html`<ul class="engines" aria-label=${count(presence.backends.length, 'engine')}>
    ${presence.backends.map((backend, i) => html`<${Engine} key=${`${i} ${backend.url}`} backend=${backend} unheard=${unheard} />`)}</ul>`;
}
