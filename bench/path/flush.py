"""The flush, from rows in Azurite to a FHIR server of scripted answers: the processor's time, by stage.

Three kinds of windows, each flushed as the timer does it, by the app's own parts:

new       5,000 Quantities, each a new Observation
changed   Observations of 17 types that are stored already, each with another value
hot       300 readings a second apart for each of 50 SampledData that hold half an hour
"""

import json
import time
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from bench.path.clocks import INHERITED, Clocks
from bench.path.settings import app_settings, table_port, use
from bench.path.wire import counted

SEAMS = {
    "read": (
        "medtech.storage.table:Table.query",
        "medtech.storage.table:Table.pages",
        "medtech.storage.table:Table.first",
        "medtech.storage.table:Table.get",
    ),
    "unpack": (
        "medtech.group.segment:unpack_columns",
        "medtech.group.segment:measurements_of",
        "medtech.group.reading:WindowReading._hold",
        "medtech.group.reading:WindowReading._portion",
    ),
    "group": ("medtech.flush.runs:runs", "medtech.flush.window:WindowFlush._flush_portion"),
    "convert": ("medtech.flush.window:WindowFlush._plan",),
    "identities": (
        "medtech.persist.identity.resolve:IdentityResolver.resolve",
        "medtech.persist.identity.links:Links.hold",
    ),
    "read stored": ("medtech.persist.settle:_Round._read",),
    "merge": ("medtech.persist.settle:_Round._decide",),
    "write": ("medtech.persist.settle:_Round._exchange", "medtech.flush.window:WindowFlush._write"),
    "settle": (
        "medtech.flush.window:WindowFlush._before_writes",
        "medtech.flush.window:WindowFlush._settle",
        "medtech.flush.window:WindowFlush._replace",
    ),
    INHERITED: (
        "medtech.persist.client:FhirClient._bundle",
        "medtech.persist.client:FhirClient._single",
        "medtech.persist.client:FhirClient._request",
    ),
}
_HUB = "0a1b2c3d"
_BATCH = 500


class Size(NamedTuple):
    """How much a window holds: `devices`, and readings or types of each."""

    devices: int
    each: int


class Flushed(NamedTuple):
    """What one flush took, in seconds of the processor, and what it did; `saved_as` are the words of `SavedAs`."""

    seconds: float
    readings: int
    observations: int
    saved_as: set[str]


class Site:
    """The app's parts, and windows that are over: numbered from 0, the oldest."""

    def __init__(self) -> None:
        # Only here: they are the tree's own.
        from medtech import parts
        from medtech.dotnet import ticks
        from medtech.group import buffer, windows
        from medtech.model import Measurement

        self._parts, self._buffer, self._windows, self._measurement = parts, buffer, windows, Measurement
        self.second = ticks.TICKS_PER_SECOND
        self.window_ticks = parts.settings().window_seconds * self.second
        # On the hour, so that series of an hour begin with it; long enough ago that all windows are over.
        self.start = ticks.floor(ticks.now(), ticks.TICKS_PER_HOUR) - 24 * ticks.TICKS_PER_HOUR

    def reading(self, kind: str, taken: int, device: str, values: Iterable[tuple[str, str]], window: int) -> Any:
        """A measurement taken at `taken` (ticks) that arrived in the window."""
        arrived = self.start + window * self.window_ticks
        properties = tuple(values)
        return self._measurement(kind, taken, device, f"p-{device}", None, None, properties, arrived, "0", 0, 0, 0)

    def store(self, measurements: Sequence[Any], window: int) -> None:
        """Into the buffer, as ingest does, in batches of 500."""
        settings = self._parts.settings()
        for at in range(0, len(measurements), _BATCH):
            part = [
                each._replace(sequence_number=at + number) for number, each in enumerate(measurements[at : at + _BATCH])
            ]
            prefix = self._windows.event_row_prefix(
                hub=_HUB,
                partition="0",
                first_sequence=window * 10_000_000 + at,
                last_sequence=window * 10_000_000 + at + len(part) - 1,
                first_enqueued=part[0].ingestion_time,
            )
            rows, _ = self._buffer.segment_rows(
                part,
                hub=_HUB,
                row_prefix=prefix,
                window_seconds=settings.window_seconds,
                shards=settings.buffer_shards,
                trace_context=f"00-{'1' * 32}-{'2' * 16}-01",
            )
            self._parts.buffer().store(rows)

    def flush(self) -> Flushed:
        """Everything that is stored. Raises RuntimeError if something is left."""
        flusher = self._parts.flusher()
        started = time.process_time()
        tally = flusher.run()
        seconds = time.process_time() - started
        if tally.outages or tally.letters or tally.errors or flusher.buffer.shards():
            raise RuntimeError(f"the flush left something: {tally}")
        saved_as = {str(each) for each in tally.observations}
        return Flushed(seconds, tally.measurements, sum(tally.observations.values()), saved_as)


class Scenario(NamedTuple):
    """`prepare` fills the site; `window(site, size, number)` stores the number-th window that is measured, from 1.

    `saved_as` is what a flush of it does with every Observation.
    """

    mapping: str
    size: Size
    saved_as: str
    prepare: Callable[[Site, Size], None]
    window: Callable[[Site, Size, int], None]


