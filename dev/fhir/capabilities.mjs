// The CapabilityStatement: what the server can do, by which clients decide.
import { getResourceTypes, isResourceTypeSchema, getDataType } from '@medplum/core';

const INTERACTIONS = ['read', 'vread', 'update', 'patch', 'delete', 'history-instance', 'create', 'search-type'];

export function capabilityStatement(profile) {
  const versioning = profile.noVersions ? 'no-version' : profile.wantsIfMatch ? 'versioned-update' : 'versioned';
  const interaction = INTERACTIONS
    .filter((code) => !(profile.noVersions && ['vread', 'history-instance'].includes(code)))
    .map((code) => ({ code }));
  return {
    resourceType: 'CapabilityStatement',
    status: 'active',
    date: new Date().toISOString(),
    kind: 'instance',
    software: { name: 'medtech local FHIR server' },
    implementation: { description: 'FHIR R4 in memory, for local runs and tests' },
    fhirVersion: '4.0.1',
    format: ['json'],
    rest: [{
      mode: 'server',
      interaction: profile.noBatch ? undefined : [{ code: 'batch' }],
      resource: getResourceTypes().filter((type) => isResourceTypeSchema(getDataType(type))).map((type) => ({
        type,
        interaction,
        versioning,
        readHistory: !profile.noVersions,
        updateCreate: !profile.noUpdateCreate,
        conditionalCreate: true,
        conditionalUpdate: true,
        conditionalDelete: 'single',
      })),
    }],
  };
}
