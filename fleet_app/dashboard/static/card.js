// @ts-check
// One node: who it is, how it is, how it is reached, what it measures and what it serves.
import { html } from './html.js';
import { useComputed } from '@preact/signals';
import { ageS, nodeOf, standing } from './fleet.js';
import { Engines } from './engines.js';
import { Shape } from './shapes.js';
import { Measurements } from './tiles.js';
import { plain, span } from './words.js';

const STANDINGS = {
  up: { word: 'Up', shape: 'disc', tone: 'good' },
  draining: { word: 'Draining', shape: 'half', tone: 'warn' },
  quiet: { word: 'Quiet', shape: 'dashed', tone: 'none' },
  down: { word: 'Down', shape: 'square', tone: 'bad' },
};
const REACH = { here: '', linked: 'direct link', relayed: 'through others', none: 'no path to it' };

/** The word and, where the node is silent, since when. */
function Standing({ node, how }) {
  const { word, shape, tone } = STANDINGS[how];
  return html`<span class=${`standing ${tone}`}><${Shape} kind=${shape} />${word}</span>
    ${how === 'down' || how === 'quiet'
      ? html`<${Since} node=${node} />`
      : node.presence?.in_flight > 0 && html`<span>${node.presence.in_flight} in flight</span>`}`;
}

/** Moves every second, so it stands alone: the rest of the card is not drawn again for it. */
function Since({ node }) {
  const age = ageS(node);
  return html`<span class="since">${age == null ? 'not heard since this node started' : `last seen ${span(age)} ago`}</span>`;
}

/** What others can reach on this box without a key, and the one thing to do about it. */
function Exposures({ exposures }) {
  if (!exposures?.length) return null;
  return html`<ul class="exposures" aria-label="Exposed">${exposures.map((one, i) => html`<li key=${i} class=${one.severity}>
    <${Shape} kind="triangle" /><span><bdi>${plain(one.words, 512)}</bdi>${one.remedy && html`<br /><bdi class="remedy">${plain(one.remedy, 512)}</bdi>`}</span></li>`)}</ul>`;
}

function Facts({ node, how }) {
  const { presence } = node;
  const uptime = presence && how !== 'down' && presence.at_s >= presence.started_s ? span(presence.at_s - presence.started_s) : '';
  const facts = [
    REACH[node.reach],
    plain(node.addresses[0] ?? '', 60) + (node.addresses.length > 1 ? ` +${node.addresses.length - 1}` : ''),
    uptime && `running ${uptime}`,
  ].filter(Boolean);
  return html`<p class="facts">${facts.map((fact) => html`<span key=${fact}><bdi>${fact}</bdi></span>`)}</p>`;
}

export function Card({ id }) {
  const node = nodeOf(id)?.value;
  const how = useComputed(() => standing(nodeOf(id)?.value)).value;
  if (!node) return null;
  const unheard = how === 'down' || how === 'quiet';
  return html`<article class=${`card ${how} ${unheard ? 'unheard' : ''}`} aria-labelledby=${`name-${id}`} data-node=${id}>
    <header>
      <h3 id=${`name-${id}`} title=${plain(node.name)}><bdi>${plain(node.name, 120)}</bdi></h3>
      ${node.reach === 'here' && html`<span class="tag here">this node</span>`}
      <p class="how"><${Standing} node=${node} how=${how} /></p>
      <${Facts} node=${node} how=${how} />
    </header>
    ${node.presence
      ? html`<div class="body">
          ${unheard && html`<p class="then">What it last said, not what is now:</p>`}
          <${Measurements} presence=${node.presence} history=${node.history} />
          <${Exposures} exposures=${node.presence.exposures} />
          <${Engines} presence=${node.presence} unheard=${unheard} />
        </div>`
      : html`<p class="none">Nothing is known of it yet. It shows here as soon as it is heard.</p>`}
    <footer><span>${plain(node.presence ? `v${node.presence.version}` : '', 40)}</span><code title=${plain(id)}>${plain(id, 12)}</code></footer>
  </article>`;
}

