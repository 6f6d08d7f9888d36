// @ts-check
// What should be there: every declared model, how it stands on each node, and pulls with their progress.
import { html } from './html.js';
import { computed } from '@preact/signals';
import { all, declared, standing } from './fleet.js';
import { Progress } from './pulls.js';
import { Shape } from './shapes.js';
import { plain } from './words.js';

const KINDS = {
  Ready: { word: 'ready', shape: 'disc', tone: 'good' },
  Progressing: { word: 'on its way', shape: 'half', tone: 'warn' },
  Blocked: { word: 'blocked', shape: 'triangle', tone: 'warn' },
  Degraded: { word: 'failing', shape: 'cross', tone: 'bad' },
};

/** How a model stands on each node, by its name; nodes that are away are left out: what they said is not what is. */
const stands = computed(() => {
  /** @type {Map<string, {node: any, condition: any, pull: any}[]>} */
  const found = new Map();
  for (const node of all.value) {
    if (standing(node) === 'down') continue;
    for (const condition of node.presence?.conditions ?? []) {
      if (!found.has(condition.model)) found.set(condition.model, []);
      const pull = (node.presence.pulls ?? []).find((/** @type {any} */ one) => one.model === condition.model);
      found.get(condition.model)?.push({ node, condition, pull });
    }
  }
  return found;
});

/** What is declared of a model, in a few words. */
function terms(/** @type {any} */ model) {
  if (model.where == null) return 'nobody says where, so nothing is done about it';
  const count = model.replicas == null ? '' : `${model.replicas} of `;
  const words = [model.absent ? `absent from ${model.where}` : `${count}${model.where}`];
  if (model.loaded != null) words.push(model.loaded ? 'kept in memory' : 'kept out of memory');
  if (model.managed_by) words.push(`from ${model.managed_by}`);
  return words.join(' · ');
}

function Stand({ at }) {
  const { node, condition, pull } = at;
  const { word, shape, tone } = KINDS[condition.kind] ?? KINDS.Degraded;
  return html`<li class="stand">
    <span class=${`condition ${tone}`}><${Shape} kind=${shape} /><bdi>${plain(node.name, 60)}</bdi><span>${word}</span></span>
    ${pull ? html`<${Progress} pull=${pull} />` : condition.reason && html`<span class="reason"><bdi>${plain(condition.reason, 256)}</bdi></span>`}
  </li>`;
}

function Declared({ model }) {
  const at = stands.value.get(model.name) ?? [];
  return html`<li class="model">
    <span class="model-name" title=${plain(model.name)}><bdi>${plain(model.name, 120)}</bdi></span>
    <span class="terms"><bdi>${plain(terms(model), 200)}</bdi></span>
    ${model.conflicts.length > 0 && html`<p class="conflict"><${Shape} kind="triangle" />
      <span>declared twice at the same time: ${plain(model.conflicts.join(', '), 120)}</span></p>`}
    ${at.length > 0 && html`<ul class="stands" aria-label="How it stands">${at.map((one) => html`<${Stand} key=${one.node.id} at=${one} />`)}</ul>`}
  </li>`;
}

export function Desired() {
  if (!declared.value.length) return null;
  return html`<section class="panel" aria-labelledby="declared-head">
    <h2 id="declared-head">Declared <span class="tally">${declared.value.length}</span></h2>
    <ul class="models" tabindex="0" aria-labelledby="declared-head">
      ${declared.value.map((model) => html`<${Declared} key=${model.name} model=${model} />`)}</ul>
  </section>`;
}
