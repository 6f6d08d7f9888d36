// @ts-check
// Cards of different heights without holes: the grid has rows of a few pixels, and a card spans as many as it is high.
import { useLayoutEffect, useRef } from 'preact/hooks';

/** Height of one grid row and the gap below a card, in pixels; the sheet's `.cards` agrees with both. */
const ROW = 4;
const GAP = 16;

const watched = new ResizeObserver((entries) => entries.forEach(({ target, borderBoxSize: [{ blockSize }] }) => {
  if (blockSize) target.parentElement?.style.setProperty('--rows', String(Math.ceil((blockSize + GAP) / ROW)));
}));

/** A ref for the list item whose only child is to be measured. */
export function useSpan() {
  const item = useRef(/** @type {HTMLElement|null} */ (null));
  useLayoutEffect(() => {
    const card = item.current?.firstElementChild;
    if (!card) return undefined;
    watched.observe(card);
    return () => watched.unobserve(card);
  }, []);
  return item;
}
