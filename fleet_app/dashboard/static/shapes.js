// @ts-check
// The small shapes that say a condition without colour: each is drawn in the current text colour.
import { html } from './html.js';

const SHAPES = {
  disc: html`<circle cx="6" cy="6" r="4.5" fill="currentColor" />`,
  ring: html`<circle cx="6" cy="6" r="3.9" fill="none" stroke="currentColor" stroke-width="1.6" />`,
  half: html`<circle cx="6" cy="6" r="4" fill="none" stroke="currentColor" stroke-width="1.4" /><path d="M6 2a4 4 0 0 1 0 8z" fill="currentColor" />`,
  dashed: html`<circle cx="6" cy="6" r="4" fill="none" stroke="currentColor" stroke-width="1.6" stroke-dasharray="2.2 2" />`,
  triangle: html`<path d="M6 1.2 11.4 10.6H.6z" fill="currentColor" />`,
  square: html`<path d="M1.5 1.5h9v9h-9z" fill="currentColor" />`,
  cross: html`<path d="m2 2 8 8m0-8-8 8" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" />`,
};

export const Shape = ({ kind }) => html`<svg class="shape" viewBox="0 0 12 12" aria-hidden="true">${SHAPES[kind]}</svg>`;

export const Mark = () => html`<svg class="mark" viewBox="0 0 32 32" aria-hidden="true">
  <g fill="none" stroke="currentColor" stroke-width="2.4"><path d="M16 8 8 23M16 8l8 15M8 23h16" /></g>
  <g fill="currentColor"><circle cx="16" cy="8" r="4.6" /><circle cx="8" cy="23" r="4.6" /><circle cx="24" cy="23" r="4.6" /></g>
</svg>`;
