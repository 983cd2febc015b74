// Puts the parts of the page together: what is typed goes to the app, and its answer into the panels.

import { coverageOf, coverageTable, findingTable, foldedOf } from './batch.js';
import { differenceOf, differenceTitle, listOf as comparisonList } from './comparison.js';
import { block, byId, element, pretty } from './dom.js';
import { draftOf, insertion, readingList, readingsOf } from './draft.js';
import { openEditor } from './editor.js';
import { droppable, save, take } from './files.js';
import { findingsOf, listOf as findingList, marksOf, summaryOf } from './findings.js';
import { pointersAt, read } from './json_text.js';
import { causeList, messageOf } from './letters.js';
import { linkOf, stateOf } from './link.js';
import { Message, listOf, messagesOf } from './messages.js';
import { changesOf, comparable, measurementsOf, storedOf } from './output.js';
import { Keys, Refused, Server } from './server.js';
import { expressionOf, matchCount, takers, traceOf } from './trace.js';
import { templatesOf, wordsFor } from './words.js';

const WAIT_MS = 250;
const MOST_SINGLE = 200; // messages whose parts are shown each by itself
const KINDS = ['device', 'fhir', 'message'];
const FILES = { device: 'deviceMapping.json', fhir: 'fhirDestinationMapping.json', message: 'messages.json' };
const SAMPLES = ['start.json', 'hour.json', 'mistakes.json'];
const THEME = 'medtech.theme';

const server = new Server(new Keys(byId('function-key'), byId('admin-key')));
const editors = {};
let facts;
let waiting;
let asked = new AbortController();
let isLoading = false;

/** What the panels show: the answer, and the texts and messages that it is about. */
let shown = null;
/** The texts of outputs without an error: the one to compare with, and the latest. */
let reference = null;
let good = null;
let isPinned = false;

function say(text) {
  byId('notice').textContent = text;
}

/** Runs what a button does, and says what the app refused. */
function doing(action) {
  return async (...given) => {
    try {
      say('');
      await action(...given);
    } catch (fault) {
      if (!(fault instanceof Refused || fault instanceof RangeError || fault instanceof SyntaxError)) throw fault;
      say(fault.message);
    }
  };
}

const texts = () => Object.fromEntries(KINDS.map((kind) => [kind, editors[kind].text]));

function load(state) {
  isLoading = true;
  for (const kind of KINDS) if (state[kind] !== undefined) editors[kind].text = state[kind];
  isLoading = false;
  changed();
}

function changed() {
  if (isLoading) return;
  asked.abort();
  clearTimeout(waiting);
  document.documentElement.dataset.state = 'typed';
  waiting = setTimeout(() => check(), WAIT_MS);
}

async function check() {
  asked.abort();
  asked = new AbortController();
  const { signal } = asked;
  const now = texts();
  if (!now.device.trim() && !now.fhir.trim() && !now.message.trim()) return;
  if (!server.keys.function) {
    byId('summary').textContent = 'Type the function key of the app: it checks mappings for nobody without one.';
    return;
  }
  const messages = messagesOf(now.message, byId('reading').value);
  const isBatch = byId('batch').checked || messages.length > MOST_SINGLE;
  document.documentElement.dataset.state = 'asking';
  try {
    if (isBatch) await checkBatch(now, messages, signal);
    else await checkEach(now, messages, signal);
    document.documentElement.dataset.state = 'answered';
  } catch (fault) {
    if (fault.name === 'AbortError') return;
    document.documentElement.dataset.state = 'refused';
    if (!(fault instanceof Refused)) throw fault;
    byId('summary').textContent = fault.message;
  }
}

async function checkEach(now, messages, signal) {
  const answer = await server.validate(now.device, now.fhir, listOf(messages), { trace: true }, signal);
  // Between its parts the page takes what is typed: those of a large message are long.
  const pause = async () => {
    await new Promise((done) => setTimeout(done));
    signal.throwIfAborted();
  };
  await pause();
  shown = { answer, texts: now, messages, read: messages.map((message, at) => new Message(message, answer.deviceResults[at])), templates: templatesOf(rootOf(now.device)) };
  await pause();
  showFindings(findingsOf(answer, now, messages));
  byId('single').hidden = false;
  byId('batch-result').hidden = true;
  const which = byId('which');
  const chosen = Math.min(Number(which.value) || 0, Math.max(0, messages.length - 1));
  which.replaceChildren(...messages.map((_, index) => element('option', { value: index }, `${index + 1} of ${messages.length}`)));
  which.value = String(chosen);
  await pause();
  showMessage();
  byId('stored').replaceChildren(...storedOf(answer.storedObservations));
  await pause();
  compare(answer);
}

