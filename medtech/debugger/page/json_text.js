// JSON with the place of each value: what a pointer points to, and the pointer of what is at a place.

const WORD = /(?:true|false|null|-?[0-9][0-9.eE+-]*)/y;
const SPACE = /(?:[\s\uFEFF]+|\/\/[^\n]*|\/\*[^]*?\*\/)*/y;

/**
 * The root of a text: `{start, end, kind, value | properties | items}`, or null if it is no JSON.
 *
 * Comments and commas too many are taken, as the app takes them in a mapping. A property is `{name, start, node}`; of
 * several with one name the last one counts.
 */
export function read(text) {
  const reader = new Reader(text);
  try {
    const root = reader.value();
    reader.space();
    return reader.at === text.length ? root : null;
  } catch (fault) {
    // A RangeError is what nests deeper than the stack.
    if (fault instanceof SyntaxError || fault instanceof RangeError) return null;
    throw fault;
  }
}

class Reader {
  constructor(text) {
    this.text = text;
    this.at = 0;
  }

  take(pattern) {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text);
    if (!found) throw new SyntaxError('no JSON');
    this.at = pattern.lastIndex;
    return found[0];
  }

  space() {
    this.take(SPACE);
  }

  string() {
    // By hand: a pattern either goes as deep as a text of a mebibyte is long, or takes ages where its end is missing.
    const start = this.at;
    if (this.text[start] !== '"') throw new SyntaxError('no text');
    for (let end = start; ; ) {
      end = this.text.indexOf('"', end + 1);
      if (end < 0) throw new SyntaxError('no end of a text');
      let escapes = end;
      while (this.text[escapes - 1] === '\\') escapes -= 1;
      if ((end - escapes) % 2 === 0) {
        this.at = end + 1;
        return JSON.parse(this.text.slice(start, this.at));
      }
    }
  }

  value() {
    this.space();
    const start = this.at;
    const first = this.text[start];
    if (first === '{') return this.object(start);
    if (first === '[') return this.list(start);
    const value = first === '"' ? this.string() : JSON.parse(this.take(WORD));
    return { start, end: this.at, kind: value === null ? 'null' : typeof value, value };
  }

  object(start) {
    const properties = [];
    this.members('}', () => {
      const at = this.at;
      const name = this.string();
      this.space();
      if (this.text[this.at++] !== ':') throw new SyntaxError('no colon');
      properties.push({ name, start: at, node: this.value() });
    });
    return { start, end: this.at, kind: 'object', properties };
  }

  list(start) {
    const items = [];
    this.members(']', () => items.push(this.value()));
    return { start, end: this.at, kind: 'array', items };
  }

  members(end, member) {
    this.at += 1;
    this.space();
    while (this.text[this.at] !== end) {
      member();
      this.space();
      if (this.text[this.at] === ',') {
        this.at += 1;
        this.space();
      } else if (this.text[this.at] !== end) throw new SyntaxError('no comma');
    }
    this.at += 1;
  }
}

/** The node of a JSON pointer below a node; null if there is none. */
export function find(node, pointer) {
  const steps = pointer.split('/').slice(1);
  for (const step of steps) {
    const name = step.replaceAll('~1', '/').replaceAll('~0', '~');
    if (node?.kind === 'object') node = node.properties.findLast((each) => each.name === name)?.node;
    else if (node?.kind === 'array' && /^[0-9]+$/.test(name)) node = node.items[Number(name)];
    else return null;
  }
  return node ?? null;
}

/** The pointers of all values around a place, the innermost first. A property's name belongs to its value. */
export function pointersAt(node, offset) {
  const found = [''];
  for (;;) {
    const pointer = found[0];
    let inside = null;
    if (node.kind === 'object') {
      inside = node.properties.find((each) => each.start <= offset && offset <= each.node.end);
      if (inside) found.unshift(`${pointer}/${escape(inside.name)}`);
      node = inside?.node;
    } else if (node.kind === 'array') {
      const index = node.items.findIndex((each) => each.start <= offset && offset <= each.end);
      if (index >= 0) found.unshift(`${pointer}/${index}`);
      node = inside = node.items[index];
    }
    if (!inside) return found;
  }
}

function escape(name) {
  return name.replaceAll('~', '~0').replaceAll('/', '~1');
}

/** A property of an object without regard to case, as the app reads mappings; null if it is absent. */
export function property(node, name) {
  if (node?.kind !== 'object') return null;
  const wanted = name.toLowerCase();
  return node.properties.findLast((each) => each.name.toLowerCase() === wanted)?.node ?? null;
}

/** The value of a node as JavaScript has it. */
export function plain(node) {
  if (node.kind === 'object') return Object.fromEntries(node.properties.map((each) => [each.name, plain(each.node)]));
  return node.kind === 'array' ? node.items.map(plain) : node.value;
}

/** The offset in a text of the character `position` (from 0, in code points) of `line` (from 1). */
export function offsetOf(text, line, position) {
  let start = 0;
  for (let count = 1; count < line; count += 1) {
    const end = text.indexOf('\n', start);
    if (end < 0) return text.length;
    start = end + 1;
  }
  let at = start;
  for (let count = 0; count < position && at < text.length && text[at] !== '\n'; count += 1) {
    at += text.codePointAt(at) > 0xffff ? 2 : 1;
  }
  return at;
}
