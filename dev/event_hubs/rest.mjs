// The REST call of Event Hubs: `POST /HUB/messages` and `POST /HUB/partitions/ID/messages`, one event or a batch.
import { createServer } from 'node:http';

import { AccessDenied } from './access.mjs';
import { HubError, MAX_MESSAGE_BYTES, NOT_FOUND, OUT_OF_RANGE, BUSY } from './hubs.mjs';

const SEND = /^\/([^/]+)(?:\/partitions\/([^/]+))?\/messages\/?$/i;
const BATCH = 'application/vnd.microsoft.servicebus.json';
/** Headers of HTTP itself. Each other one is a property of the event. */
const OF_HTTP = new Set(
  ('accept accept-charset accept-encoding accept-language authorization brokerproperties cache-control connection ' +
    'content-encoding content-length content-type cookie date dnt expect forwarded from host keep-alive origin pragma ' +
    'referer te trailer transfer-encoding upgrade user-agent via').split(' '),
);

class RequestRefused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Serves the call on a port of 127.0.0.1. */
export function listen(port, access, hubs) {
  const server = createServer(async (request, response) => {
    try {
      await send(request, access, hubs);
      response.writeHead(201).end();
    } catch (error) {
      const [status, detail] = refusal(error);
      response.writeHead(status, { 'content-type': 'application/xml; charset=utf-8' });
      response.end(`<Error><Code>${status}</Code><Detail>${escaped(detail)}</Detail></Error>`);
    }
  });
  server.listen(port, '127.0.0.1');
}

async function send(request, access, hubs) {
  const { pathname } = new URL(request.url, 'http://127.0.0.1');
  const [, escapedHub, partition] = SEND.exec(pathname) ?? [];
  if (escapedHub === undefined) {
    throw new RequestRefused(404, 'Events are posted to /HUB/messages or /HUB/partitions/ID/messages.');
  }
  if (request.method !== 'POST') throw new RequestRefused(405, 'Events are sent with POST.');
  const hub = decodeURIComponent(escapedHub);
  const token = request.headers.authorization;
  if (token === undefined) throw new AccessDenied('MissingToken: The authorization header was not found.');
  if (!access.grant(token).covers(hub)) throw new AccessDenied('InvalidToken: The token is for another hub.');
  const body = await bodyOf(request);
  const [contentType] = (request.headers['content-type'] ?? '').split(';');
  const isBatch = contentType.trim().toLowerCase() === BATCH;
  const messages = isBatch ? batch(body) : [single(request, body)];
  const keys = new Set(messages.map(({ partitionKey }) => partitionKey));
  if (keys.size > 1) throw new RequestRefused(400, 'The messages of a batch must have the same partition key.');
  const [partitionKey] = keys;
  await hubs.store(hub, messages.map(({ event }) => event), { partition, partitionKey });
}

/** One event: the body as it is, and headers as properties. */
function single(request, body) {
  const names = request.rawHeaders.filter((_, n) => n % 2 === 0).filter((name) => !OF_HTTP.has(name.toLowerCase()));
  const properties = Object.fromEntries(names.map((name) => [name, unquoted(request.headers[name.toLowerCase()])]));
  return message(body, properties, parsed(request.headers.brokerproperties ?? '{}', 'The header BrokerProperties'));
}

/** `[{"Body": text, "UserProperties": {...}, "BrokerProperties": {"PartitionKey": text}}, ...]` */
function batch(body) {
  const items = parsed(body.toString('utf8'), 'The body of a batch');
  const valid = Array.isArray(items) && items.length > 0 && items.every((each) => typeof each?.Body === 'string');
  if (!valid) throw new RequestRefused(400, 'A batch is an array of objects, each with a text as its Body.');
  return items.map((each) => message(Buffer.from(each.Body), each.UserProperties ?? {}, each.BrokerProperties ?? {}));
}

function message(body, properties, brokerProperties) {
  const { PartitionKey: partitionKey } = brokerProperties ?? {};
  if (partitionKey !== undefined && typeof partitionKey !== 'string') {
    throw new RequestRefused(400, 'PartitionKey must be a text.');
  }
  const event = `"bodyBase64":"${body.toString('base64')}","properties":${JSON.stringify(properties)}`;
  return { event, partitionKey };
}

async function bodyOf(request) {
  const parts = [];
  let size = 0;
  for await (const part of request) {
    size += part.length;
    if (size <= MAX_MESSAGE_BYTES) parts.push(part); // the rest is read and dropped, so that the answer is seen
  }
  if (size > MAX_MESSAGE_BYTES) {
    throw new RequestRefused(413, `The request has ${size} bytes; at most ${MAX_MESSAGE_BYTES} are taken.`);
  }
  return Buffer.concat(parts);
}

function parsed(text, what) {
  try {
    return JSON.parse(text);
  } catch {
    throw new RequestRefused(400, `${what} is not valid JSON.`);
  }
}

function unquoted(text) {
  return /^".*"$/.test(text) ? text.slice(1, -1) : text;
}

function refusal(error) {
  if (error instanceof AccessDenied) return [401, error.message];
  if (error instanceof RequestRefused) return [error.status, error.message];
  if (error instanceof URIError) return [400, 'The address is not escaped as addresses are.'];
  if (!(error instanceof HubError)) {
    console.error(error);
    return [500, 'This local namespace failed; see its log.'];
  }
  return [{ [NOT_FOUND]: 404, [OUT_OF_RANGE]: 400, [BUSY]: 503 }[error.condition] ?? 400, error.message];
}

function escaped(text) {
  return text.replace(/[&<>]/g, (character) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[character]);
}
