// @ts-check
// The fleet as the stream last told it. One signal a node, so that a heartbeat of one redraws one card.
import { batch, computed, signal } from '@preact/signals';

export const SLOTS = 60;
/** A heartbeat older than this, in seconds, is shown as quiet: they come every two. */
const QUIET_S = 5;

/** `connecting`, `live`, `lost` or `paused` (the tab is hidden). */
export const link = signal('connecting');
/** Whether any frame has ever arrived. */
export const known = signal(false);
/** Node identities in the order of the view. */
export const order = signal(/** @type {string[]} */ ([]));
/** Model name to the names of the nodes that can serve it now. */
export const models = signal(/** @type {Record<string, string[]>} */ ({}));
/** What is declared, one object a model. */
export const declared = signal(/** @type {any[]} */ ([]));
export const notices = signal(/** @type {string[]} */ ([]));
/** Seconds a sparkline's slot stands for. */
export const stepS = signal(2);
/** When the last frame came, and the present, in milliseconds; the present moves once a second. */
export const heardAt = signal(0);
export const now = signal(Date.now());

/** @type {Map<string, import('@preact/signals').Signal<any>>} */
const nodes = new Map();

/** The signal of one node. Reading it after the node left gives its last value. */
export const nodeOf = (/** @type {string} */ id) => nodes.get(id);

/** Every node's present value, in order. */
export const all = computed(() => order.value.map((id) => nodes.get(id)?.value).filter(Boolean));

/** Take one frame: `FleetView.to_json()` and the newest samples. */
export function receive(/** @type {any} */ frame) {
  batch(() => {
    const ids = frame.nodes.map((/** @type {any} */ node) => node.id);
    for (const node of frame.nodes) keep(node, frame.history.nodes[node.id] ?? {});
    for (const id of nodes.keys()) if (!ids.includes(id)) nodes.delete(id);
    if (ids.join() !== order.value.join()) order.value = ids;
    models.value = frame.models;
    if (JSON.stringify(frame.declared) !== JSON.stringify(declared.value)) declared.value = frame.declared;
    if (frame.notices.join('\n') !== notices.value.join('\n')) notices.value = frame.notices;
    stepS.value = frame.history.step_s;
    heardAt.value = now.value = Date.now();
    known.value = true;
  });
}

function keep(/** @type {any} */ node, /** @type {Record<string, (number|null)[]>} */ tails) {
  const before = nodes.get(node.id);
  const history = {};
  for (const [name, tail] of Object.entries(tails)) {
    const earlier = before?.value.history[name] ?? new Array(SLOTS).fill(null);
    history[name] = [...earlier, ...tail].slice(-SLOTS);
  }
  const fresh = { ...node, history, receivedAt: Date.now() };
  if (before) before.value = fresh;
  else nodes.set(node.id, signal(fresh));
}

/** Seconds since a node was heard, as of now; null if it never was. */
export const ageS = (/** @type {any} */ node) =>
  node.heard_s == null ? null : node.heard_s + Math.max(0, now.value - node.receivedAt) / 1000;

/** `up`, `draining`, `down`, or `quiet`: said to be up, but nothing was heard for a while or this page is cut off. */
export function standing(/** @type {any} */ node) {
  if (!node || node.state === 'down') return 'down';
  const unheard = node.reach !== 'here' && (ageS(node) ?? 0) > QUIET_S;
  return unheard || link.value === 'lost' || now.value - heardAt.value > QUIET_S * 1000 ? 'quiet' : node.state;
}

setInterval(() => { now.value = Date.now(); }, 1000);
