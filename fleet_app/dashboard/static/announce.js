// @ts-check
// The page's one live region: says changes of state, never numbers that move by themselves.
import { effect, signal, untracked } from '@preact/signals';
import { all, known, link } from './fleet.js';
import { plain } from './words.js';

const SAID_MAX = 5;

/** What the live region says. */
export const announcement = signal('');

export const announce = (/** @type {string} */ text) => { announcement.value = text; };

/** @type {Map<string, string>|null} */
let states = null;
effect(() => {
  if (!known.value) return;
  const fresh = new Map(all.value.map((node) => [node.id, node.state]));
  const before = states;
  states = fresh;
  if (before) untracked(() => say(changes(before)));
});

function changes(/** @type {Map<string, string>} */ before) {
  const said = all.value.filter((node) => before.get(node.id) !== node.state)
    .map((node) => `${plain(node.name, 60)} is ${before.has(node.id) ? node.state : `new and ${node.state}`}`);
  return said.length > SAID_MAX ? [...said.slice(0, SAID_MAX), `and ${said.length - SAID_MAX} more`] : said;
}

let connected = false;
effect(() => {
  if (link.value === 'live' && !connected && known.peek()) untracked(() => say(['Connected']));
  if (link.value === 'lost' && connected) untracked(() => say(['Disconnected from this node, retrying']));
  if (link.value === 'live') connected = true;
  if (link.value === 'lost') connected = false;
});

function say(/** @type {string[]} */ sentences) {
  if (sentences.length) announce(sentences.join('. '));
}