def _meet_devices(site: Site, size: Size) -> None:
    """So that all identities are known, and modules imported."""
    _new(site, Size(size.devices, 1), 0)
    site.flush()


def _new(site: Site, size: Size, window: int) -> None:
    taken = site.start + window * site.window_ticks
    readings = [
        site.reading("heartRate", taken + each * site.second, f"device-{device}", [("hr", str(60 + each % 40))], window)
        for each in range(size.each)
        for device in range(size.devices)
    ]
    site.store(readings, window)


_TYPES = (
    *("pulse", "steps", "bloodSugar", "bodyHeight", "bodyWeight", "bodyTemperature", "oxygenSaturation"),
    *("respiratoryRate", "peakFlow", "bodyFat", "bmi", "waist", "hydration", "sleep"),
    *("bloodPressure", "posture", "ecg"),
)


def _of_types(site: Site, size: Size, window: int) -> None:
    """A reading of each type for each device, at the same times whatever the window, with other values."""
    readings = []
    for device in range(size.devices):
        for number, kind in enumerate(_TYPES[: size.each]):
            taken = site.start + number * site.second
            value = str(60 + (device + number) % 40 + window)
            values = {
                "bloodPressure": [("systolic", value), ("diastolic", str(40 + window))],
                "posture": [("posture", f"sitting, {value} degrees"), ("steadiness", value)],
            }.get(kind, [(kind, f"{value}.5")])
            samples = 60 if kind == "ecg" else 1
            readings += [
                site.reading(kind, taken + sample * site.second, f"device-{device}", values, window)
                for sample in range(samples)
            ]
    site.store(readings, window)


def _store_types(site: Site, size: Size) -> None:
    _of_types(site, size, 0)
    site.flush()


_HELD_WINDOWS = 6
"""Half an hour of windows of five minutes."""


def _hot(site: Site, size: Size, window: int) -> None:
    """The readings of the window, each after the last one's."""
    _series(site, size, window + _HELD_WINDOWS - 1, 1)


def _series(site: Site, size: Size, window: int, windows: int) -> None:
    first = window * size.each
    readings = [
        site.reading(
            "heartRate", site.start + slot * site.second, f"device-{device}", [("hr", str(60 + slot % 40))], window
        )
        for slot in range(first, first + windows * size.each)
        for device in range(size.devices)
    ]
    site.store(readings, window)


def _store_half_an_hour(site: Site, size: Size) -> None:
    _series(site, size, 0, _HELD_WINDOWS)
    site.flush()


SCENARIOS = {
    "new": Scenario("quantity.fhir.json", Size(500, 10), "Created", _meet_devices, _new),
    "changed": Scenario("path/seventeen.fhir.json", Size(150, len(_TYPES)), "Updated", _store_types, _of_types),
    "hot": Scenario("hot.fhir.json", Size(50, 300), "Updated", _store_half_an_hour, _hot),
}


def run(
    *, connection: str, fhir_url: str, scenario: str, repeats: int, size: Sequence[int] | None = None
) -> dict[str, Any]:
    """Flushes `repeats` windows (of `hot` an hour has six more); the best counts, with its own stages.

    `size` as in Size, for other than the usual.
    """
    chosen = SCENARIOS[scenario]
    use(app_settings(connection, fhir=chosen.mapping, fhir_url=fhir_url))
    wanted = chosen.size if size is None else Size(*size)
    site = Site()
    chosen.prepare(site, wanted)
    clocks = Clocks(SEAMS)
    clocks.install()
    flushes: list[tuple[Flushed, dict[str, float]]] = []
    with counted(table_port(connection)) as sent:
        for number in range(1, repeats + 1):
            chosen.window(site, wanted, number)
            clocks.clear()
            sent.clear()
            _fhir_counts(fhir_url)
            flushed = site.flush()
            if flushed.saved_as != {chosen.saved_as}:
                raise RuntimeError(f"{scenario}: the Observations were {flushed.saved_as}")
            flushes.append((flushed, clocks.with_rest(flushed.seconds)))
        fhir = _fhir_counts(fhir_url)
    best, stages = min(flushes, key=lambda each: each[0].seconds)
    return {
        "readings": best.readings,
        "observations": best.observations,
        "total_us": best.seconds / best.observations * 1e6,
        "stages_us": {stage: seconds / best.observations * 1e6 for stage, seconds in stages.items()},
        "table_requests": sent.requests,
        "table_bytes": sent.bytes,
        "fhir_requests": fhir["requests"],
        "fhir_entries": fhir["entries"],
        "fhir_bytes": fhir["bytes"],
        "missing": clocks.missing,
    }


def _fhir_counts(fhir_url: str) -> dict[str, int]:
    """What the server of scripted answers was asked since the last look."""
    origin = fhir_url.removesuffix("/fhir/R4")
    with urllib.request.urlopen(f"{origin}/counts") as answer:
        counts: dict[str, int] = json.load(answer)
    return counts
