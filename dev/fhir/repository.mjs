// Every version of every resource, in memory; with a file, also one JSON line per version, read at the next start.
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { randomUUID } from 'node:crypto';
import {
  applyPatch, badRequest, evalFhirPath, gone, matchesSearchRequest, normalizeOperationOutcome, notFound, OperationOutcomeError,
  preconditionFailed,
} from '@medplum/core';
import { FhirRepository } from '@medplum/fhir-router';
import { parseExact, stringifyExact, toPlain } from './numbers.mjs';
import { validate } from './validation.mjs';

const LONG_TIME = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3})\d+(Z|[+-]\d\d:\d\d)$/;
const LITERAL_REFERENCE = /(?:^|\/)([A-Z][A-Za-z]+)\/([A-Za-z0-9.-]{1,64})(?:\/_history\/[^/]+)?$/;

const fail = (outcome) => { throw new OperationOutcomeError(outcome); };

/** Splits a search value at an unescaped separator; parts keep their escapes. */
function splitValue(text, separator) {
  const parts = [''];
  for (let i = 0; i < text.length; i++) {
    if (text[i] === '\\') parts[parts.length - 1] += text[i] + (text[++i] ?? '');
    else if (text[i] === separator) parts.push('');
    else parts[parts.length - 1] += text[i];
  }
  return parts;
}
const unescapeValue = (text) => text.replace(/\\(.)/gs, '$1');

export class VersionedRepository extends FhirRepository {
  /** `resources`: type → id → {versions, plain}; a version is {versionId, lastUpdated, method, text?}, oldest first. */
  constructor(profile, file) {
    super();
    this.profile = profile;
    this.file = file;
    this.resources = new Map();
    if (file && existsSync(file)) {
      for (const line of readFileSync(file, 'utf8').split('\n').filter(Boolean)) {
        const { type, id, ...version } = JSON.parse(line);
        this.#keep(type, id, version);
      }
    }
  }

