"""What a backfill would read, and what the mapping in force makes of some of it; nothing is stored."""

from collections import Counter
from typing import NamedTuple

from medtech.backfill.container import CaptureContainer
from medtech.backfill.job import Fault, Request
from medtech.backfill.reading import chunks, days, files
from medtech.deadline import seconds_left
from medtech.normalize.batch import Normalizer, normalize

SAMPLE_EVENTS = 200
_SAMPLE_CHUNKS = 100
"""Looked into for events of the time that is asked for."""


class Sample(NamedTuple):
    """What became of the first events, and by (error, stage) how many of them failed, each once for an error."""

    events: int
    measurements: int
    dropped: int
    failed: Counter[tuple[str, str]]


class DryRun(NamedTuple):
    """The files that would be read, all of them if `complete`. `faults` are of the files that were looked into."""

    files: int
    size_bytes: int
    partitions: tuple[str, ...]
    complete: bool
    others: tuple[str, ...]
    faults: tuple[Fault, ...]
    sample: Sample | None


def dry_run(container: CaptureContainer, request: Request, mapping: Normalizer | None) -> DryRun:
    """Ends when the deadline in force is over, with what was counted until then. Raises StorageUnavailable."""
    faults: list[Fault] = []
    sample = None if mapping is None else _sample(container, request, mapping, faults)
    count = size_bytes = 0
    partitions: set[str] = set()
    complete = True
    for day in days(request):
        if not seconds_left():
            complete = False
            break
        for blob in files(container, request, day):
            count += 1
            size_bytes += blob.size_bytes
            partitions.add(blob.partition)
    in_order = tuple(sorted(partitions, key=lambda each: (len(each), each)))
    return DryRun(count, size_bytes, in_order, complete, tuple(container.others), tuple(faults), sample)


def _sample(container: CaptureContainer, request: Request, mapping: Normalizer, faults: list[Fault]) -> Sample:
    events = measurements = dropped = 0
    failed: Counter[tuple[str, str]] = Counter()
    enough = seconds_left() / 2
    found = chunks(container, request, "", None, lambda: SAMPLE_EVENTS)
    for _, chunk in zip(range(_SAMPLE_CHUNKS), found, strict=False):
        faults += chunk.faults
        batch = normalize(chunk.events[: SAMPLE_EVENTS - events], mapping)
        events += len(chunk.events[: SAMPLE_EVENTS - events])
        measurements += len(batch.measurements)
        dropped += len(batch.unmatched)
        for _, failures in batch.failed:
            failed.update({(failure.error.name, str(failure.error.stage)) for failure in failures})
        if events >= SAMPLE_EVENTS or seconds_left() < enough:
            break
    return Sample(events, measurements, dropped, failed)
