"""What the browser tests ask a page, in JavaScript: pixels, contrasts, widths, focus, visibility."""

from __future__ import annotations

TOO_WIDE = "document.documentElement.scrollWidth > document.documentElement.clientWidth"

CONTRASTS = """() => {
  const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
  const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = (color) => [0.2126, 0.7152, 0.0722].reduce((sum, part, i) => sum + part * linear(color[i] / 255), 0);
  const behind = (at) => {
    for (; at; at = at.parentElement) {
      const [r, g, b, a = 1] = numbers(getComputedStyle(at).backgroundColor);
      if (a === 1) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const at = walk.currentNode.parentElement, words = walk.currentNode.data.trim();
    if (!words || !at.checkVisibility() || at.closest('.unseen, noscript, :disabled')) continue;
    const [a, b] = [light(numbers(getComputedStyle(at).color)), light(behind(at))].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), words.slice(0, 40)]);
  }
  return found;
}"""
"""[contrast, text] of every visible text (WCAG 2, relative luminance); disabled controls are exempt there too."""

PIXELS = """(canvas) => {
  const copy = Object.assign(document.createElement('canvas'), { width: canvas.width, height: canvas.height });
  const pen = copy.getContext('2d', { willReadFrequently: true });
  pen.drawImage(canvas, 0, 0);
  const { data, width } = pen.getImageData(0, 0, canvas.width, canvas.height);
  const found = { inked: 0, colourful: 0, oldest: 0, newest: 0 };
  for (let i = 0; i < data.length; i += 4) {
    const [r, g, b, a] = data.slice(i, i + 4), x = (i / 4) % width;
    if (a < 20) continue;
    found.inked += a > 128;
    found.colourful += a > 128 && Math.max(r, g, b) - Math.min(r, g, b) > 60;
    if (a > 128) { found.oldest += x < width * 0.2; found.newest += x > width * 0.8; }
  }
  return found;
}"""
"""Of a canvas: strong pixels, those of them with colour, and those in the oldest and the newest fifth."""

FOCUSED = """() => {
  const at = document.activeElement;
  return [at.id || at.getAttribute('aria-label') || at.textContent.trim(), getComputedStyle(at).outlineStyle];
}"""
"""What has the focus, in words, and the style of its ring."""

SHOW = """(state) => {
  Object.defineProperty(document, 'visibilityState', { value: state, configurable: true });
  document.dispatchEvent(new Event('visibilitychange'));
}"""
"""Make the page believe that its tab is `hidden` or `visible`."""

BYTE_BY_BYTE = """
const whole = window.fetch;
window.fetch = async (...request) => {
  const response = await whole(...request);
  const pieces = response.body.pipeThrough(new TransformStream({
    transform(bytes, out) { for (const byte of bytes) out.enqueue(Uint8Array.of(byte)); },
  }));
  return new Response(pieces, response);
};
"""
"""Have every answer arrive in pieces of one byte, whatever the network made of it."""
