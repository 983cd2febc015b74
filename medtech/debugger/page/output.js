// What the messages become: measurements, Observations, and what of it has changed.

import { changes } from './changes.js';
import { chart } from './chart.js';
import { block, element, portions, pretty } from './dom.js';

const CONTEXT_LINES = 2;
const MOST_COMPARED = 200;

/** The measurements of one message. */
export function measurementsOf(result) {
  if (!result?.measurements.length) return [element('p', { class: 'quiet' }, 'No measurement.')];
  return portions(result.measurements, (measurement) =>
    element(
      'div',
      { class: 'card' },
      element('h3', {}, measurement.type),
      rows([
        ['time', measurement.occurrenceTimeUtc],
        ['device', measurement.deviceId],
        ['patient', measurement.patientId],
        ['encounter', measurement.encounterId],
        ['correlation', measurement.correlationId],
        ...measurement.properties.map(({ name, value }) => [name, value]),
      ]),
    ),
  );
}

/** The Observations that one flush would store of all messages. */
export function storedOf(stored) {
  if (!stored.length) return [element('p', { class: 'quiet' }, 'No Observation.')];
  return portions(stored, ({ observation, deviceId, messages, supersededReadings }) => {
    const sampled = observation.valueSampledData;
    const effective = observation.effectivePeriod;
    const details = element('details', {}, element('summary', {}, 'JSON'));
    // A thousand Observations are written out only where somebody looks.
    details.addEventListener('toggle', () => details.append(block(pretty(observation), 'Observation')), { once: true });
    return element(
      'div',
      { class: 'card' },
      element('h3', {}, titleOf(observation)),
      rows([
        ['value', sampled ? `${sampled.data}` : valueOf(observation)],
        ...(observation.component ?? []).map((part) => [titleOf(part), part.valueSampledData?.data ?? valueOf(part)]),
        ['time', effective ? periodOf(effective) : observation.effectiveDateTime],
        ['device', deviceId],
        ['of messages', numbers(messages)],
        ['replaced readings', supersededReadings || null],
      ]),
      [observation, ...(observation.component ?? [])].map((each) => each.valueSampledData && chart(each.valueSampledData)),
      details,
    );
  });
}

function periodOf({ start, end }) {
  return start === end ? start : `${start} to ${end}`;
}

function titleOf({ code }) {
  return code?.text ?? code?.coding?.[0]?.display ?? code?.coding?.[0]?.code ?? '';
}

function valueOf({ valueQuantity, valueString, valueCodeableConcept }) {
  if (valueQuantity) return [valueQuantity.value, valueQuantity.unit ?? valueQuantity.code].filter((each) => each !== undefined).join(' ');
  return valueString ?? valueCodeableConcept?.text ?? valueCodeableConcept?.coding?.[0]?.code ?? null;
}

function numbers(messages) {
  const shown = messages.slice(0, 20).map((each) => each + 1).join(', ');
  return messages.length > 20 ? `${shown}, … (${messages.length})` : shown;
}

/** A table of names and values, without those that have none. */
export function rows(pairs) {
  const given = pairs.filter(([, value]) => value !== null && value !== undefined && value !== '');
  return element(
    'table',
    {},
    element('tbody', {}, given.map(([name, value]) => element('tr', {}, element('th', { scope: 'row' }, name), element('td', {}, String(value))))),
  );
}

/** What two states are compared by: the first MOST_COMPARED of each message's measurements, and of the Observations. */
export function comparable(answer) {
  return pretty({
    measurements: answer.deviceResults.map((result) => result.measurements.slice(0, MOST_COMPARED)),
    observations: answer.storedObservations.slice(0, MOST_COMPARED).map((stored) => stored.observation),
  });
}

/** What of the output has changed. */
export function changesOf(before, after) {
  if (before === null) return [element('p', { class: 'quiet' }, 'There is no earlier state without errors.')];
  if (before === after) return [element('p', { class: 'quiet' }, 'Nothing has changed.')];
  const box = block('', 'Changes');
  box.classList.add('changes');
  for (const run of changes(before, after)) {
    if (run.sign === ' ') box.append(`${around(run.lines)}\n`);
    else box.append(element(run.sign === '+' ? 'ins' : 'del', {}, run.lines.map((line) => `${run.sign} ${line}`).join('\n')));
  }
  return [box];
}

function around(lines) {
  const kept = lines.length <= 2 * CONTEXT_LINES + 1 ? lines : [...lines.slice(0, CONTEXT_LINES), '…', ...lines.slice(-CONTEXT_LINES)];
  return kept.map((line) => `  ${line}`).join('\n');
}
