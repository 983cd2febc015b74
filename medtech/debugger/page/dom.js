// Elements. What comes from a message or a mapping is only ever a text node or an attribute that is no address.

const SVG = 'http://www.w3.org/2000/svg';

/** An element; attributes that are functions (onclick) are listeners, those that are false, null or undefined are left out. */
export function element(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** As `element`, of a drawing. */
export function drawing(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') made.addEventListener(name.slice('on'.length), value);
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value === true ? '' : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

/** The element of the page with this id. */
export function byId(id) {
  return document.getElementById(id);
}

/** JSON in lines, for people. */
export function pretty(value) {
  return JSON.stringify(value, null, 2);
}

/** A text with its invisible characters as escapes: some turn the direction of what follows, some are all that differs. */
export function visible(text) {
  return text.replace(/(?!\n)[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, (found) =>
    [...Array(found.length).keys()].map((at) => `\\u${found.charCodeAt(at).toString(16).padStart(4, '0')}`).join(''),
  );
}

/** A box of JSON or of text that can be scrolled by keyboard. */
export function block(text, label) {
  return element('pre', { tabindex: '0', role: 'region', 'aria-label': label }, text);
}

const SHOWN = 50;

/** What `show` makes of each item, SHOWN at a time, so that thousands do not hold the page up. */
export function portions(items, show, start = 0) {
  const shown = items.slice(start, start + SHOWN).map((item, at) => show(item, start + at));
  const left = items.length - start - SHOWN;
  if (left <= 0) return shown;
  const more = element('button', { type: 'button' }, `Show more (${left} left)`);
  more.addEventListener('click', () => more.replaceWith(...portions(items, show, start + SHOWN)));
  return [...shown, more];
}
