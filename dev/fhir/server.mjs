// A FHIR R4 server in memory: Medplum's router, search and validation, with what REST clients of real servers rely on:
// 201 and Location for what a PUT creates, ETag, If-Match, If-None-Match, history with deletions, paging, batches.
//
//   node dev/fhir/server.mjs --port N [--profile NAME] [--data FILE]        base http://127.0.0.1:N/fhir/R4
//
// Prints a line that starts with `ready` once it listens. Transactions, chained searches across types and GraphQL are
// not served, and its CapabilityStatement does not claim them.
import { createServer, STATUS_CODES } from 'node:http';
import { parseArgs } from 'node:util';

globalThis.WebSocket ??= class {}; // Medplum's client names it when loaded; Node 20 has none

const { badRequest, getStatus, isResourceType, normalizeOperationOutcome, notFound } = await import('@medplum/core');
const { FhirRouter } = await import('@medplum/fhir-router');
const { capabilityStatement } = await import('./capabilities.mjs');
const { parseExact, stringifyExact } = await import('./numbers.mjs');
const { names, profile: findProfile } = await import('./profiles.mjs');
const { VersionedRepository } = await import('./repository.mjs');
const { loadDefinitions } = await import('./validation.mjs');

const { values: options } = parseArgs({
  options: { port: { type: 'string' }, profile: { type: 'string', default: 'strict' }, data: { type: 'string' } },
});
if (!options.port || !names.includes(options.profile)) {
  console.error(`usage: server.mjs --port N [--profile ${names.join('|')}] [--data FILE]`);
  process.exit(2);
}

const BASE = '/fhir/R4';
const MAX_BODY_BYTES = 32 * 1024 * 1024;

loadDefinitions();
const profile = findProfile(options.profile);
const repository = new VersionedRepository(profile, options.data);
const router = new FhirRouter();
const metadata = capabilityStatement(profile);

const operationOutcome = (code, diagnostics) => ({
  resourceType: 'OperationOutcome',
  issue: [{ severity: 'error', code, diagnostics }],
});
const versionOf = (header) => header && (/^(?:W\/)?"?([^"]+)"?$/.exec(header)?.[1] ?? header);

/** Headers that name the version that an answer contains or created. */
function versionHeaders(base, status, resource) {
  const { versionId, lastUpdated } = resource?.meta ?? {};
  if (!versionId || status >= 300 || resource.resourceType === 'Bundle') return {};
  const location = `${base}/${resource.resourceType}/${resource.id}/_history/${versionId}`;
  return { etag: `W/"${versionId}"`, lastModified: lastUpdated, ...(status === 201 && { location }) };
}

/** Adds absolute addresses and the link to the next page to the Bundle of a search or a history. */
function paged(base, path, query, bundle) {
  const number = (name, otherwise) => Number.parseInt(query.get(name) ?? '', 10) || otherwise;
  const [count, offset] = [number('_count', 20), number('_offset', 0)];
  const address = (params) => `${base}/${path}${params.size ? `?${params}` : ''}`;
  const link = [{ relation: 'self', url: address(query) }];
  if (offset + count < bundle.total) {
    const next = new URLSearchParams(query);
    next.set('_offset', String(offset + count));
    link.push({ relation: 'next', url: address(next) });
  }
  const entry = bundle.entry.map((each) => ({ ...each, fullUrl: `${base}/${each.fullUrl}` }));
  return { ...bundle, link, entry: entry.length ? entry : undefined };
}

function put(type, id, headers, resource) {
  if (!isResourceType(type)) return { status: 404, resource: notFound };
  if (resource?.resourceType !== type || resource.id !== id) {
    return { status: 400, resource: badRequest('Resource type and id must be those of the address') };
  }
  if (profile.noUpdateCreate && !repository.currentVersion(type, id)?.text) {
    return { status: 405, resource: operationOutcome('not-supported', 'This server assigns ids itself') };
  }
  try {
    const ifMatch = profile.noVersions ? undefined : versionOf(headers['if-match']);
    const written = repository.put(resource, { ifMatch, ifNoneMatch: headers['if-none-match'] });
    return { status: written.created && !profile.createsWith200 ? 201 : 200, resource: written.resource };
  } catch (error) {
    const outcome = normalizeOperationOutcome(error);
    return { status: getStatus(outcome), resource: outcome };
  }
}

/** One interaction, alone or as an entry of a batch: {status, resource} of `method` on a path below the base. */
async function interact(base, method, url, headers, resource) {
  const [path, queryText = ''] = url.split(/\?(.*)/s);
  const query = new URLSearchParams(queryText);
  if (method === 'GET' && path === 'metadata') return { status: 200, resource: metadata };
  if (profile.noVersions && path.includes('_history')) return { status: 405, resource: operationOutcome('not-supported', 'No versions') };
  const [type, id, ...more] = path.split('/');
  if (!isResourceType(type)) return { status: 404, resource: notFound };
  if (method === 'PUT' && id && !more.length) return put(type, id, headers, resource);
  const request = { method, url: `/${url}`, pathname: '', params: {}, query: {}, body: resource, headers };
  const [outcome, result] = await router.handleRequest(request, repository);
  const status = getStatus(outcome);
  if (method === 'DELETE' && status === 200) return { status: 204 };
  const isPaged = status === 200 && ['searchset', 'history'].includes(result?.type) && result.resourceType === 'Bundle';
  const form = id === '_search' ? new URLSearchParams(resource) : query;
  return { status, resource: isPaged ? paged(base, id === '_search' ? type : path, form, result) : result ?? outcome };
}

