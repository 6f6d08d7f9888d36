// @ts-check
// A model on its way to a disk: how much of it is there, in words and as a bar.
import { html } from './html.js';
import { amount, plain } from './words.js';

export function Progress({ pull }) {
  const { completed_bytes: done, total_bytes: total } = pull;
  const part = total ? Math.min(100, (100 * done) / total) : null;
  const words = total ? `${amount(done)} of ${amount(total)}` : done ? amount(done) : plain(pull.status, 80) || 'beginning';
  return html`<span class="pull">
    <span class="progress" role="progressbar" aria-label=${`Pull of ${plain(pull.model, 80)}`} aria-valuemin="0" aria-valuemax="100"
      aria-valuenow=${part == null ? undefined : Math.round(part)}><span style=${{ width: `${part ?? 0}%` }}></span></span>
    <span class="note"><bdi>${words}</bdi></span></span>`;
}
