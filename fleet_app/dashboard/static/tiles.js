// @ts-check
// The measurements of a node: a tile is a label, a value, a sparkline and a meter; a GPU is a pair of tiles.
import { html } from './html.js';
import { stepS, SLOTS } from './fleet.js';
import { Shape } from './shapes.js';
import { Spark } from './spark.js';
import { CANNOT_TELL, memory, percent, plain, share, span, storage } from './words.js';

const TIGHT = 90;
const FULL = 97;
const NO_SAMPLES = new Array(SLOTS).fill(null);

/** How full something is, as a word where it matters: the meter's colour never says it alone. */
const fullness = (/** @type {number|null} */ part) =>
  part == null || part < TIGHT ? '' : part < FULL ? 'tight' : 'full';

function Meter({ name, part, watch = false }) {
  if (part == null) return html`<div class="meter unknown"></div>`;
  const word = watch ? fullness(part) : '';
  return html`<div class=${`meter ${word}`} role="meter" aria-label=${name}
    aria-valuemin="0" aria-valuemax="100" aria-valuenow=${Math.round(part)}>
    <div style=${{ width: `${part}%` }}></div></div>`;
}

const Unknown = () => html`<span class="unknown">${CANNOT_TELL}</span>`;

function Tile({ name, label, part, samples, note, tone, watch }) {
  const word = watch ? fullness(part) : '';
  return html`<div class=${`tile ${tone}`}>
    <span class="label">${label}</span>
    <span class="value">${word && html`<span class="full">${word}</span> `}${part == null ? html`<${Unknown} />` : percent(part)}</span>
    <${Spark} name=${name} values=${samples ?? NO_SAMPLES} minutes=${span(stepS.value * SLOTS)} />
    <${Meter} name=${name} part=${part} watch=${watch} />
    <span class="note">${note}</span>
  </div>`;
}

const cores = (/** @type {any} */ cpu) => (cpu ? `${Number(cpu.cores.toFixed(1))} ${cpu.cores === 1 ? 'core' : 'cores'}` : '');

/** Temperature and power, each by itself: a card may have one sensor and not the other. */
function Sensors({ gpu }) {
  const { temperature_c: heat, power_w: power, power_limit_w: limit } = gpu;
  if (heat == null && power == null) return html`Temp, power <${Unknown} />`;
  const watts = limit == null ? `${Math.round(power)} W` : `${Math.round(power)} / ${Math.round(limit)} W`;
  return html`${heat == null ? html`Temp <${Unknown} />` : `${Math.round(heat)} °C`} · ${power == null ? html`Power <${Unknown} />` : watts}`;
}

function Gpu({ gpu, history, compact }) {
  const name = `GPU ${gpu.index}`;
  const sensors = html`<${Sensors} gpu=${gpu} />`;
  return html`<li class="gpu">
    <p class="gpu-head">
      <span class="tag">${name}</span><span class="gpu-name" title=${plain(gpu.name)}><bdi>${plain(gpu.name, 80)}</bdi></span>
      ${compact && html`<span class="sensors">${sensors}</span>`}
    </p>
    <${Tile} name=${`${name} load`} label="Load" part=${gpu.percent} samples=${history[`gpu${gpu.index}`]} tone="gpu-load" note=${compact ? '' : sensors} />
    <${Tile} name=${`${name} memory`} label="VRAM" part=${share(gpu.vram)} samples=${history[`vram${gpu.index}`]} tone="vram"
      note=${gpu.vram ? memory(gpu.vram) : ''} />
    ${gpu.throttled?.length > 0 && html`<p class="held-back"><${Shape} kind="triangle" />held back by ${plain(gpu.throttled.join(', '), 120)}</p>`}
  </li>`;
}

export function Measurements({ presence, history }) {
  const { cpu, ram, disk, gpus } = presence;
  const diskPart = share(disk);
  const word = fullness(diskPart);
  const compact = gpus.length > 2;
  return html`
    <div class="tiles">
      <${Tile} name="CPU" label="CPU" part=${cpu?.percent} samples=${history.cpu} note=${cores(cpu)} tone="cpu" />
      <${Tile} name="RAM" label="RAM" part=${share(ram)} samples=${history.ram} note=${ram ? memory(ram) : ''} tone="ram" watch />
    </div>
    <div class="disk">
      <span class="label">Disk</span><${Meter} name="Disk" part=${diskPart} watch />
      <span class="note">${disk ? storage(disk) : html`<${Unknown} />`}${word && html` <span class="full">${word}</span>`}</span>
    </div>
    ${gpus.length > 0 && html`<ul class=${compact ? 'gpus compact' : 'gpus'} aria-label="GPUs">
      ${gpus.map((gpu) => html`<${Gpu} key=${gpu.index} gpu=${gpu} history=${history} compact=${compact} />`)}</ul>`}`;
}
