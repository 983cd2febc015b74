// How real servers differ, one difference per profile except for `hapi`; `strict` does all that R4 recommends.
const PROFILES = {
  strict: {},
  // If-None-Match is ignored, and a creating PUT answers 200: a client cannot see that it overwrote another's creation.
  'no-if-none-match': { ignoresIfNoneMatch: true, createsWith200: true },
  // Entries of a batch response carry no etag, lastModified and location.
  'no-etag': { bareEntries: true },
  // Times are stored with three digits.
  milliseconds: { cutsTimes: true },
  // One invalid entry fails the whole batch.
  'outer-400': { refusesWholeBatch: true },
  // An existing resource is only updated with If-Match.
  'versioned-update': { wantsIfMatch: true },
  // Version ids have no order.
  'uuid-versions': { randomVersions: true },
  // The search index holds the first 128 characters of an identifier; a longer search value finds nothing.
  'cut-identifiers': { identifierLength: 128 },
  // Literal references must resolve.
  'checked-references': { checksReferences: true },
  // HAPI FHIR 8.8 as observed: If-None-Match is ignored on a PUT, one entry that does not parse fails the whole batch,
  // and of versions written within a millisecond the history gives the older one first.
  hapi: { ignoresIfNoneMatch: true, refusesWholeBatch: true, givesOldestFirst: true },
  'no-batch': { noBatch: true },
  // Google's Cloud Healthcare API takes "all interactions within a bundle, except search".
  'no-search-in-batch': { refusesSearchInBatch: 400 },
  'no-search-in-batch-501': { refusesSearchInBatch: 501 },
  'no-update-create': { noUpdateCreate: true },
  'no-versions': { noVersions: true },
};

export const names = Object.keys(PROFILES);

export function profile(name) {
  if (!(name in PROFILES)) throw new Error(`No profile '${name}'. Profiles: ${names.join(', ')}.`);
  return PROFILES[name];
}
