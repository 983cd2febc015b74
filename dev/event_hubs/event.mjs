// AMQP 1.0 messages as events of the hub, and back. Values become the JSON that the Functions host makes of them
// (Json.NET), which is what a mapping sees in Properties and SystemProperties.
import rhea from 'rhea';

/** Of a message whose data sections are encoded messages themselves: a batch. */
export const BATCH_FORMAT = 0x80013700;

const MESSAGE_ANNOTATIONS = 0x72;
const PROPERTIES = 0x73;
const APPLICATION_PROPERTIES = 0x74;
const DATA = 0x75;
const BODIES_WITHOUT_BYTES = [0x76, 0x77];

const PARTITION_KEY = 'x-opt-partition-key';
/** Set by the hub; what a sender says of them does not count. */
const OF_THE_HUB = new Set([
  PARTITION_KEY,
  'x-opt-sequence-number',
  'x-opt-sequence-number-epoch',
  'x-opt-offset',
  'x-opt-enqueued-time',
]);
const PROPERTY_NAMES = [
  'message-id',
  'user-id',
  'to',
  'subject',
  'reply-to',
  'correlation-id',
  'content-type',
  'content-encoding',
  'absolute-expiry-time',
  'creation-time',
  'group-id',
  'group-sequence',
  'reply-to-group-id',
];

const TIMES = new Set(['absolute-expiry-time', 'creation-time']);

const TICKS_PER_MS = 10_000n;
const UNIX_EPOCH_TICKS = 621_355_968_000_000_000n;

/** A message cannot be an event; the message says why without quoting it. */
export class Malformed extends Error {}

/** The events of a delivery, as JSON objects without their braces, and the partition key if one was given. */
export function readDelivery(bytes, format) {
  const envelope = readSections(bytes);
  const encoded = format === BATCH_FORMAT ? data(envelope) : [bytes];
  if (encoded.length === 0) throw new Malformed('This batch has no messages.');
  const events = encoded.map((each) => (each === bytes ? envelope : readSections(each)));
  const key = annotations(envelope).get(PARTITION_KEY) ?? annotations(events[0]).get(PARTITION_KEY);
  return { events: events.map(event), partitionKey: key && key.value !== null ? String(key.value) : undefined };
}

/**
 * An event of the hub, as the functions host gives it, as an encoded message for a receiver. Values of properties are
 * what JSON has kept of them: 72.0 is 72, bytes and times are texts.
 */
export function write(event) {
  const { types, message } = rhea;
  const own = Object.entries(event.systemProperties);
  const isProperty = ([name]) => PROPERTY_NAMES.includes(name);
  return message.encode({
    ...Object.fromEntries(own.filter(isProperty).map(([name, value]) => [name.replaceAll('-', '_'), property(name, value)])),
    message_annotations: {
      ...Object.fromEntries(own.filter((entry) => !isProperty(entry))),
      'x-opt-sequence-number': types.wrap_long(event.sequenceNumber),
      'x-opt-offset': event.offset,
      'x-opt-enqueued-time': types.wrap_timestamp(Date.parse(event.enqueuedTime)),
      ...(event.partitionKey !== null && { [PARTITION_KEY]: event.partitionKey }),
    },
    application_properties: event.properties,
    body: message.data_section(Buffer.from(event.bodyBase64, 'base64')),
  });
}

/** A property of a message in the type that AMQP gives it. */
function property(name, value) {
  if (name === 'user-id') return Buffer.from(value, 'base64');
  return TIMES.has(name) ? rhea.types.wrap_timestamp(Date.parse(value)) : value;
}

/** A value as JSON, from one that rhea has read with its type. */
export function json(typed, zone = 'Z') {
  const { type, value, descriptor } = typed;
  if (descriptor?.value === 'com.microsoft:datetime-offset') return JSON.stringify(dateTimeOffset(integer(value)));
  switch (type.name) {
    case 'Null':
      return 'null';
    case 'Boolean':
    case 'True':
    case 'False':
      return String(Boolean(value));
    case 'Float':
      return real(value, shortestSingle(value));
    case 'Double':
      return real(value, String(value));
    case 'CharUTF32':
      return JSON.stringify(String.fromCodePoint(value));
    case 'Timestamp':
      return JSON.stringify(time(value, zone));
    case 'Uuid':
      return JSON.stringify(rhea.uuid_to_string(value));
    case 'Vbin8':
    case 'Vbin32':
    case 'Decimal32':
    case 'Decimal64':
    case 'Decimal128':
      return JSON.stringify(value.toString('base64'));
    case 'List0':
    case 'List8':
    case 'List32':
    case 'Array8':
    case 'Array32':
      return `[${value.map((each) => json(each, zone)).join(',')}]`;
    case 'Map8':
    case 'Map32':
      return object(entries(typed), zone);
    default:
      return typeof value === 'string' ? JSON.stringify(value) : String(integer(value, type.name === 'Ulong'));
  }
}