  #keep(type, id, version) {
    if (!this.resources.has(type)) this.resources.set(type, new Map());
    const ofType = this.resources.get(type);
    if (!ofType.has(id)) ofType.set(id, { versions: [], plain: undefined });
    const record = ofType.get(id);
    record.versions.push(version);
    record.plain = version.text && JSON.parse(version.text);
  }

  #record(type, id) {
    return this.resources.get(type)?.get(id);
  }

  #write(type, id, method, resource) {
    const count = this.#record(type, id)?.versions.length ?? 0;
    const version = {
      versionId: this.profile.randomVersions ? randomUUID() : String(count + 1),
      lastUpdated: new Date().toISOString(),
      method,
    };
    if (resource) {
      const { versionId, lastUpdated } = version;
      const meta = { ...resource.meta, ...(this.profile.noVersions ? {} : { versionId }), lastUpdated };
      version.text = stringifyExact({ ...resource, id, meta });
    }
    this.#keep(type, id, version);
    if (this.file) appendFileSync(this.file, `${JSON.stringify({ type, id, ...version })}\n`);
    return version;
  }

  #accepted(resource) {
    const kept = this.profile.cutsTimes
      ? JSON.parse(JSON.stringify(resource), (_, value) => (typeof value === 'string' ? value.replace(LONG_TIME, '$1$2') : value))
      : resource;
    const plain = toPlain(kept);
    validate(plain);
    if (this.profile.checksReferences) {
      JSON.stringify(plain, (key, value) => {
        const [, type, id] = (key === 'reference' && typeof value === 'string' && LITERAL_REFERENCE.exec(value)) || [];
        if (type && !this.#record(type, id)?.plain) fail(badRequest(`Resource ${type}/${id} not found`, 'reference'));
        return value;
      });
    }
    return kept;
  }

  /** Checks a resource without storing it. */
  check(resource) {
    this.#accepted(resource);
  }

  setMode() {}

  generateId() {
    return randomUUID();
  }

  async createResource(resource) {
    const id = this.generateId();
    return parseExact(this.#write(resource.resourceType, id, 'POST', this.#accepted(resource)).text);
  }

  /** A PUT. `ifMatch` is a version id, `ifNoneMatch` is '*'. Returns the resource and whether it is new. */
  put(resource, { ifMatch, ifNoneMatch }) {
    const { resourceType: type, id } = resource;
    const accepted = this.#accepted(resource);
    const current = this.#record(type, id)?.plain;
    if (ifNoneMatch === '*' && current && !this.profile.ignoresIfNoneMatch) fail(preconditionFailed);
    if (ifMatch !== undefined && (!current || this.currentVersion(type, id).versionId !== ifMatch)) fail(preconditionFailed);
    if (current && ifMatch === undefined && this.profile.wantsIfMatch) fail(badRequest('An update of this resource type needs If-Match'));
    return { created: !current, resource: parseExact(this.#write(type, id, 'PUT', accepted).text) };
  }

  async updateResource(resource, options) {
    return this.put(resource, options ?? {}).resource;
  }

  async patchResource(resourceType, id, patch, options) {
    const resource = await this.readResource(resourceType, id);
    if (!Array.isArray(patch)) fail(badRequest('Patch body must be an array'));
    const errors = applyPatch(resource, patch).filter(Boolean);
    if (errors.length) fail(badRequest(errors.map((error) => error.message).join('\n')));
    return this.updateResource(resource, options);
  }

  async deleteResource(type, id, options) {
    const record = this.#record(type, id);
    if (!record) fail(notFound);
    if (!record.plain) return;
    if (options?.ifMatch && this.currentVersion(type, id).versionId !== options.ifMatch) fail(preconditionFailed);
    this.#write(type, id, 'DELETE');
  }

  currentVersion(type, id) {
    return this.#record(type, id)?.versions.at(-1);
  }

  async readResource(type, id) {
    const version = this.currentVersion(type, id) ?? fail(notFound);
    return version.text ? parseExact(version.text) : fail(gone);
  }

  async readReference(reference) {
    const [, type, id] = LITERAL_REFERENCE.exec(reference.reference ?? '') ?? fail(badRequest('Invalid reference'));
    return this.readResource(type, id);
  }

  async readReferences(references) {
    return Promise.all(references.map((each) => this.readReference(each).catch((error) => new OperationOutcomeError(normalizeOperationOutcome(error)))));
  }

  async readVersion(type, id, versionId) {
    const version = this.#record(type, id)?.versions.find((each) => each.versionId === versionId) ?? fail(notFound);
    return version.text ? parseExact(version.text) : fail(gone);
  }

  /** Deletions included. The server adds addresses and the link to the next page. */
  async readHistory(type, id, { offset = 0, limit = 20 } = {}) {
    const stored = (this.#record(type, id) ?? fail(notFound)).versions;
    const versions = stored.toReversed();
    if (this.profile.givesOldestFirst) {
      // Reverses each run of versions between deletions.
      const deletions = (version) => stored.slice(stored.indexOf(version)).filter(({ method }) => method === 'DELETE').length;
      const isDeletion = ({ method }) => Number(method === 'DELETE');
      versions.sort((a, b) => deletions(a) - deletions(b) || isDeletion(b) - isDeletion(a) || stored.indexOf(a) - stored.indexOf(b));
    }
    const entry = versions.slice(offset, offset + limit).map(({ versionId, lastUpdated, method, text }) => ({
      fullUrl: `${type}/${id}`,
      ...(text && { resource: parseExact(text) }),
      request: { method, url: method === 'POST' ? type : `${type}/${id}` },
      response: {
        status: method === 'DELETE' ? '204' : versionId === stored[0].versionId ? '201' : '200',
        etag: `W/"${versionId}"`,
        lastModified: lastUpdated,
      },
    }));
    return { resourceType: 'Bundle', type: 'history', total: versions.length, entry };
  }

  /** Compared without regard to case, as many servers do; escapes as R4 search defines them. */
  #hasIdentifier(plain, value) {
    const length = this.profile.identifierLength ?? Infinity;
    return splitValue(value, ',').some((alternative) => {
      const parts = splitValue(alternative, '|').map(unescapeValue);
      const [system, wanted] = parts.length > 1 ? parts : [undefined, parts[0]];
      return [plain.identifier ?? []].flat().some((identifier) =>
        identifier.value?.slice(0, length).toLowerCase() === wanted.toLowerCase()
        && (system === undefined || (identifier.system ?? '') === system));
    });
  }

  async search(request) {
    const identifiers = (request.filters ?? []).filter(({ code, operator }) => code === 'identifier' && operator === 'eq');
    const others = { ...request, filters: (request.filters ?? []).filter((filter) => !identifiers.includes(filter)) };
    const found = [];
    for (const { plain, versions } of this.resources.get(request.resourceType)?.values() ?? []) {
      if (plain && identifiers.every(({ value }) => this.#hasIdentifier(plain, value)) && matchesSearchRequest(plain, others)) {
        found.push({ plain, text: versions.at(-1).text });
      }
    }
    for (const { code, descending } of request.sortRules ?? []) {
      const key = ({ plain }) => JSON.stringify(code === '_lastUpdated' ? plain.meta.lastUpdated : evalFhirPath(code, plain));
      found.sort((a, b) => key(a).localeCompare(key(b)) * (descending ? -1 : 1));
    }
    const offset = request.offset ?? 0;
    return {
      resourceType: 'Bundle',
      type: 'searchset',
      total: found.length,
      entry: found.slice(offset, offset + (request.count ?? 20)).map(({ plain, text }) => ({
        fullUrl: `${plain.resourceType}/${plain.id}`,
        resource: parseExact(text),
        search: { mode: 'match' },
      })),
    };
  }

  async searchByReference() {
    return fail(badRequest('GraphQL is not served'));
  }

  async withTransaction(callback) {
    return callback(this);
  }
}
