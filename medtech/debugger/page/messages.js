// The messages of a text: one, a list of them, or one a line. Each is sent as it is written: a reader of JavaScript
// would change numbers that are longer than its own.

import { find, read } from './json_text.js';

/** `reading` is auto, one or lines. A message is `{start, end, text}`; its places count from the start of the text. */
export function messagesOf(text, reading) {
  if (!text.trim()) return [];
  if (reading === 'one') return [cut(text, 0, text.length)];
  if (reading === 'lines') return lines(text);
  if (isJson(text)) {
    if (text.trimStart()[0] !== '[') return [cut(text, 0, text.length)];
    return read(text).items.map((item) => cut(text, item.start, item.end));
  }
  const found = lines(text);
  return found.length > 1 && isJson(found[0].text) ? found : [cut(text, 0, text.length)];
}

function lines(text) {
  const found = [];
  for (let start = 0; start < text.length; ) {
    const end = text.indexOf('\n', start);
    const stop = end < 0 ? text.length : end;
    if (text.slice(start, stop).trim()) found.push(cut(text, start, stop));
    start = stop + 1;
  }
  return found;
}

function cut(text, start, end) {
  const inside = text.slice(start, end);
  const lead = inside.length - inside.trimStart().length;
  return { start: start + lead, end: start + inside.trimEnd().length, text: inside.trim() };
}

function isJson(text) {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** The messages as the JSON list of a request. What is no JSON goes as the body that a device sent. */
export function listOf(messages) {
  return `[${messages.map(({ text }) => (isJson(text) ? text : JSON.stringify({ Body: text }))).join(',')}]`;
}

/**
 * A message with the place of each of its values. The second argument is what the app answered of it, which says where
 * the body is; while a mapping has errors, no message is tried.
 */
export class Message {
  constructor({ start, text }, { bodyAt, bodyIsText = false } = {}) {
    this.start = start;
    this.root = read(text);
    this.bodyAt = bodyAt === undefined ? this.#probableBody() : bodyAt;
    this.bodyIsText = bodyIsText;
  }

  #probableBody() {
    return this.root && find(this.root, '/Body') ? '/Body' : '';
  }

  /** The range in the editor of a pointer into `{Body, Properties, SystemProperties}`; null if it is not there. */
  range(pointer) {
    if (!this.root || this.bodyAt === null || pointer === null) return null;
    let own = null;
    // What lies in JSON that a text holds is shown as that text.
    if (pointer.startsWith('/Body')) own = this.bodyAt + (this.bodyIsText ? '' : pointer.slice('/Body'.length));
    else if (this.bodyAt === '/Body') own = pointer;
    const node = own === null ? null : find(this.root, own);
    return node && { from: this.start + node.start, to: this.start + node.end };
  }

  /** The pointer into that document of a pointer into the message as it is written; null for what is not of it. */
  pointer(own) {
    if (this.bodyAt === null) return null;
    if (own.startsWith(this.bodyAt)) return `/Body${own.slice(this.bodyAt.length)}`;
    return this.bodyAt === '/Body' ? own : null;
  }

  /** The node of the message's body. */
  get body() {
    return this.root && this.bodyAt !== null && !this.bodyIsText ? find(this.root, this.bodyAt) : null;
  }
}
