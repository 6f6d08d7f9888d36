// @ts-check
// The page: header, banner, notices, cards, models, chat.
import { html } from './html.js';
import { render } from 'preact';
import { computed, effect } from '@preact/signals';
import { announcement } from './announce.js';
import { Card } from './card.js';
import { Chat } from './chat.js';
import { Desired } from './declared.js';
import { all, heardAt, known, link, models, notices, now, order } from './fleet.js';
import { useSpan } from './masonry.js';
import { NoEngines, NoNodes, OneNode } from './guide.js';
import { Models } from './models.js';
import { Mark, Shape } from './shapes.js';
import { start } from './stream.js';
import { count, memory, plain, span } from './words.js';

const LINKS = {
  connecting: { word: 'connecting', shape: 'half', tone: 'warn' },
  live: { word: 'live', shape: 'disc', tone: 'good' },
  lost: { word: 'disconnected', shape: 'triangle', tone: 'bad' },
  paused: { word: 'paused', shape: 'ring', tone: 'none' },
};

const upNodes = computed(() => all.value.filter((node) => node.state === 'up'));
const up = computed(() => upNodes.value.length);
const inFlight = computed(() => upNodes.value.reduce((sum, node) => sum + (node.presence?.in_flight ?? 0), 0));
const engines = computed(() => all.value.reduce((sum, node) => sum + (node.presence?.backends.length ?? 0), 0));
const vram = computed(() => {
  const known = upNodes.value.flatMap((node) => node.presence?.gpus ?? []).map((gpu) => gpu.vram).filter(Boolean);
  const sum = (/** @type {string} */ field) => known.reduce((total, usage) => total + usage[field], 0);
  return known.length ? memory({ used_bytes: sum('used_bytes'), total_bytes: sum('total_bytes') }) : '';
});

const Figure = ({ value, label }) => html`<li><strong>${value}</strong> <span>${label}</span></li>`;

function Figures() {
  if (!known.value) return null;
  return html`<ul class="figures" aria-label="Fleet">
    <${Figure} value=${`${up.value} of ${order.value.length}`} label=${order.value.length === 1 ? 'node up' : 'nodes up'} />
    <${Figure} value=${Object.keys(models.value).length} label=${Object.keys(models.value).length === 1 ? 'model' : 'models'} />
    <${Figure} value=${inFlight.value} label="in flight" />
    ${vram.value && html`<${Figure} value=${vram.value} label="VRAM" />`}
  </ul>`;
}

function Header() {
  const { word, shape, tone } = LINKS[link.value];
  return html`<header class="top">
    <h1><${Mark} />Propagul</h1>
    <${Figures} />
    <p class=${`link ${tone}`}><${Shape} kind=${shape} />${word}</p>
    <a class="skip" href="#chat">Chat</a>
  </header>`;
}

function Banner() {
  if (link.value !== 'lost') return null;
  const age = known.value ? ` What you see is ${span((now.value - heardAt.value) / 1000)} old.` : '';
  return html`<p class="banner"><${Shape} kind="triangle" /><span>Disconnected from this node, retrying.${age}</span></p>`;
}

function Notices() {
  if (!notices.value.length) return null;
  return html`<ul class="notices" aria-label="Notices">
    ${notices.value.map((notice, i) => html`<li key=${i}><${Shape} kind="triangle" /><bdi>${plain(notice, 400)}</bdi></li>`)}</ul>`;
}

const Cell = ({ children }) => html`<li ref=${useSpan()}>${children}</li>`;

function Fleet() {
  if (!known.value) return html`<p class="none waiting">Waiting for this node…</p>`;
  return html`<section aria-labelledby="nodes-head">
    <h2 id="nodes-head" class="unseen">Nodes</h2>
    <ul class="cards">
      ${order.value.map((id) => html`<${Cell} key=${id}><${Card} id=${id} /><//>`)}
      ${order.value.length === 0 && html`<${Cell} key="none"><${NoNodes} /><//>`}
      ${order.value.length > 0 && engines.value === 0 && html`<${Cell} key="engines"><${NoEngines} /><//>`}
      ${order.value.length === 1 && html`<${Cell} key="one"><${OneNode} /><//>`}
    </ul>
  </section>`;
}

const App = () => html`
  <${Header} />
  <${Banner} />
  <${Notices} />
  <main><${Fleet} /><div class="side"><${Desired} /><${Models} /><${Chat} /></div></main>
  <p class="unseen" role="status" aria-live="polite">${announcement}</p>`;

effect(() => {
  document.title = known.value ? `${up.value} of ${count(order.value.length, 'node')} up · Propagul` : 'Propagul';
});
render(html`<${App} />`, /** @type {HTMLElement} */ (document.getElementById('app')));
start();
