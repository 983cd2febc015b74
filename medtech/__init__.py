"""Device messages from Event Hubs to FHIR R4 Observations.

The folders are the stages a message goes through, in order: ingest, normalize, group, transform, persist.
"""

__version__ = "0.1.0"
