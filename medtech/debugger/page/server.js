// What the page asks the app for. Keys go in a header, never in an address.

const FUNCTION_KEY = 'medtech.functionKey';

/** The keys that were typed. The function key outlives a reload of this tab; the admin key does not. */
export class Keys {
  constructor(functionInput, adminInput) {
    this.functionInput = functionInput;
    this.adminInput = adminInput;
    functionInput.value = sessionStorage.getItem(FUNCTION_KEY) ?? '';
    functionInput.addEventListener('input', () => sessionStorage.setItem(FUNCTION_KEY, functionInput.value));
  }

  get function() {
    return this.functionInput.value.trim() || this.admin;
  }

  get admin() {
    return this.adminInput.value.trim();
  }
}

/** What the app refused, or that it could not be reached; the message is for people. */
export class Refused extends Error {}

/** What the app answers, as `take` reads it. Raises Refused. */
async function ask(path, key, request = {}, take = (answer) => answer.json()) {
  let answer;
  try {
    answer = await fetch(path, {
      ...request,
      cache: 'no-store',
      headers: { ...request.headers, ...(key && { 'x-functions-key': key }) },
    });
  } catch (fault) {
    if (fault.name === 'AbortError') throw fault;
    throw new Refused('The app cannot be reached. Check that it runs, and try again.');
  }
  if (answer.status === 401) {
    throw new Refused(key ? 'The app does not take this key.' : 'Type a key of the app: it answers nobody without one.');
  }
  const document = await (answer.ok ? take(answer) : answer.json()).catch((fault) => {
    if (fault.name === 'AbortError') throw fault;
    return null;
  });
  if (answer.ok && document !== null) return document;
  throw new Refused(document?.error ?? `The app answered ${answer.status}. Its log says why.`);
}

/** The app as the page sees it. */
export class Server {
  constructor(keys) {
    this.keys = keys;
  }

  /** `messages` is a JSON list as a text. Raises Refused, and AbortError for what a later request has replaced. */
  validate(deviceMapping, fhirMapping, messages, options, signal) {
    const mappings = { deviceMapping: deviceMapping.trim() ? deviceMapping : undefined, fhirMapping: fhirMapping.trim() ? fhirMapping : undefined };
    const start = JSON.stringify({ ...mappings, ...options });
    const separator = start === '{}' ? '' : ',';
    const body = `${start.slice(0, -1)}${separator}"deviceMessages":${messages}}`;
    return ask('validate', this.keys.function, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body, signal });
  }

  mappingsInForce() {
    return ask('mappings', this.keys.admin);
  }

  causes() {
    return ask('dead-letters', this.keys.admin);
  }

  letter(id) {
    return ask(`dead-letters/${encodeURIComponent(id)}`, this.keys.admin);
  }

  comparison() {
    return ask('comparison', this.keys.admin);
  }

  /** A difference with both sides, as a text: numbers that are read lose digits. */
  difference(id) {
    return ask(`comparison/${encodeURIComponent(id)}`, this.keys.admin, {}, (answer) => answer.text());
  }

  /** A file of the page. */
  part(name) {
    return ask(`debugger/${name}`, '');
  }
}
