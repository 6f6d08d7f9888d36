// @ts-check
// The page's one event stream: open while the tab is visible, watched, and opened again whenever it breaks.
import { known, link, receive } from './fleet.js';

/** Without any event for this long the connection is taken for dead; the server beats every three seconds. */
const SILENCE_MS = 10_000;
const RETRY_MS = [500, 1000, 2000, 4000, 5000];

/** @type {EventSource|null} */
let source = null;
let watchdog = 0;
let retry = 0;
let failures = 0;
/** Epoch and sequence of the last frame: an older frame of the same epoch is not taken. */
let last = { epoch: '', sequence: 0 };

function open() {
  close();
  link.value = failures ? 'lost' : 'connecting';
  source = new EventSource('/events');
  source.addEventListener('view', (event) => { alive(); take(JSON.parse(event.data)); });
  source.addEventListener('beat', alive);
  source.addEventListener('error', broken);
  watch();
}

function close() {
  clearTimeout(watchdog);
  clearTimeout(retry);
  source?.close();
  source = null;
}

function take(/** @type {any} */ frame) {
  if (frame.epoch === last.epoch && frame.sequence < last.sequence) return;
  last = { epoch: frame.epoch, sequence: frame.sequence };
  receive(frame);
}

function alive() {
  failures = 0;
  link.value = 'live';
  watch();
}

function watch() {
  clearTimeout(watchdog);
  watchdog = setTimeout(broken, SILENCE_MS);
}

/** Retry by our own clock: a refusal (503) would end the browser's own attempts for good. */
function broken() {
  close();
  link.value = 'lost';
  retry = setTimeout(open, RETRY_MS[Math.min(failures, RETRY_MS.length - 1)] * (0.75 + Math.random() / 2));
  failures += 1;
}

/** A hidden tab gives its connection back: a browser allows only six to one origin. */
function visibilityChanged() {
  if (document.visibilityState === 'visible') open();
  else {
    close();
    if (known.value) link.value = 'paused';
  }
}

export function start() {
  document.addEventListener('visibilitychange', visibilityChanged);
  visibilityChanged();
}
