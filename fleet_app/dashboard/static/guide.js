// @ts-check
// What to do next, where there is nothing to show yet: exact commands, one click to copy.
import { html } from './html.js';
import { useState } from 'preact/hooks';
import { announce } from './announce.js';

/** Copying needs a secure page, which plain http on a LAN is not: there the command is selected instead. */
async function copy(/** @type {HTMLElement} */ code) {
  try {
    await navigator.clipboard.writeText(code.textContent ?? '');
    return 'Copied';
  } catch {
    getSelection()?.selectAllChildren(code);
    return 'Selected';
  }
}

function Command({ children }) {
  const [done, setDone] = useState('');
  const clicked = async (event) => {
    const word = await copy(event.currentTarget.previousElementSibling);
    setDone(word);
    announce(word);
    setTimeout(() => setDone(''), 2000);
  };
  return html`<p class="command"><code>${children}</code><button class="quiet-button" onClick=${clicked}>${done || 'Copy'}</button></p>`;
}

export const NoNodes = () => html`<section class="guide">
  <h2>No node is known yet</h2>
  <p>This page shows a node as soon as it runs. Start one on this box:</p>
  <${Command}>propagul fleet up<//>
</section>`;

export const OneNode = () => html`<section class="guide">
  <h2>One box so far</h2>
  <p>To add another, make an invite here:</p>
  <${Command}>propagul fleet invite<//>
  <p>It prints a token. On the other box, run this and paste the token:</p>
  <${Command}>propagul fleet up --join -<//>
</section>`;

export const NoEngines = () => html`<section class="guide">
  <h2>No inference server found</h2>
  <p>Start one on any box of the fleet; it is found by itself within a few seconds. Each node looks at these ports of its own:</p>
  <ul class="ports">
    <li>Ollama <code>11434</code></li><li>llama.cpp <code>8080</code></li><li>vLLM <code>8000</code></li>
    <li>TGI <code>80</code> <code>3000</code></li><li>LM Studio <code>1234</code></li><li>SGLang <code>30000</code></li>
    <li>KoboldCpp <code>5001</code></li><li>TabbyAPI <code>5000</code></li><li>Jan <code>1337</code></li>
    <li>Lemonade <code>13305</code></li><li>Docker Model Runner <code>12434</code></li>
  </ul>
  <p>Somewhere else? Name its address when the node starts:</p>
  <${Command}>propagul fleet up --backend http://127.0.0.1:9000<//>
</section>`;
