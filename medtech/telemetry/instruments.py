"""The metrics: what each is called, counts and is split by. Nothing else is measured (docs/telemetry.md has the table).

Names are the ones that the open-source connector and the service's documentation use, where they have one. Dimensions
take few values: a hub's partitions, the errors' names, the types of a mapping. None can hold health data.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """How readings become a point: summed up, spread over buckets, or the last one."""

    COUNTER = "counter"
    HISTOGRAM = "histogram"
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True)
class Instrument:
    """A metric. `unit` is a UCUM code, as OpenTelemetry writes units; `meaning` is a sentence without its full stop."""

    name: str
    kind: Kind
    unit: str
    meaning: str
    dimensions: tuple[str, ...] = ()

    def of(self, value: float, **dimensions: str) -> "Reading":
        return Reading(self, value, dimensions)


class Reading(NamedTuple):
    """A value of an instrument; `dimensions` has one for each of the instrument's."""

    instrument: Instrument
    value: float
    dimensions: Mapping[str, str]


DEVICE_EVENT = Instrument(
    "DeviceEvent", Kind.COUNTER, "{event}", "events that were read from the hub and dealt with", ("partition",)
)
DROPPED_EVENT = Instrument(
    "DroppedEvent", Kind.COUNTER, "{event}", "events that no template of the device mapping takes"
)
NORMALIZED_EVENT = Instrument("NormalizedEvent", Kind.COUNTER, "{event}", "events that gave at least one measurement")
MEASUREMENT = Instrument("Measurement", Kind.COUNTER, "{measurement}", "measurements that were stored in the buffer")
MEASUREMENT_GROUP = Instrument(
    "MeasurementGroup", Kind.COUNTER, "{group}", "groups of equal device, type and ids that a flush made"
)
DEVICE_EVENT_PROCESSING_LATENCY = Instrument(
    "DeviceEventProcessingLatencyMs", Kind.HISTOGRAM, "ms", "from an event's enqueued time until it is in the buffer"
)
MEASUREMENT_INGESTION_LATENCY = Instrument(
    "MeasurementIngestionLatencyMs",
    Kind.HISTOGRAM,
    "ms",
    "from an event's enqueued time until its measurement is in the FHIR server",
)
FHIR_RESOURCE_SAVED = Instrument(
    "FhirResourceSaved",
    Kind.COUNTER,
    "{resource}",
    "Observations, Devices and Patients that are stored as they should be",
    ("resource", "operation"),
)
TOTAL_ERRORS = Instrument(
    "TotalErrors",
    Kind.COUNTER,
    "{error}",
    "errors: one a failed message, measurement or row, one a kind of outage in a batch or flush",
    ("name", "stage", "type", "severity"),
)
DEAD_LETTERS = Instrument(
    "DeadLetters", Kind.COUNTER, "{letter}", "dead letters that ingest and flush wrote", ("name", "stage")
)
EXPIRED_DEAD_LETTER = Instrument(
    "ExpiredDeadLetter", Kind.COUNTER, "{letter}", "dead letters that were deleted after DEAD_LETTER_DAYS"
)
COMPARISON = Instrument(
    "Comparison",
    Kind.COUNTER,
    "{observation}",
    "Observations that were compared and not written (FHIR_WRITE)",
    ("type", "outcome"),
)
SUPERSEDED_READING = Instrument(
    "SupersededReading",
    Kind.COUNTER,
    "{reading}",
    "single values that were not written since a later one of their period was",
    ("type",),
)
OLDEST_WINDOW = Instrument(
    "OldestWindowSeconds", Kind.GAUGE, "s", "how long the oldest window has been due after a flush; 0 if none is"
)
HUB_LAG = Instrument(
    "HubLagSeconds", Kind.GAUGE, "s", "how old the last event of a batch was when it was read", ("partition",)
)
FLUSH = Instrument(
    "Flush",
    Kind.COUNTER,
    "{flush}",
    "ticks of the flush, by queue also flushes of a shard, by how they ended",
    ("outcome", "scope"),
)
THROTTLED = Instrument(
    "Throttled", Kind.COUNTER, "{answer}", "answers 429 and 503 that ingest and flush were given", ("server",)
)

INSTRUMENTS = (
    DEVICE_EVENT,
    DROPPED_EVENT,
    NORMALIZED_EVENT,
    MEASUREMENT,
    MEASUREMENT_GROUP,
    DEVICE_EVENT_PROCESSING_LATENCY,
    MEASUREMENT_INGESTION_LATENCY,
    FHIR_RESOURCE_SAVED,
    TOTAL_ERRORS,
    DEAD_LETTERS,
    EXPIRED_DEAD_LETTER,
    COMPARISON,
    SUPERSEDED_READING,
    OLDEST_WINDOW,
    HUB_LAG,
    FLUSH,
    THROTTLED,
)
