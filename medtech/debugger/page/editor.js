// An editor of the page: CodeMirror if it is in this deployment, else a plain text area with the same methods.
//
//   text, cursor                     what is in it; where the cursor is
//   replace(from, to, text)          as if it was typed
//   mark(marks)                      [{from, to, level, message, actions: [{name, apply}]}]
//   light(ranges)                    [{from, to}], brought into view if one is given and none is seen
//   reveal(from, to)                 selects, scrolls there and takes the focus
//
// Its options are {label, onChange(), words(path, value), hover(offset)}; see completion.js and code_editor.js.

import { element } from './dom.js';

/** Makes the editor of a host element. */
export async function openEditor(host, options) {
  if (document.documentElement.dataset.bundle === 'present') {
    const { CodeEditor } = await import('./code_editor.js');
    return new CodeEditor(host, options);
  }
  return new TextArea(host, options);
}

class TextArea {
  constructor(host, { label, onChange }) {
    this.area = element('textarea', { 'aria-label': label, spellcheck: 'false', autocomplete: 'off', wrap: 'off' });
    this.area.addEventListener('input', onChange);
    this.onChange = onChange;
    host.append(this.area);
  }

  get text() {
    return this.area.value;
  }

  set text(text) {
    this.area.value = text;
    this.onChange();
  }

  get cursor() {
    return this.area.selectionStart;
  }

  replace(from, to, text) {
    this.area.setRangeText(text, from, to, 'end');
    this.onChange();
  }

  mark() {}

  light([first]) {
    if (first) this.area.setSelectionRange(first.from, first.to);
  }

  reveal(from, to) {
    this.area.focus();
    this.area.setSelectionRange(from, to);
  }
}
