// @ts-check
// Every model of the fleet and the nodes that have it; a model that nobody can serve now says why not.
import { html } from './html.js';
import { computed } from '@preact/signals';
import { all, models } from './fleet.js';
import { choose, chosen } from './chat.js';
import { Shape } from './shapes.js';
import { CONDITIONS, plain } from './words.js';

/** Places of every model by its name: the node, whether it is loaded there, and why it cannot serve now, if so. */
const places = computed(() => {
  /** @type {Map<string, {node: string, loaded: boolean|null, why: string}[]>} */
  const found = new Map(Object.keys(models.value).map((name) => [name, []]));
  for (const node of all.value) {
    for (const backend of node.presence?.backends ?? []) {
      const why = node.state !== 'up' ? node.state : backend.condition === 'ready' ? '' : CONDITIONS[backend.condition]?.word ?? 'unhealthy';
      for (const { name, loaded } of backend.models) {
        if (!found.has(name)) found.set(name, []);
        found.get(name).push({ node: node.name, loaded, why });
      }
    }
  }
  const able = (/** @type {string} */ name) => (name in models.value ? 0 : 1);
  return [...found].sort(([a], [b]) => able(a) - able(b) || (a < b ? -1 : 1));
});

function Place({ place }) {
  const word = place.why || (place.loaded ? 'loaded' : place.loaded === false ? 'not loaded' : '');
  const shape = place.why ? 'cross' : place.loaded ? 'disc' : place.loaded === false ? 'ring' : 'dashed';
  return html`<li class=${place.why ? 'place unable' : 'place'} title=${word}>
    <${Shape} kind=${shape} /><bdi>${plain(place.node, 60)}</bdi>${place.why ? html`<span>, ${place.why}</span>` : html`<span class="unseen">, ${word}</span>`}</li>`;
}

function Row({ name, where }) {
  const able = name in models.value;
  return html`<li class=${able ? 'model' : 'model unable'}>
    <span class="model-name" title=${plain(name)}><bdi>${plain(name, 120)}</bdi></span>
    <button class="quiet-button" disabled=${!able} aria-pressed=${String(chosen.value === name)} aria-label=${`Chat with ${plain(name, 80)}`}
      onClick=${() => choose(name)}>Chat</button>
    <ul class="places" aria-label="Nodes">${where.map((place, i) => html`<${Place} key=${`${i} ${place.node}`} place=${place} />`)}</ul>
  </li>`;
}

export function Models() {
  const able = Object.keys(models.value).length;
  return html`<section class="panel" aria-labelledby="models-head">
    <h2 id="models-head">Models <span class="tally">${able}</span></h2>
    ${places.value.length
      ? html`<ul class="models" tabindex="0" aria-labelledby="models-head">${places.value.map(([name, where]) => html`<${Row} key=${name} name=${name} where=${where} />`)}</ul>`
      : html`<p class="none">No model yet. Models appear here as soon as an engine on any node lists them.</p>`}
  </section>`;
}
