// What comparing has found: counts by type, examples, and one difference with both sides.

import { changes } from './changes.js';
import { element, portions, visible } from './dom.js';
import { find, read } from './json_text.js';
import { elementsOf } from './sides.js';

const COUNTS = ['compared', 'same', 'absent', 'different'];

/** The counts and the examples; `show` is given the id of a difference. */
export function listOf(found, show) {
  if (!found.compared) {
    const why = found.comparing
      ? 'Nothing was compared yet. Counts come after the first window; what is absent or different is judged again until COMPARE_GRACE_MINUTES end.'
      : 'Nothing was compared, and the app does not compare: FHIR_WRITE is not compare.';
    return [element('p', {}, why)];
  }
  const different = found.absent + found.different;
  return [
    !found.comparing && element('p', { class: 'level warning' }, 'The app does not compare now. This is what it found before.'),
    different === 0
      ? element('p', { class: 'good' }, `All ${found.compared} Observations are the same.`)
      : element('p', {}, `Of ${found.compared} Observations ${found.absent} are absent and ${found.different} different.`),
    typeTable(found.types),
    found.differences.length > 0 && element('h3', {}, 'Examples'),
    element('ul', {}, portions(found.differences, (each) => card(each, show))),
    found.truncated && element('p', { class: 'quiet' }, 'There are more than these examples.'),
  ].filter(Boolean);
}

function typeTable(types) {
  const head = [
    element('th', { scope: 'col' }, 'Type'),
    COUNTS.map((name) => element('th', { scope: 'col', class: 'count' }, name)),
    ['Windows from (UTC)', 'to'].map((name) => element('th', { scope: 'col' }, name)),
  ];
  const row = (each) =>
    element(
      'tr',
      {},
      element('th', { scope: 'row' }, visible(each.type)),
      COUNTS.map((name) => element('td', { class: 'count' }, String(each[name]))),
      element('td', {}, minute(each.firstWindow)),
      element('td', {}, minute(each.lastWindow)),
    );
  const table = element('table', { id: 'compared' }, element('thead', {}, element('tr', {}, head)), element('tbody', {}, types.map(row)));
  return element('div', { class: 'wide', tabindex: '0', role: 'region', 'aria-label': 'Compared by type' }, table);
}

function minute(moment) {
  return moment.slice(0, 16).replace('T', ' ');
}

function card(difference, show) {
  const { id } = difference;
  return element(
    'li',
    { class: 'card', 'data-id': id },
    element('h3', {}, differenceTitle(difference)),
    element('p', {}, `${id}, judged ${minute(difference.time)} (UTC)`),
    element('button', { type: 'button', 'aria-label': `Show both sides of ${id}`, onclick: () => show(id) }, 'Show both sides'),
  );
}

/** `heartRate, different: code, value (UnitMismatch)`. */
export function differenceTitle({ type, outcome, elements, error }) {
  const what = elements.length ? `: ${elements.join(', ')}` : '';
  return visible(`${type}, ${outcome}${what}${error ? ` (${error})` : ''}`);
}

/** One difference, of the text that the app answers with: the elements of both sides, those that differ first. */
export function differenceOf(text) {
  const { id, observation, outcome, ours, stored, elements } = JSON.parse(text);
  const about = element('p', {}, visible(`${id}, Observation/${observation}`));
  if (ours === null) return [about, element('p', {}, 'Both sides together were too large to be kept.')];
  const root = read(text);
  const sides = [find(root, '/ours'), stored === null ? null : find(root, '/stored')];
  const rows = elementsOf(text, ...sides, elements);
  const head = element(
    'thead',
    {},
    element('tr', {}, ['As it would be created', 'As it is stored'].map((name) => element('th', { scope: 'col' }, name))),
  );
  const absent = outcome === 'absent' && element('p', {}, 'No such Observation is stored.');
  const table = element('table', { class: 'sides' }, head, [...rows.filter((row) => row.differs), ...rows.filter((row) => !row.differs)].map(group));
  return [about, absent, element('div', { class: 'wide', tabindex: '0', role: 'region', 'aria-label': 'Both sides' }, table)].filter(Boolean);
}

function group({ name, differs, ours, stored }) {
  const [left, right] = differs ? marked(ours, stored) : [ours, stored];
  return element(
    'tbody',
    { 'data-element': visible(name), 'data-differs': differs },
    element('tr', {}, element('th', { scope: 'rowgroup', colspan: 2 }, visible(name), differs && ': differs')),
    element('tr', {}, [left, right].map((side) => element('td', {}, side === '' ? '–' : element('pre', {}, side)))),
  );
}

/** Both texts with the lines marked that the other does not have. */
function marked(ours, stored) {
  const sides = { '-': [], '+': [] };
  const put = (side, run) => side.push(side.length ? '\n' : '', run);
  for (const { sign, lines } of changes(ours, stored)) {
    const text = lines.join('\n');
    if (sign === ' ') Object.values(sides).forEach((side) => put(side, text));
    else put(sides[sign], element('mark', {}, text));
  }
  return [ours && sides['-'], stored && sides['+']];
}
