// @ts-check
// Server-sent events out of text that arrives in arbitrary pieces (WHATWG HTML, section 9.2.6). Pure.

const LINE_CHARACTERS_MAX = 1 << 20;
/** A CR at the very end may be half of a CRLF, so it waits for the next piece. */
const LINE_END = /\r\n|\n|\r(?!$)/;

export class EventParser {
  #rest = '';
  /** @type {string[]} */
  #data = [];

  /** Take a piece of text; return the data of the events it completes. */
  push(/** @type {string} */ text) {
    const lines = (this.#rest + text).split(LINE_END);
    this.#rest = /** @type {string} */ (lines.pop());
    if (this.#rest.length > LINE_CHARACTERS_MAX) throw new RangeError('the answer holds a line of more than a million characters');
    return lines.flatMap((line) => this.#line(line));
  }

  /** The stream ended: return what a server left without its closing empty line. */
  end() {
    return [...this.#line(this.#rest.replace(/\r$/, '')), ...this.#line('')];
  }

  /** @returns {string[]} */
  #line(/** @type {string} */ line) {
    if (line === '') {
      const data = this.#data.splice(0);
      return data.length ? [data.join('\n')] : [];
    }
    if (line.startsWith('data:')) this.#data.push(line.slice(line[5] === ' ' ? 6 : 5));
    return [];
  }
}
