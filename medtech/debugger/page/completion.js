// What may be written at a place of a mapping. The tree of the editor is asked, which reads JSON that is still open.

import { syntaxTree } from './codemirror.js';

/**
 * A completion source. `words(place)` gives {label, detail?}s for a place `{path, name, isName, siblings}`: `path` are
 * the names of the properties around it, `name` is the property whose value it is, `siblings` the texts beside it.
 */
export function complete(context, words) {
  const node = syntaxTree(context.state).resolveInner(context.pos, -1);
  const quoted = node.name === 'String' || node.name === 'PropertyName';
  if (!quoted && !context.explicit) return null;
  const text = (each) => context.state.sliceDoc(each.from + 1, each.to - 1);
  let property = node.name === 'Property' ? node : node.parent?.name === 'Property' ? node.parent : null;
  const isName = node.name === 'PropertyName' || (!property && !quoted);
  const object = enclosing(node, 'Object');
  const path = [];
  for (let each = object?.parent; each; each = each.parent) {
    if (each.name === 'Property') path.unshift(text(each.getChild('PropertyName')));
  }
  if (!property && node.parent?.name === 'Array') property = enclosing(node, 'Property');
  const siblings = {};
  for (const each of object?.getChildren('Property') ?? []) {
    const [name, value] = [each.getChild('PropertyName'), each.getChild('String')];
    if (name && value) siblings[text(name)] = text(value);
  }
  const name = property?.getChild('PropertyName');
  const place = { path, name: name ? text(name) : '', isName, siblings };
  const before = context.matchBefore(/[\w$@.[\]/{}%-]*/);
  const word = place.name.endsWith('xpression') || place.name === 'value' ? context.matchBefore(/[\w$@]*/) : before;
  const from = quoted && isName ? node.from + 1 : (word?.from ?? context.pos);
  const wrap = (label) => (quoted ? label : `"${label}"`);
  const options = words(place).map(({ label, detail, type }) => ({ label, detail, type, apply: wrap(label) }));
  return options.length ? { from: Math.max(from, quoted ? node.from + 1 : from), options, validFor: /^[\w$@.[\]/{}%-]*$/ } : null;
}

function enclosing(node, name) {
  let each = node;
  while (each && each.name !== name) each = each.parent;
  return each;
}