function event(sections) {
  if (BODIES_WITHOUT_BYTES.some((code) => sections.has(code))) {
    throw new Malformed('The body of an event must be data sections: of other bodies a function gets nothing.');
  }
  const values = sections.get(PROPERTIES)?.[0]?.value ?? [];
  const properties = new Map(PROPERTY_NAMES.map((name, n) => [name, values[n]]).filter(([, v]) => v && v.value !== null));
  const foreign = new Map([...annotations(sections)].filter(([name]) => !OF_THE_HUB.has(name)));
  return [
    `"bodyBase64":"${Buffer.concat(data(sections)).toString('base64')}"`,
    `"properties":${object(entries(sections.get(APPLICATION_PROPERTIES)?.[0]))}`,
    `"systemProperties":${object(properties, '+00:00')}`,
    `"annotations":${object(foreign)}`,
  ].join(',');
}

/** The sections of an encoded message by their codes, each with its types. */
function readSections(bytes) {
  const sections = new Map();
  const reader = new rhea.types.Reader(bytes);
  try {
    while (reader.remaining() > 0) {
      const section = reader.read();
      const code = Number(BigInt(section.descriptor.value)); // throws for what is no section's number
      sections.set(code, [...(sections.get(code) ?? []), section]);
    }
  } catch {
    throw new Malformed('This is not an AMQP 1.0 message.');
  }
  if (reader.remaining() < 0) throw new Malformed('This AMQP 1.0 message is cut off.');
  return sections;
}

function data(sections) {
  return (sections.get(DATA) ?? []).map((section) => section.value);
}

function annotations(sections) {
  return entries(sections?.get(MESSAGE_ANNOTATIONS)?.[0]);
}

function entries(map) {
  const found = new Map();
  const items = map?.value ?? [];
  for (let n = 0; n + 1 < items.length; n += 2) found.set(String(items[n].value), items[n + 1]);
  return found;
}

function object(values, zone) {
  return `{${[...values].map(([name, value]) => `${JSON.stringify(name)}:${json(value, zone)}`).join(',')}}`;
}

/** rhea leaves a 64-bit integer that a JavaScript number cannot hold as its bytes. */
function integer(value, unsigned = false) {
  if (!Buffer.isBuffer(value)) {
    if (!Number.isInteger(value)) throw new Malformed('A time of the message is not given as a number.');
    return BigInt(value);
  }
  return unsigned ? value.readBigUInt64BE() : value.readBigInt64BE();
}

/** Json.NET writes a point into every real number, and what is none as a text. */
function real(value, text) {
  if (!Number.isFinite(value)) return JSON.stringify(String(value));
  return /[.e]/.test(text) ? text : `${text}.0`;
}

function shortestSingle(value) {
  for (let digits = 6; digits < 9; digits += 1) {
    const text = String(Number(value.toPrecision(digits)));
    if (Math.fround(Number(text)) === value) return text;
  }
  return String(Number(value.toPrecision(9)));
}

function time(date, zone) {
  if (Number.isNaN(date.getTime())) throw new Malformed('A time of the message lies outside the years 1 to 9999.');
  return date.toISOString().replace(/\.?0*Z$/, zone);
}

function dateTimeOffset(ticks) {
  const sinceEpoch = ticks - UNIX_EPOCH_TICKS;
  const date = new Date(Number(sinceEpoch / TICKS_PER_MS));
  if (Number.isNaN(date.getTime())) throw new Malformed('A time of the message lies outside the years 1 to 9999.');
  const fraction = String(((sinceEpoch % 10_000_000n) + 10_000_000n) % 10_000_000n).padStart(7, '0');
  return `${date.toISOString().slice(0, 19)}.${fraction}`.replace(/\.?0*$/, '') + '+00:00';
}
