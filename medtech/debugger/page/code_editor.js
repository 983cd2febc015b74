// CodeMirror as the page uses it.
//
// Each editor has a shadow root: there CodeMirror puts its styles into adoptedStyleSheets, where elsewhere it would
// make elements of styles, which the Content-Security-Policy of the page forbids.

import {
  Decoration,
  EditorState,
  EditorView,
  HighlightStyle,
  StateEffect,
  StateField,
  basicSetup,
  autocompletion,
  hoverTooltip,
  json,
  lintGutter,
  setDiagnostics,
  syntaxHighlighting,
  tags,
} from './codemirror.js';
import { complete } from './completion.js';
import { element } from './dom.js';

const MOST_MARKS = 500;

const theme = EditorView.theme({
  '&': { height: '100%', color: 'var(--ink)', backgroundColor: 'var(--paper)', fontSize: '13px' },
  '.cm-scroller': { fontFamily: 'ui-monospace, monospace', lineHeight: '1.45' },
  '.cm-content': { caretColor: 'var(--ink)' },
  '.cm-cursor': { borderLeftColor: 'var(--ink)' },
  '.cm-gutters': { backgroundColor: 'var(--panel)', color: 'var(--quiet)', borderRight: '1px solid var(--line)' },
  '.cm-activeLine': { backgroundColor: 'color-mix(in srgb, var(--panel) 60%, transparent)' },
  '.cm-activeLineGutter': { backgroundColor: 'var(--line)', color: 'var(--ink)' },
  '&.cm-focused .cm-selectionBackground, .cm-selectionBackground': { backgroundColor: 'var(--taken) !important' },
  '&.cm-focused .cm-matchingBracket': { backgroundColor: 'var(--taken)' },
  '.cm-foldPlaceholder': { backgroundColor: 'var(--panel)', color: 'var(--quiet)', borderColor: 'var(--line)' },
  '.cm-tooltip, .cm-panels': { backgroundColor: 'var(--panel)', color: 'var(--ink)', borderColor: 'var(--line)', maxWidth: 'min(40rem, 90vw)' },
  '.cm-tooltip': { border: '1px solid var(--line)', borderRadius: '4px', overflowWrap: 'anywhere' },
  '.cm-tooltip-autocomplete > ul > li[aria-selected]': { backgroundColor: 'var(--accent)', color: 'var(--paper)' },
  '.cm-completionDetail': { color: 'inherit', marginLeft: '1em' },
  '.cm-diagnosticAction': { backgroundColor: 'var(--accent)', color: 'var(--paper)' },
  '.cm-searchMatch, .cm-selectionMatch': { backgroundColor: 'var(--taken)' },
  '.cm-textfield, .cm-button': { backgroundColor: 'var(--paper)', backgroundImage: 'none', color: 'var(--ink)' },
  '.lit': { backgroundColor: 'var(--lit)' },
  '.steps': { padding: '0.4rem 0.6rem', maxHeight: '20rem', overflow: 'auto' },
});

const colours = HighlightStyle.define([
  { tag: tags.propertyName, color: 'var(--name)' },
  { tag: tags.string, color: 'var(--text)' },
  { tag: [tags.number, tags.bool, tags.null], color: 'var(--number)' },
]);

const setLit = StateEffect.define();
const lit = Decoration.mark({ class: 'lit' });

const litRanges = StateField.define({
  create: () => Decoration.none,
  update(shown, transaction) {
    for (const effect of transaction.effects) if (effect.is(setLit)) return effect.value;
    return shown.map(transaction.changes);
  },
  provide: (field) => EditorView.decorations.from(field),
});

export class CodeEditor {
  constructor(host, { label, onChange, words, hover }) {
    const root = host.attachShadow({ mode: 'open' });
    this.view = new EditorView({
      root,
      parent: root,
      state: EditorState.create({
        extensions: [
          basicSetup,
          json(),
          theme,
          syntaxHighlighting(colours),
          lintGutter(),
          litRanges,
          autocompletion(words ? { override: [(context) => complete(context, words)] } : {}),
          EditorView.contentAttributes.of({ 'aria-label': label, 'aria-multiline': 'true', tabindex: '0' }),
          EditorView.updateListener.of((update) => update.docChanged && onChange()),
          hover ? hoverTooltip((_view, offset) => this.#tooltip(hover(offset))) : [],
        ],
      }),
    });
  }

  #tooltip(found) {
    if (!found) return null;
    const dom = element('div', { class: 'steps' }, ...found.content);
    return { pos: found.from, end: found.to, above: false, create: () => ({ dom, destroy: found.leave }) };
  }

  get text() {
    return this.view.state.doc.toString();
  }

  set text(text) {
    this.view.dispatch({ changes: { from: 0, to: this.view.state.doc.length, insert: text }, selection: { anchor: 0 } });
  }

  get cursor() {
    return this.view.state.selection.main.head;
  }

  replace(from, to, insert) {
    this.view.dispatch({ changes: { from, to, insert }, userEvent: 'input' });
  }

  mark(marks) {
    const diagnostics = marks.slice(0, MOST_MARKS).map(({ from, to, level, message, actions }) => ({
      ...this.#within(from, to),
      severity: level,
      message,
      actions: actions.map(({ name, apply }) => ({ name, apply: () => apply() })),
    }));
    this.view.dispatch(setDiagnostics(this.view.state, diagnostics));
  }

  light(ranges) {
    const within = ranges.map(({ from, to }) => this.#within(from, to)).filter(({ from, to }) => from < to);
    const effects = [setLit.of(Decoration.set(within.map(({ from, to }) => lit.range(from, to)), true))];
    const seen = (range) => this.view.visibleRanges.some(({ from, to }) => range.from < to && from < range.to);
    if (within.length && !within.some(seen)) effects.push(EditorView.scrollIntoView(within[0].from, { y: 'center' }));
    this.view.dispatch({ effects });
  }

  reveal(from, to) {
    const range = this.#within(from, to);
    this.view.focus();
    this.view.dispatch({
      selection: { anchor: range.from, head: range.to },
      effects: EditorView.scrollIntoView(range.from, { y: 'center' }),
    });
  }

  #within(from, to) {
    const length = this.view.state.doc.length;
    return { from: Math.min(from, length), to: Math.min(Math.max(from, to), length) };
  }
}
