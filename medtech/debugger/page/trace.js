// Which template took which part of a message, and how each value was found.

import { element, portions } from './dom.js';

const LONGEST = 300;

/** The templates of a mapping with what each took of one message; `light` is told which pointers to show. */
export function traceOf(templates, trace, light) {
  const taken = new Map(trace.map((entry) => [entry.template, entry]));
  return portions(templates, (template, index) => {
    const entry = taken.get(index);
    const count = entry ? matchCount(entry) : 0;
    const title = `${index + 1}. ${template.type || template.kind}`;
    if (!entry) return element('div', { class: 'card quiet' }, element('h3', {}, title), 'Takes nothing of this message.');
    const pointers = entry.matches.map((match) => match.pointer).filter((each) => each !== null);
    return lighting(
      element(
        'div',
        { class: 'card', tabindex: '0', role: 'group', 'aria-label': title, 'data-template': index },
        element('h3', {}, title),
        element('p', {}, `Takes ${count} ${count === 1 ? 'part' : 'parts'} of this message.`),
        ...portions(entry.matches, (match) => matchOf(match, light)),
        entry.matchesLeftOut > 0 && element('p', { class: 'quiet' }, `${entry.matchesLeftOut} more are not shown.`),
      ),
      pointers,
      light,
    );
  });
}

/** How many parts of a message a template takes. */
export function matchCount({ matches, matchesLeftOut }) {
  return matches.length + matchesLeftOut;
}

function matchOf(match, light) {
  const details = element('details', {}, element('summary', {}, match.pointer ?? 'a part that has no place'));
  const show = () =>
    details.append(
      ...portions(match.expressions, (expression) => {
        const last = expression.steps.findLast((step) => step.pointer !== null)?.pointer;
        const pointers = [expression.pointer ?? last].filter((each) => each !== undefined);
        return lighting(element('div', { class: 'card', tabindex: '0' }, ...expressionOf(expression)), pointers, light);
      }),
    );
  details.addEventListener('toggle', show, { once: true });
  return details;
}

/** An expression, what it gave, and its steps. */
export function expressionOf(expression) {
  const gave = expression.error ?? (expression.result === null ? 'nothing' : expression.result);
  return [
    element('h3', {}, expression.property),
    element('p', {}, element('code', {}, expression.expression), element('span', { class: 'quiet' }, ` ${expression.language}`)),
    element('p', { class: expression.error ? 'level error' : '' }, `gives ${gave}`),
    expression.steps.length > 1 &&
      element(
        'ol',
        { 'aria-label': 'Steps' },
        expression.steps.map((step) =>
          element('li', {}, element('code', {}, step.expression), ' → ', element('code', { class: 'quiet' }, short(step))),
        ),
      ),
  ];
}

function short({ value, cut }) {
  const text = value === undefined ? 'nothing' : typeof value === 'string' && cut ? value : JSON.stringify(value);
  return text.length > LONGEST || cut ? `${text.slice(0, LONGEST)}…` : text;
}

/** Lights up the pointers while a card is hovered or has the focus. */
function lighting(card, pointers, light) {
  const on = (event) => {
    event.stopPropagation();
    card.dataset.lit = '';
    light(pointers);
  };
  const off = (event) => {
    event.stopPropagation();
    delete card.dataset.lit;
    light([]);
  };
  card.addEventListener('mouseover', on);
  card.addEventListener('mouseout', off);
  card.addEventListener('focusin', on);
  card.addEventListener('focusout', off);
  return card;
}

/** The expressions of a trace that took the value at a pointer, or computed theirs with it. */
export function takers(trace, pointer) {
  return trace.flatMap((entry) =>
    entry.matches.flatMap((match) =>
      match.expressions
        .filter((expression) => {
          const passed = expression.pointer === null && pointer !== match.pointer;
          return expression.pointer === pointer || (passed && expression.steps.some((step) => step.pointer === pointer));
        })
        .map((expression) => ({ entry, expression })),
    ),
  );
}
