// @ts-check
// How values become words: units, ages, names of engines and conditions. Text from the network passes `plain` first.

/** Control and bidirectional-override characters: invisible, or able to reorder what stands beside them. */
const UNSAFE = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;

/** Replace characters that could hide or reorder text by a visible mark, and cut at `limit` characters. */
export function plain(/** @type {unknown} */ text, limit = 200) {
  const whole = Array.from(String(text ?? '').slice(0, 4 * limit)).slice(0, limit + 1);
  const cut = whole.length > limit ? [...whole.slice(0, limit), '…'] : whole;
  return cut.join('').replace(UNSAFE, '\ufffd');
}

export const CANNOT_TELL = 'cannot tell';

/** Percent as a whole number, or null. */
export const percent = (/** @type {number|null|undefined} */ value) => (value == null ? null : `${Math.round(value)} %`);

/** Used out of total in percent, or null. */
export const share = (/** @type {Usage|null|undefined} */ usage) =>
  usage && usage.total_bytes > 0 ? Math.min(100, (100 * usage.used_bytes) / usage.total_bytes) : null;

/** Memory in binary units: `18.2 / 24.0 GiB`. */
export const memory = (/** @type {Usage} */ usage) => ratio(usage, 1024, ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']);

/** Storage in decimal units, as disks are sold: `410 / 930 GB`. */
export const storage = (/** @type {Usage} */ usage) => ratio(usage, 1000, ['B', 'kB', 'MB', 'GB', 'TB', 'PB']);

/** One amount in decimal units, as model files are listed: `4.7 GB`. */
export function amount(/** @type {number} */ bytes) {
  const [divisor, unit] = scale(bytes, 1000, ['B', 'kB', 'MB', 'GB', 'TB', 'PB']);
  return `${figures(bytes / divisor)} ${unit}`;
}

function ratio(/** @type {Usage} */ usage, /** @type {number} */ base, /** @type {string[]} */ units) {
  const [divisor, unit] = scale(usage.total_bytes, base, units);
  return `${figures(usage.used_bytes / divisor)} / ${figures(usage.total_bytes / divisor)} ${unit}`;
}

/** @returns {[number, string]} */
function scale(/** @type {number} */ bytes, /** @type {number} */ base, /** @type {string[]} */ units) {
  let step = 0;
  while (step < units.length - 1 && bytes >= base ** (step + 1)) step += 1;
  return [base ** step, units[step]];
}

const figures = (/** @type {number} */ value) => (value >= 100 ? value.toFixed(0) : value.toFixed(1));

/** A length of time in its largest unit: `14 s`, `3 min`, `5 h`, `2 d`. */
export function span(/** @type {number} */ seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 90) return `${whole} s`;
  if (whole < 90 * 60) return `${Math.round(whole / 60)} min`;
  if (whole < 48 * 3600) return `${Math.round(whole / 3600)} h`;
  return `${Math.round(whole / 86400)} d`;
}

export const count = (/** @type {number} */ n, /** @type {string} */ one, many = `${one}s`) => `${n} ${n === 1 ? one : many}`;

/** Engines as their makers write them. */
export const ENGINES = {
  llamacpp: 'llama.cpp', ollama: 'Ollama', vllm: 'vLLM', tgi: 'TGI', lmstudio: 'LM Studio', sglang: 'SGLang',
  localai: 'LocalAI', koboldcpp: 'KoboldCpp', tabbyapi: 'TabbyAPI', lemonade: 'Lemonade', docker: 'Docker Model Runner',
  mlx: 'mlx_lm', jan: 'Jan', openai: 'OpenAI-compatible', unknown: 'Unknown engine',
};

/** What a condition is called, and the shape and tone it is drawn with. */
export const CONDITIONS = {
  ready: { word: 'ready', shape: 'disc', tone: 'good' },
  loading: { word: 'loading', shape: 'half', tone: 'warn' },
  unreachable: { word: 'unreachable', shape: 'cross', tone: 'bad' },
  needs_key: { word: 'needs a key', shape: 'triangle', tone: 'warn' },
  unhealthy: { word: 'unhealthy', shape: 'triangle', tone: 'bad' },
};

/** @typedef {{used_bytes: number, total_bytes: number}} Usage */