async function checkBatch(now, messages, signal) {
  const answer = await server.validate(now.device, now.fhir, listOf(messages), { aggregate: true }, signal);
  const templates = templatesOf(rootOf(now.device));
  shown = null;
  byId('single').hidden = true;
  byId('batch-result').hidden = false;
  showFindings(findingsOf({ ...answer, deviceResults: [], storedObservations: [] }, now, messages));
  const folded = foldedOf(answer);
  const tables = byId('batch-tables');
  const progress = element('p', { class: 'quiet' }, `${messages.length} messages`);
  tables.replaceChildren(progress, findingTable(folded));
  if (answer.templateResult.findings.some((finding) => finding.level === 'error')) return;
  const ask = (some) => server.validate(now.device, now.fhir, listOf(some), { trace: true }, signal);
  const count = (done) => (progress.textContent = `${done} of ${messages.length} messages looked at`);
  const coverage = await coverageOf(messages, ask, count);
  tables.append(element('h3', {}, 'Coverage of templates'), coverageTable(templates, coverage, messages.length));
}

function rootOf(text) {
  return read(text) ?? { kind: 'object', properties: [] };
}

function showFindings(findings) {
  byId('summary').textContent = summaryOf(findings);
  byId('finding-list').replaceChildren(...findingList(findings, jump, mend));
  for (const kind of KINDS) editors[kind].mark(marksOf(findings, kind, mend));
}

function jump({ editor, from, to }) {
  editors[editor].reveal(from, to);
}

function mend({ editor, fix }) {
  // A text that was changed since has other places; its own findings are on their way.
  if (shown && shown.texts[editor] !== editors[editor].text) return;
  editors[editor].replace(fix.from, fix.to, fix.replacement);
  say(`Done: ${fix.title}.`);
}

function showMessage() {
  const index = Number(byId('which').value) || 0;
  const result = shown.answer.deviceResults[index];
  const message = shown.read[index];
  byId('trace').replaceChildren(...traceOf(shown.templates, result?.trace ?? [], (pointers) => light(index, pointers)));
  byId('measurements').replaceChildren(...measurementsOf(result));
  const readings = message ? readingsOf(message.body) : [];
  byId('draft').replaceChildren(...readingList(readings, (reading) => propose(reading, message)));
}

function light(index, pointers) {
  if (!shown || editors.message.text !== shown.texts.message) return;
  const message = shown.read[index];
  editors.message.light(pointers.map((pointer) => message?.range(pointer)).filter(Boolean));
}

function compare(answer) {
  const now = comparable(answer);
  const all = [...answer.templateResult.findings, ...answer.deviceResults.flatMap((result) => result.findings)];
  const isGood = !all.some((finding) => finding.level === 'error');
  if (isGood && now !== good) {
    if (!isPinned) reference = good;
    good = now;
  }
  const against = isGood ? reference : isPinned ? reference : good;
  byId('changes').replaceChildren(...changesOf(against, now));
}

/** What is below the mouse in the message: the value, and the expressions that took it. */
function hoverMessage(offset) {
  if (!shown || editors.message.text !== shown.texts.message) return null;
  const index = shown.messages.findIndex(({ start, end }) => start <= offset && offset < end);
  const message = shown.read[index];
  const trace = shown.answer.deviceResults[index]?.trace;
  if (!message?.root || !trace?.length) return null;
  for (const own of pointersAt(message.root, offset - message.start)) {
    const pointer = message.pointer(own);
    const found = pointer === null ? [] : takers(trace, pointer);
    if (!found.length) continue;
    const range = message.range(pointer);
    const content = found.flatMap(({ entry, expression }) => [
      element('p', { class: 'quiet' }, `Template ${entry.template + 1}, ${entry.typeName}`),
      ...expressionOf(expression).filter(Boolean),
    ]);
    return { ...range, content };
  }
  return null;
}

