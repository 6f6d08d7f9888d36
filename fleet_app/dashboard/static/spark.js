// @ts-check
// A sparkline on a canvas: percent over the last slots, always from 0 to 100, silence drawn as a gap.
import { html } from './html.js';
import { useLayoutEffect, useRef } from 'preact/hooks';

/** @type {WeakMap<Element, {values: (number|null)[], width: number, height: number, visible: boolean}>} */
const drawings = new WeakMap();
const canvases = new Set();
const sized = new ResizeObserver((entries) => entries.forEach(({ target, contentRect }) =>
  update(target, { width: contentRect.width, height: contentRect.height })));
const seen = new IntersectionObserver((entries) => entries.forEach(({ target, isIntersecting }) =>
  update(target, { visible: isIntersecting })), { rootMargin: '200px' });
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => canvases.forEach(draw));

function update(/** @type {Element} */ canvas, change) {
  drawings.set(canvas, { values: [], width: 0, height: 0, visible: true, ...drawings.get(canvas), ...change });
  draw(/** @type {HTMLCanvasElement} */ (canvas));
}

function draw(/** @type {HTMLCanvasElement} */ canvas) {
  const { values, width, height, visible } = drawings.get(canvas);
  if (!visible || !width) return;
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const pen = canvas.getContext('2d');
  pen.scale(ratio, ratio);
  pen.strokeStyle = pen.fillStyle = getComputedStyle(canvas).color;
  pen.lineWidth = 1.5;
  pen.lineJoin = 'round';
  const x = (i) => 2 + (i * (width - 4)) / (values.length - 1);
  const y = (value) => height - 1.5 - (value / 100) * (height - 4);
  for (let from = 0, to; from < values.length; from = to) {
    const silent = values[from] == null;
    for (to = from + 1; to < values.length && (values[to] == null) === silent;) to += 1;
    if (silent) gap(pen, from ? x(from - 1) : 0, to < values.length ? x(to) : width, height);
    else run(pen, values.slice(from, to).map((value, i) => [x(from + i), y(value)]), height);
  }
}

/** An unbroken run: a line over a faint area; a single sample is a dot. */
function run(pen, points, height) {
  const [first, last] = [points[0], points[points.length - 1]];
  pen.beginPath();
  points.forEach(([px, py]) => pen.lineTo(px, py));
  if (points.length > 1) pen.stroke();
  pen.lineTo(last[0], height);
  pen.lineTo(first[0], height);
  pen.globalAlpha = 0.14;
  pen.fill();
  pen.globalAlpha = 1;
  pen.beginPath();
  pen.arc(last[0], last[1], points.length > 1 ? 1.8 : 1.2, 0, 7);
  pen.fill();
}

/** No samples: dots along the floor, nothing that could be read as a value. */
function gap(pen, from, to, height) {
  pen.globalAlpha = 0.35;
  for (let px = from + 4; px < to - 3; px += 6) pen.fillRect(px, height - 2, 1.5, 1.5);
  pen.globalAlpha = 1;
}

/** The label for those who cannot see it: last, lowest and highest; renewed at most every ten seconds. */
function describe(name, values, minutes) {
  const known = values.filter((value) => value != null);
  const latest = values[values.length - 1];
  const last = latest == null ? 'no reading now' : `now ${Math.round(latest)} %`;
  if (!known.length) return `${name}: no readings in the last ${minutes}`;
  return `${name}, last ${minutes}: ${last}, lowest ${Math.round(Math.min(...known))} %, highest ${Math.round(Math.max(...known))} %`;
}

export function Spark({ name, values, minutes }) {
  const canvas = useRef(null);
  const label = useRef({ text: '', at: 0 });
  if (Date.now() - label.current.at > 10_000) label.current = { text: describe(name, values, minutes), at: Date.now() };
  useLayoutEffect(() => {
    const element = canvas.current;
    canvases.add(element);
    sized.observe(element);
    seen.observe(element);
    return () => { canvases.delete(element); sized.unobserve(element); seen.unobserve(element); };
  }, []);
  useLayoutEffect(() => update(canvas.current, { values }));
  return html`<canvas class="spark" ref=${canvas} role="img" aria-label=${label.current.text}></canvas>`;
}
