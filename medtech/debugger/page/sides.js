// Two resources element by element, as comparing names the elements.

import { find } from './json_text.js';
import { visible } from './dom.js';

// The system of a code that names a value, as the app writes it.
const NAMES = 'https://azure.microsoft.com/en-us/services/iomt-fhir-connector/';

/**
 * The elements of two resources: `{name, differs, ours, stored}`, texts of JSON, empty for a side that has none.
 *
 * `ours` and `stored` (null if there is none) are nodes of `text`; `differing` are names such as `value`, `effective` or
 * `component:systolic`. Numbers keep all of their digits, and invisible characters are escapes.
 */
export function elementsOf(text, ours, stored, differing) {
  const own = members(text, ours);
  const others = members(text, stored);
  const names = [...new Set([...own.keys(), ...others.keys()])];
  const rows = names.map((name) => ({
    name,
    differs: differing.includes(name),
    ours: own.get(name) ?? '',
    stored: others.get(name) ?? '',
  }));
  return [...rows, ...components(text, ours, stored, differing)];
}

/** The texts of a resource's elements but its components; `value` and `effective` are one, whichever form they have. */
function members(text, resource) {
  const found = new Map();
  for (const { name, node } of resource?.properties ?? []) {
    if (name === 'component' && node.kind === 'array') continue;
    const [choice] = /^_?(?:value|effective)(?=[A-Z])/.exec(name) ?? [];
    const base = /^_?dataAbsentReason$/.test(name) ? 'value' : choice?.replace('_', '');
    const written = layout(text, node);
    if (base) found.set(base, [found.get(base), `${visible(JSON.stringify(name))}: ${written}`].filter(Boolean).join('\n'));
    else found.set(name, written);
  }
  return found;
}

/** Components are the same if they share a code: others may have written theirs without its name, or in another order. */
function components(text, ours, stored, differing) {
  const own = listOf(ours);
  const others = listOf(stored);
  const left = new Set(others);
  const pairs = own.map((component) => {
    const codes = codesOf(component);
    const other = [...left].find((each) => [...codesOf(each)].some((code) => codes.has(code)));
    left.delete(other);
    return [component, other];
  });
  pairs.push(...[...left].map((other) => [undefined, other]));
  return pairs.map(([component, other]) => {
    // Comparing names what has no name by its place among the components that are stored.
    const names = [other && (nameOf(other) ?? others.indexOf(other)), component && nameOf(component)]
      .filter((name) => name !== undefined)
      .map((name) => `component:${name}`);
    return {
      name: names[0] ?? 'component',
      differs: names.some((name) => differing.includes(name)),
      ours: component ? layout(text, component) : '',
      stored: other ? layout(text, other) : '',
    };
  });
}

function listOf(resource) {
  const list = resource && find(resource, '/component');
  return list?.kind === 'array' ? list.items : [];
}

function codingsOf(component) {
  const codings = find(component, '/code/coding');
  return (codings?.items ?? []).map((each) => [find(each, '/system')?.value, find(each, '/code')?.value]);
}

function codesOf(component) {
  return new Set(codingsOf(component).map((each) => JSON.stringify(each)));
}

function nameOf(component) {
  return codingsOf(component).find(([system]) => system === NAMES)?.[1];
}

/** A node in lines, for people. */
function layout(text, node, indent = '') {
  const inner = `${indent}  `;
  const lines = (open, close, members) =>
    members.length ? `${open}\n${members.map((each) => inner + each).join(',\n')}\n${indent}${close}` : open + close;
  switch (node.kind) {
    case 'object':
      return lines('{', '}', node.properties.map((each) => `${visible(JSON.stringify(each.name))}: ${layout(text, each.node, inner)}`));
    case 'array':
      return lines('[', ']', node.items.map((each) => layout(text, each, inner)));
    case 'string':
      return visible(JSON.stringify(node.value));
    default:
      return text.slice(node.start, node.end);
  }
}