function findRefused(entries) {
  for (const { request, resource } of entries) {
    if (!resource || !['PUT', 'POST'].includes(request?.method)) continue;
    try {
      repository.check(resource);
    } catch (error) {
      return normalizeOperationOutcome(error);
    }
  }
  return undefined;
}

/** An entry of a batch: {status, resource}. */
async function interactInBatch(base, method, url, headers, resource) {
  if (profile.refusesSearchInBatch && method === 'GET' && /^[A-Za-z]+(?:\?|$)/.test(url)) {
    return {
      status: profile.refusesSearchInBatch,
      resource: operationOutcome('not-supported', 'Searches are not supported in bundles'),
    };
  }
  return interact(base, method, url, headers, resource);
}

async function batch(base, bundle) {
  const supported = bundle?.resourceType === 'Bundle' && bundle.type === 'batch' && !profile.noBatch;
  if (!supported) return { status: 400, resource: operationOutcome('not-supported', 'Only batch bundles are served') };
  const entries = bundle.entry ?? [];
  const refused = profile.refusesWholeBatch && findRefused(entries);
  if (refused) return { status: 400, resource: refused };
  const answers = [];
  for (const { request, resource } of entries) {
    const headers = { 'if-match': request?.ifMatch, 'if-none-match': request?.ifNoneMatch, 'if-none-exist': request?.ifNoneExist };
    const url = String(request?.url ?? '').replace(/^\//, '');
    const answer = await interactInBatch(base, request?.method, url, headers, resource);
    const isError = answer.status >= 400;
    answers.push({
      ...(!isError && answer.resource && { resource: answer.resource }),
      response: {
        status: `${answer.status} ${STATUS_CODES[answer.status] ?? ''}`.trim(),
        ...(!profile.bareEntries && versionHeaders(base, answer.status, answer.resource)),
        ...(isError && { outcome: answer.resource }),
      },
    });
  }
  return { status: 200, resource: { resourceType: 'Bundle', type: 'batch-response', entry: answers } };
}

function parseBody(text, contentType = '') {
  if (!text) return undefined;
  return contentType.includes('x-www-form-urlencoded') ? Object.fromEntries(new URLSearchParams(text)) : parseExact(text);
}

async function answer(request, body) {
  const base = `http://${request.headers.host}${BASE}`;
  const [path] = request.url.split('?');
  if (path !== BASE && !path.startsWith(`${BASE}/`)) return { status: 404, resource: notFound };
  let resource;
  try {
    resource = parseBody(body.toString(), request.headers['content-type']);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return { status: 400, resource: badRequest('The body is not JSON') };
  }
  const url = request.url.slice(BASE.length).replace(/^\//, '');
  if (request.method === 'POST' && url === '') return batch(base, resource);
  return interact(base, request.method, url, request.headers, resource);
}

function send(request, response, { status, resource }) {
  const { etag, lastModified, location } = versionHeaders(`http://${request.headers.host}${BASE}`, status, resource);
  response.writeHead(status, {
    ...(resource && { 'content-type': 'application/fhir+json; charset=utf-8' }),
    ...(etag && { etag, 'last-modified': new Date(lastModified).toUTCString() }),
    ...(location && { location }),
  });
  response.end(resource && stringifyExact(resource));
}

const server = createServer({ keepAliveTimeout: 65_000 }, (request, response) => {
  const chunks = [];
  let size = 0;
  request.on('data', (chunk) => {
    size += chunk.length;
    if (size <= MAX_BODY_BYTES) chunks.push(chunk);
  });
  request.on('end', async () => {
    try {
      send(request, response, size > MAX_BODY_BYTES
        ? { status: 413, resource: operationOutcome('too-long', `More than ${MAX_BODY_BYTES} bytes`) }
        : await answer(request, Buffer.concat(chunks)));
    } catch (error) {
      console.error(error);
      send(request, response, { status: 500, resource: normalizeOperationOutcome(error) });
    }
  });
});

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    server.close(() => process.exit(0));
    server.closeAllConnections();
  });
}
server.on('error', (error) => {
  console.error(error.code === 'EADDRINUSE' ? `Port ${options.port} is used by another program; choose another with --port.` : error.message);
  process.exit(1);
});
server.listen(Number(options.port), '127.0.0.1', () => {
  console.log(`ready at http://127.0.0.1:${server.address().port}${BASE} (profile ${options.profile})`);
});
