// Many messages: each finding once, with its count and one example, and how many messages each template takes.

import { element } from './dom.js';

const CHUNK = 250; // traces of so many messages are some megabytes

/** How many messages each template of the device mapping takes; `ask` validates a part of the messages with a trace. */
export async function coverageOf(messages, ask, progress) {
  const counts = new Map();
  let without = 0;
  let unknown = 0;
  for (let start = 0; start < messages.length; ) {
    const { deviceResults } = await ask(messages.slice(start, start + CHUNK));
    // An answer has traces up to a size; the messages after that are asked for again.
    const end = deviceResults.findIndex(({ trace }) => trace === null);
    const traced = end < 0 ? deviceResults : deviceResults.slice(0, end);
    for (const { trace } of traced) {
      if (!trace.length) without += 1;
      for (const { template } of trace) counts.set(template, (counts.get(template) ?? 0) + 1);
    }
    if (!traced.length) unknown += 1;
    start += traced.length || 1;
    progress(start);
  }
  return { counts, without, unknown };
}

/** The findings of an aggregated answer: `{finding, count, of, text}`, errors first. */
export function foldedOf(answer) {
  const found = answer.templateResult.findings.map((finding) => ({
    finding,
    count: finding.count ?? 1,
    of: finding.count ? 'messages or matches' : 'mapping',
    text: null,
  }));
  for (const { findings, aggregatedCount, deviceMessage } of answer.deviceResults) {
    for (const finding of findings) found.push({ finding, count: aggregatedCount, of: 'messages', text: deviceMessage.Body });
  }
  for (const { findings, aggregatedCount, messages } of answer.storedObservations) {
    for (const finding of findings) {
      found.push({ finding, count: aggregatedCount, of: 'Observations', text: `Message ${messages[0] + 1}` });
    }
  }
  const rank = ({ finding }) => (finding.level === 'error' ? 0 : 1);
  return found.sort((one, other) => rank(one) - rank(other) || other.count - one.count);
}

export function findingTable(folded) {
  if (!folded.length) return element('p', { class: 'good' }, 'No findings.');
  const head = ['Level', 'Finding', 'Count', 'Example'].map((name) => element('th', { scope: 'col' }, name));
  const body = element('tbody', {});
  const row = ({ finding, count, of, text }) =>
    element(
      'tr',
      {},
      element('td', { class: `level ${finding.level}` }, finding.level),
      element('td', {}, finding.message),
      element('td', {}, `${count} ${of}`),
      element('td', {}, text === null ? '' : element('code', {}, text.length > 200 ? `${text.slice(0, 200)}…` : text)),
    );
  body.append(...folded.slice(0, 500).map(row));
  return scrollable('Findings of the batch', element('table', { id: 'batch-findings' }, element('thead', {}, element('tr', {}, head)), body));
}

export function coverageTable(templates, { counts, without, unknown }, total) {
  const head = ['Template', 'Messages', 'Share'].map((name) => element('th', { scope: 'col' }, name));
  const row = (name, count) =>
    element(
      'tr',
      {},
      element('th', { scope: 'row' }, name),
      element('td', {}, String(count)),
      element('td', {}, `${((100 * count) / total).toFixed(1)} %`),
    );
  const rows = templates.map((template, index) => row(`${index + 1}. ${template.type || template.kind}`, counts.get(index) ?? 0));
  const body = element('tbody', {}, ...rows, row('none', without), ...(unknown ? [row('too large to tell', unknown)] : []));
  return scrollable('Coverage of templates', element('table', { id: 'coverage' }, element('thead', {}, element('tr', {}, head)), body));
}

function scrollable(label, table) {
  return element('div', { class: 'wide', tabindex: '0', role: 'region', 'aria-label': label }, table);
}
