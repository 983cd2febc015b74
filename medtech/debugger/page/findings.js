// The findings of an answer: where each one is, the list, and the marks in the editors.

import { element, portions } from './dom.js';
import { offsetOf } from './json_text.js';

const EDITORS = { deviceMapping: 'device', fhirMapping: 'fhir' };
const TITLES = { device: 'Device mapping', fhir: 'FHIR mapping', message: 'Message' };

/** All findings of an answer, each once, with the editor and the range that it is about. */
export function findingsOf(answer, texts, messages) {
  const found = new Map();
  const add = (finding, messageIndex) => {
    const key = JSON.stringify([finding.name, finding.level, finding.message, finding.pointer, messageIndex]);
    if (found.has(key)) return;
    found.set(key, placed(finding, texts, messages, messageIndex));
  };
  for (const finding of answer.templateResult.findings) add(finding, finding.messageIndex);
  answer.deviceResults.forEach((result, index) => result.findings.forEach((finding) => add(finding, index)));
  for (const stored of answer.storedObservations) stored.findings.forEach((finding) => add(finding, stored.messages[0]));
  return [...found.values()].sort((one, other) => (one.level === 'error' ? 0 : 1) - (other.level === 'error' ? 0 : 1));
}

function placed(finding, texts, messages, messageIndex) {
  const { name, level, message, range, fix, line, position } = finding;
  const made = { name, level, message, count: finding.count, editor: null, from: 0, to: 0, where: '', fix: null };
  const editor = EDITORS[finding.mapping];
  if (editor && range) {
    Object.assign(made, { editor, ...within(texts[editor], range), where: `${TITLES[editor]} ${range.line}:${range.position + 1}` });
  } else if (editor && line > 0) {
    const at = offsetOf(texts[editor], line, Math.max(0, position));
    Object.assign(made, { editor, from: at, to: at + 1, where: `${TITLES[editor]} ${line}:${position + 1}` });
  } else if (editor) {
    Object.assign(made, { editor, to: 1, where: TITLES[editor] });
  } else if (messages[messageIndex]) {
    const { start, end } = messages[messageIndex];
    // The beginning: a mark below a whole message says nothing about where.
    Object.assign(made, { editor: 'message', from: start, to: Math.min(end, start + 1), where: `Message ${messageIndex + 1}` });
  }
  if (fix?.range && editor) made.fix = { title: fix.title, replacement: fix.replacement, ...within(texts[editor], fix.range) };
  return made;
}

function within(text, { line, position, endLine, endPosition }) {
  return { from: offsetOf(text, line, position), to: offsetOf(text, endLine, endPosition) };
}

/** The marks of an editor. */
export function marksOf(findings, editor, mend) {
  return findings
    .filter((finding) => finding.editor === editor)
    .map((finding) => ({
      ...finding,
      actions: finding.fix ? [{ name: finding.fix.title, apply: () => mend(finding) }] : [],
    }));
}

/** The list: a place to jump to, what is wrong, and the fix if there is one. */
export function listOf(findings, jump, mend) {
  return portions(findings, (finding) =>
    element(
      'li',
      { 'data-name': finding.name },
      element('span', { class: `level ${finding.level}` }, finding.level),
      finding.editor && element('button', { type: 'button', class: 'jump', onclick: () => jump(finding) }, finding.where),
      element('span', { class: 'said' }, finding.message, finding.count ? ` (${finding.count} times)` : ''),
      finding.fix && element('button', { type: 'button', class: 'fix', onclick: () => mend(finding) }, `Fix: ${finding.fix.title}`),
    ),
  );
}

/** What a screen reader is told of them. */
export function summaryOf(findings) {
  const errors = findings.filter((finding) => finding.level === 'error').length;
  const warnings = findings.length - errors;
  if (!findings.length) return 'No findings.';
  return `${errors} ${errors === 1 ? 'error' : 'errors'}, ${warnings} ${warnings === 1 ? 'warning' : 'warnings'}.`;
}
