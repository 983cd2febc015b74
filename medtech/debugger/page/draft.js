// A device template and a FHIR template for a property of a message, from the facts that facts.json has.

import { element, portions } from './dom.js';
import { property, read } from './json_text.js';
import { collectionOf } from './words.js';

const LOINC = 'http://loinc.org';
const UCUM = 'http://unitsofmeasure.org';
const CATEGORY = {
  codes: [{ code: 'vital-signs', system: 'http://terminology.hl7.org/CodeSystem/observation-category', display: 'Vital Signs' }],
  text: 'Vital Signs',
};
const DEVICE_NAMES = ['deviceid', 'device', 'deviceidentifier', 'imei', 'serialnumber', 'serial', 'sensorid', 'id'];
const TIME_NAMES = ['time', 'timestamp', 'datetime', 'enddate', 'date', 'measuredat', 'recordedat', 'at', 'ts', 'effectivedatetime'];
const PATIENT_NAMES = ['patientid', 'patient'];
const LARGEST_SECONDS = 1e11; // as milliseconds that is 1973; as seconds it is far ahead
const PLAIN = /^[A-Za-z_][A-Za-z0-9_]*$/;

const folded = (name) => name.toLowerCase().replaceAll(/[^a-z0-9]/g, '');

/** The readings of a message's body: `{name, value, object}` for each text or number that is neither id nor time. */
export function readingsOf(body, most = 500) {
  const found = [];
  const seen = new Set();
  const others = new Set([...DEVICE_NAMES, ...TIME_NAMES, ...PATIENT_NAMES]);
  const waiting = body ? [body] : [];
  while (waiting.length && found.length < most) {
    const node = waiting.shift();
    if (node.kind === 'array') waiting.push(...node.items.slice(0, most));
    for (const { name, node: value } of node.properties ?? []) {
      if (value.kind === 'object' || value.kind === 'array') waiting.push(value);
      else if (value.kind !== 'null' && !others.has(folded(name)) && !seen.has(name)) {
        seen.add(name);
        found.push({ name, value: value.value, object: node });
      }
    }
  }
  return found;
}

/** `{device, fhir, notes}`: the two containers to add, and what their author has to look at. */
export function draftOf(reading, body, message, facts) {
  const notes = [];
  const fact = facts.properties.find((each) => each.names.includes(folded(reading.name)));
  const panel = fact?.panel && panelOf(fact.panel, reading, facts);
  const names = panel ? panel.parts.map((part) => part.name) : [reading.name];
  const typeName = panel ? fact.panel : (fact?.typeName ?? reading.name);
  const template = {
    typeName,
    typeMatchExpression: `$..[?(${names.map((name) => `@${step(name)}`).join(' && ')})]`,
    ...idAndTime(reading.object, body, message, notes),
    values: names.map((name) => ({ valueName: name, valueExpression: `$.matchedToken${step(name)}`, required: true })),
  };
  const fhir = { typeName, periodInterval: 0 };
  if (panel?.vitalSign || fact?.vitalSign) fhir.category = [CATEGORY];
  fhir.codes = (panel ?? fact)?.codes.map((code) => loinc(code)) ?? [{ code: reading.name, system: 'https://example.org/codes', display: reading.name }];
  if (panel) {
    fhir.components = panel.parts.map(({ name, fact: part }) => ({ codes: [loinc(part)], value: quantity(name, part) }));
  } else if (typeof reading.value !== 'number') {
    fhir.value = { valueName: reading.name, valueType: 'String' };
  } else {
    fhir.value = fact ? quantity(reading.name, fact) : { valueName: reading.name, valueType: 'Quantity' };
  }
  if (!fact) notes.push('No LOINC code is known for this name: put in the code of what is measured, and its unit.');
  else if (typeof reading.value !== 'number') notes.push('The value is no number. If it should be one, change what the device sends.');
  else notes.push('Check that the device measures in this unit.');
  return {
    device: { templateType: 'CalculatedContent', template },
    fhir: { templateType: 'CodeValueFhir', template: fhir },
    notes,
  };
}

