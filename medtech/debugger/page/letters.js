// Dead letters: their causes, and the message of one as an example.

import { element } from './dom.js';

/** The causes as a list; `load` is given the id of a cause's example. */
export function causeList({ causes, truncated }, load) {
  if (!causes.length) return [element('p', { class: 'good' }, 'There are no dead letters.')];
  const items = causes.map(({ stage, error, message, letters, lastTime, example }) =>
    element(
      'li',
      { class: 'card' },
      element('h3', {}, `${error} (${stage}): ${letters} ${letters === 1 ? 'letter' : 'letters'}, last ${lastTime}`),
      element('p', {}, message),
      element('button', { type: 'button', onclick: () => load(example.id) }, 'Load an example'),
    ),
  );
  return [element('ul', {}, items), truncated && element('p', { class: 'quiet' }, 'There are more letters than were looked at.')];
}

/** The message of a letter as the text of the editor; null for a letter that holds none. */
export function messageOf({ event }) {
  if (!event) return null;
  const properties = JSON.stringify(event.properties, null, 2);
  const system = JSON.stringify(event.systemProperties, null, 2);
  if (event.bodyBase64 !== undefined) {
    return `{\n"bodyBase64": ${JSON.stringify(event.bodyBase64)},\n"properties": ${properties},\n"systemProperties": ${system}\n}\n`;
  }
  // A body that is JSON is shown as it was sent, and not as a reader of JavaScript would write it again.
  let body = event.body;
  try {
    JSON.parse(body);
  } catch {
    body = JSON.stringify(body);
  }
  return `{\n"Body": ${body},\n"Properties": ${properties},\n"SystemProperties": ${system}\n}\n`;
}