/** What is below the mouse in the device mapping: a template, whose matches light up in the message. */
function hoverDevice(offset) {
  if (!shown || editors.device.text !== shown.texts.device) return null;
  const template = shown.templates.findIndex(({ node }) => node.start <= offset && offset < node.end);
  if (template < 0) return null;
  const index = Number(byId('which').value) || 0;
  const entry = shown.answer.deviceResults[index]?.trace?.find((each) => each.template === template);
  const { start, end } = shown.templates[template].node;
  const count = entry ? matchCount(entry) : 0;
  light(index, entry?.matches.map((match) => match.pointer).filter((each) => each !== null) ?? []);
  const content = [element('p', {}, `Takes ${count} ${count === 1 ? 'part' : 'parts'} of message ${index + 1}.`)];
  return { from: Math.max(start, offset - 1), to: end, content, leave: () => light(index, []) };
}

function propose(reading, message) {
  const draft = draftOf(reading, message.body, message, facts);
  const dialog = element('dialog', { 'aria-labelledby': 'draft-heading' });
  const add = () => {
    const parts = { device: ['CollectionContent', draft.device], fhir: ['CollectionFhir', draft.fhir] };
    const found = Object.entries(parts).map(([kind, [collection, container]]) => [kind, insertion(editors[kind].text, container, collection)]);
    dialog.close();
    if (found.some(([, each]) => each === null)) {
      say('A mapping has no list of templates that could be read. Mend it first.');
      return;
    }
    for (const [kind, { from, to, text }] of found) editors[kind].replace(from, to, text);
    say('The templates were added at the end of both mappings.');
  };
  dialog.append(
    element('h2', { id: 'draft-heading' }, `Templates for ${reading.name}`),
    ...draft.notes.map((note) => element('p', {}, note)),
    element('h3', {}, 'Device template'),
    block(pretty(draft.device), 'Device template'),
    element('h3', {}, 'FHIR template'),
    block(pretty(draft.fhir), 'FHIR template'),
    element(
      'div',
      { class: 'bar' },
      element('button', { type: 'button', onclick: add }, 'Add to both mappings'),
      element('button', { type: 'button', onclick: () => dialog.close() }, 'Cancel'),
    ),
  );
  dialog.addEventListener('close', () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

/** What is on its way is about texts that are about to go. */
function loading() {
  asked.abort();
  clearTimeout(waiting);
  document.documentElement.dataset.state = 'loading';
}

async function loadInForce() {
  loading();
  const { deviceMapping, fhirMapping } = await server.mappingsInForce();
  load({ device: deviceMapping ?? '', fhir: fhirMapping ?? '' });
  if (deviceMapping === null || fhirMapping === null) say('The app has no mapping of one of the two kinds in force.');
}

async function loadLetters() {
  const found = await server.causes();
  const panel = byId('letters');
  byId('letter-list').replaceChildren(...causeList(found, doing(loadLetter)).filter(Boolean));
  panel.hidden = false;
  panel.querySelector('button')?.focus();
}

async function loadLetter(id) {
  loading();
  const letter = await server.letter(id);
  if (letter.unreadable) return say(letter.unreadable);
  const text = messageOf(letter);
  if (text === null) return say('This letter holds a measurement, not a message: the FHIR mapping or the FHIR server refused it.');
  load({ message: text });
  editors.message.reveal(0, 0);
}

async function loadComparison() {
  const panel = byId('comparison');
  // What was shown before would pass for the answer.
  panel.hidden = true;
  byId('comparison-list').replaceChildren(...comparisonList(await server.comparison(), doing(openDifference)));
  panel.hidden = false;
  panel.focus();
}

/** Both sides are in the page only while somebody looks at them. */
async function openDifference(id) {
  const text = await server.difference(id);
  document.querySelector('dialog')?.close();
  const dialog = element('dialog', { 'aria-labelledby': 'difference-title' });
  dialog.append(
    element(
      'div',
      { class: 'head' },
      element('h2', { id: 'difference-title' }, differenceTitle(JSON.parse(text))),
      element('button', { type: 'button', onclick: () => dialog.close() }, 'Close'),
    ),
    ...differenceOf(text),
  );
  dialog.addEventListener('close', () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

async function openSample(name) {
  loading();
  const sample = await server.part(name);
  reference = good = null; // another mapping is no change of the one before
  load({ device: sample.deviceMapping, fhir: sample.fhirMapping, message: sample.messages });
}

async function copyLink() {
  const { device, fhir, message } = texts();
  const address = await linkOf({ device, fhir, message, reading: byId('reading').value, batch: byId('batch').checked });
  await navigator.clipboard.writeText(address).then(
    () => say('The link was copied. It holds the mappings and the messages: give it only to those who may read them.'),
    () => {
      location.hash = new URL(address).hash;
      say('Copy the link from the address bar. It holds the mappings and the messages.');
    },
  );
}

async function openLink() {
  const state = await stateOf(location.hash);
  if (!state) return false;
  // The address would otherwise keep in the browser's history what the messages say.
  history.replaceState(null, '', location.pathname);
  if (['auto', 'one', 'lines'].includes(state.reading)) byId('reading').value = state.reading;
  byId('batch').checked = state.batch === true;
  load(Object.fromEntries(KINDS.filter((kind) => typeof state[kind] === 'string').map((kind) => [kind, state[kind]])));
  return true;
}

function chooseTheme() {
  const select = byId('theme');
  const apply = () => {
    if (select.value) document.documentElement.dataset.theme = select.value;
    else delete document.documentElement.dataset.theme;
  };
  select.value = localStorage.getItem(THEME) ?? '';
  apply();
  select.addEventListener('change', () => {
    localStorage.setItem(THEME, select.value);
    apply();
  });
}

async function start() {
  chooseTheme();
  const [words, known] = await Promise.all([server.part('words.json'), server.part('facts.json')]);
  facts = known;
  const isBundled = document.documentElement.dataset.bundle === 'present';
  byId('no-bundle').hidden = isBundled;
  byId('licences').hidden = !isBundled;
  const other = (kind) => () => templatesOf(rootOf(editors[kind].text));
  const options = {
    device: { label: 'Device mapping', words: wordsFor('device', words, other('fhir')), hover: hoverDevice },
    fhir: { label: 'FHIR mapping', words: wordsFor('fhir', words, other('device')) },
    message: { label: 'Messages', hover: hoverMessage },
  };
  for (const kind of KINDS) {
    editors[kind] = await openEditor(byId(kind), { ...options[kind], onChange: changed });
    droppable(byId(kind), doing((files) => take(files, (found, text) => load({ [found === 'message' ? kind : found]: text }))));
  }
  const samples = await Promise.all(SAMPLES.map((name) => server.part(name)));
  byId('sample').append(element('option', { value: '' }, 'choose'), ...samples.map(({ title }, at) => element('option', { value: SAMPLES[at] }, title)));
  byId('sample').addEventListener('change', doing(async () => byId('sample').value && openSample(byId('sample').value)));
  byId('load-in-force').addEventListener('click', doing(loadInForce));
  byId('load-letters').addEventListener('click', doing(loadLetters));
  byId('load-comparison').addEventListener('click', doing(loadComparison));
  byId('open-files').addEventListener('click', () => byId('files').click());
  byId('files').addEventListener('change', doing(() => take(byId('files').files, (kind, text) => load({ [kind]: text }))));
  byId('download').addEventListener('click', () => KINDS.forEach((kind) => editors[kind].text && save(FILES[kind], editors[kind].text)));
  byId('link').addEventListener('click', doing(copyLink));
  byId('which').addEventListener('change', showMessage);
  for (const id of ['reading', 'batch', 'function-key', 'admin-key']) byId(id).addEventListener('input', changed);
  byId('keys').addEventListener('submit', (event) => event.preventDefault());
  byId('pin').addEventListener('click', () => {
    isPinned = !isPinned;
    if (isPinned) reference = good;
    byId('pin').setAttribute('aria-pressed', String(isPinned));
    if (shown) compare(shown.answer);
  });
  addEventListener('hashchange', doing(openLink));
  await doing(async () => (await openLink()) || openSample(SAMPLES[0]))();
  document.documentElement.dataset.ready = '';
}

start();
