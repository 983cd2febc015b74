// What the page uses of CodeMirror 6. The bundle has nothing of the app, and the page's own files nothing of CodeMirror.
export { autocompletion, startCompletion } from '@codemirror/autocomplete';
export { json } from '@codemirror/lang-json';
export { HighlightStyle, syntaxHighlighting, syntaxTree } from '@codemirror/language';
export { forceLinting, lintGutter, nextDiagnostic, setDiagnostics } from '@codemirror/lint';
export { EditorState, StateEffect, StateField } from '@codemirror/state';
export { Decoration, EditorView, hoverTooltip, keymap } from '@codemirror/view';
export { tags } from '@lezer/highlight';
export { basicSetup } from 'codemirror';