function panelOf(name, reading, facts) {
  const panel = facts.panels[name];
  const parts = reading.object.properties
    .map(({ name: own }) => ({ name: own, fact: facts.properties.find((each) => each.panel === name && each.names.includes(folded(own))) }))
    .filter((part) => part.fact)
    .map((part) => ({ name: part.name, fact: panel.parts[part.fact.part] }));
  return { ...panel, parts };
}

function quantity(valueName, { unit, ucum }) {
  return { valueName, valueType: 'Quantity', unit, code: ucum, system: UCUM };
}

function loinc({ code, display }) {
  return { code, system: LOINC, display };
}

function step(name) {
  return PLAIN.test(name) ? `.${name}` : `['${name.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}']`;
}

function idAndTime(object, body, message, notes) {
  const found = {};
  const device = named(object, DEVICE_NAMES);
  const deviceOfBody = named(body, DEVICE_NAMES);
  const system = property(message.root, 'SystemProperties');
  if (device) found.deviceIdExpression = `$.matchedToken${step(device.name)}`;
  else if (deviceOfBody) found.deviceIdExpression = `$.Body${step(deviceOfBody.name)}`;
  else {
    found.deviceIdExpression = "$.SystemProperties['iothub-connection-device-id']";
    if (!property(system, 'iothub-connection-device-id')) notes.push('The message names no device that is known as one: write where its id is.');
  }
  const time = named(object, TIME_NAMES);
  const timeOfBody = named(body, TIME_NAMES);
  if (time) found.timestampExpression = timeOf('matchedToken', time);
  else if (timeOfBody) found.timestampExpression = timeOf('Body', timeOfBody);
  else {
    found.timestampExpression = "$.SystemProperties['iothub-enqueuedtime']";
    if (!property(system, 'iothub-enqueuedtime')) notes.push('The message has no time that is known as one: write where it is.');
  }
  const patient = named(object, PATIENT_NAMES);
  if (patient) found.patientIdExpression = `$.matchedToken${step(patient.name)}`;
  return found;
}

function named(object, names) {
  for (const wanted of names) {
    const found = object?.properties?.find(({ name, node }) => folded(name) === wanted && ['string', 'number'].includes(node.kind));
    if (found) return found;
  }
  return null;
}

function timeOf(where, { name, node }) {
  if (node.kind === 'string') return `$.${where}${step(name)}`;
  const convert = node.value > LARGEST_SECONDS ? 'fromUnixTimestampMs' : 'fromUnixTimestamp';
  const quoted = PLAIN.test(name) ? name : JSON.stringify(name);
  return { value: `${convert}(${where}.${quoted})`, language: 'JmesPath' };
}

/** Adds a container at the end of a mapping's list of templates; null if the text has no such list. */
export function insertion(text, container, collection) {
  if (!text.trim()) {
    return { from: 0, to: text.length, text: `${JSON.stringify({ templateType: collection, template: [container] }, null, 2)}\n` };
  }
  const root = read(text);
  const list = root && property(collectionOf(root)[0], 'template');
  if (list?.kind !== 'array') return null;
  const last = list.items.at(-1);
  const at = last ? last.end : list.start + 1;
  const lines = JSON.stringify(container, null, 2).replaceAll('\n', '\n    ');
  return { from: at, to: at, text: `${last ? ',' : ''}\n    ${lines}${last ? '' : '\n  '}` };
}

/** The readings of a message as buttons. */
export function readingList(readings, choose) {
  if (!readings.length) return [element('p', { class: 'quiet' }, 'The message has no reading.')];
  const buttons = portions(readings, (reading) =>
    element('button', { type: 'button', class: 'reading', onclick: () => choose(reading) }, `${reading.name}: ${String(reading.value).slice(0, 40)}`),
  );
  return [element('div', { class: 'bar' }, buttons)];
}
