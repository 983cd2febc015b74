// Files into the editors, and out of them.

import { element } from './dom.js';
import { property, read } from './json_text.js';

const MOST_BYTES = 16 * 1024 * 1024;

/** Which editor a text is for: device, fhir or message. */
export function kindOf(text) {
  if (!/"(?:templateType|deviceMapping|fhirMapping)"/i.test(text)) return 'message';
  const root = read(text);
  const type = property(property(root, 'content') ?? root, 'templateType')?.value;
  const properties = property(root, 'properties');
  if (type === 'CollectionContent' || property(properties, 'deviceMapping')) return 'device';
  return type === 'CollectionFhir' || property(properties, 'fhirMapping') ? 'fhir' : 'message';
}

/** Puts files into editors: `put(kind, text)`; raises RangeError for one that is too large. */
export async function take(files, put) {
  for (const file of files) {
    if (file.size > MOST_BYTES) throw new RangeError(`${file.name} is over ${MOST_BYTES} bytes. Take a part of it.`);
    const text = (await file.text()).replace(/^\uFEFF/, '');
    put(kindOf(text), text);
  }
}

/** Lets files be dropped on an element. */
export function droppable(target, dropped) {
  target.addEventListener('dragover', (event) => {
    event.preventDefault();
    target.classList.add('dropping');
  });
  target.addEventListener('dragleave', () => target.classList.remove('dropping'));
  // Before the editor below sees it, which would take the text of a file in at its cursor.
  target.addEventListener(
    'drop',
    (event) => {
      target.classList.remove('dropping');
      if (!event.dataTransfer?.files.length) return;
      event.preventDefault();
      event.stopPropagation();
      dropped([...event.dataTransfer.files]);
    },
    { capture: true },
  );
}

/** Saves a text as a file. */
export function save(name, text) {
  const address = URL.createObjectURL(new Blob([text], { type: 'application/json' }));
  element('a', { href: address, download: name }).click();
  URL.revokeObjectURL(address);
}
