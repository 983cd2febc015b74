// The app's own settings, as medtech/settings.py has them: a test compares names, bounds and choices.
// What each means is in docs/settings.md. One that is left out keeps the app's default.

@export()
@sealed()
@description('The settings of the app; what is left out keeps its default.')
type appSettings = {
  DEVICE_MAPPING: string?
  FHIR_MAPPING: string?

  FHIR_AUTHENTICATION: ('entra' | 'none' | 'basic' | 'client_credentials')?
  FHIR_AUDIENCE: string?
  FHIR_ALLOW_PLAIN_HTTP: bool?
  FHIR_USERNAME: string?
  FHIR_TOKEN_URL: string?
  FHIR_CLIENT_ID: string?
  FHIR_SCOPE: string?
  @minValue(1)
  @maxValue(500)
  FHIR_BUNDLE_SIZE: int?
  OBSERVATION_LOOKUP: ('id' | 'identifier')?
  SINGLE_VALUE_PERIOD: ('instant' | 'group')?
  OBSERVATION_EFFECTIVE: ('period' | 'dateTime')?
  FHIR_WRITE: ('write' | 'compare')?
  // The app takes fractions too; Bicep has none.
  @minValue(0)
  @maxValue(1440)
  COMPARE_GRACE_MINUTES: int?

  RESOURCE_IDENTITY_RESOLUTION_TYPE: ('Lookup' | 'Create' | 'LookupWithEncounter')?
  DEFAULT_DEVICE_IDENTIFIER_SYSTEM: string?
  @minValue(0)
  IDENTITY_CACHE_SECONDS: int?

  @minValue(1)
  @maxValue(86400)
  WINDOW_SECONDS: int?
  @minValue(0)
  @maxValue(3600)
  FLUSH_GRACE_SECONDS: int?
  FLUSH_SCHEDULE: string?
  @minValue(1)
  @maxValue(1024)
  FLUSH_PORTION_MB: int?
  @minValue(1)
  @maxValue(1000)
  BUFFER_SHARDS: int?
  STORAGE_CLIENT: ('direct' | 'library')?

  @minValue(0)
  DEAD_LETTER_DAYS: int?
  KEEP_UNMATCHED: bool?
  @minValue(1024)
  VALIDATE_MAX_BYTES: int?
}
