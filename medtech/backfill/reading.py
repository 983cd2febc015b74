"""The captured events of a request, from a place on, in chunks: across files, in the order of their times."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from medtech.backfill.capture_file import CaptureDamaged, CaptureFile
from medtech.backfill.captured_event import RecordInvalid, device_event
from medtech.backfill.container import CaptureBlob, CaptureContainer
from medtech.backfill.job import Cursor, Fault, Request
from medtech.dotnet import ticks
from medtech.model import DeviceEvent

CHUNK_BYTES = 8 * 1024 * 1024
"""Of bodies."""

SLACK_TICKS = ticks.TICKS_PER_HOUR
"""How far the time in a file's name may be from those of its events, either way. A file is named for an interval of 15
minutes at most; it is late when Capture could not write."""


class Chunk(NamedTuple):
    """Events of one file, none if only others were passed by; `after` is where to go on."""

    events: list[DeviceEvent]
    faults: list[Fault]
    after: Cursor


def days(request: Request, after: Cursor | None = None) -> range:
    """The days (their starts, in ticks) whose files may hold events of a request, from the one under way on."""
    start = max(0, request.from_time - SLACK_TICKS)
    reached = start if after is None else max(start, after.time)
    return range(ticks.floor(reached, ticks.TICKS_PER_DAY), request.to_time + SLACK_TICKS, ticks.TICKS_PER_DAY)


def files(
    container: CaptureContainer, request: Request, day: int, after: Cursor | None = None
) -> Iterator[CaptureBlob]:
    """The files of a day that may hold events of a request, the oldest first, from the one under way on."""
    for blob in container.files(day, request.partition):
        if not request.from_time - SLACK_TICKS <= blob.time < request.to_time + SLACK_TICKS:
            continue
        if after is None or blob[:3] > after.place or (blob[:3] == after.place and not after.done):
            yield blob


def chunks(
    container: CaptureContainer, request: Request, hub: str, after: Cursor | None, most_records: Callable[[], int]
) -> Iterator[Chunk]:
    """`hub` is that of `hub_name`; `most_records` is asked before each chunk how many records it may have.

    A file that cannot be read ends with the fault that says so, and the next one follows. A day ends with a chunk of
    nothing: to list days without files takes its time too, and need not be done again.
    """
    for day in days(request, after):
        for blob in files(container, request, day, after):
            under_way = after is not None and after.place == blob[:3]
            cursor = after if under_way and after is not None else Cursor(blob.time, blob.partition, blob.name)
            yield from _chunks_of_file(container, request, hub, blob, cursor, most_records)
        yield Chunk([], [], Cursor(day + ticks.TICKS_PER_DAY))


def _chunks_of_file(
    container: CaptureContainer,
    request: Request,
    hub: str,
    blob: CaptureBlob,
    cursor: Cursor,
    most_records: Callable[[], int],
) -> Iterator[Chunk]:
    file = CaptureFile(partial(container.read, blob.name), blob.size_bytes)
    events: list[DeviceEvent] = []
    faults: list[Fault] = []
    records = size = 0
    most = most_records()
    try:
        for record in file.records(cursor.position):
            try:
                event = device_event(record.fields, hub, blob.partition)
            except RecordInvalid as invalid:
                number = record.fields["SequenceNumber"]
                faults.append(Fault(blob.name, f"the record of SequenceNumber {number} is left out: {invalid}."))
            else:
                if request.from_time <= event.enqueued_time < request.to_time:
                    events.append(event)
                    size += len(event.body)
            records += 1
            cursor = cursor._replace(block=record.after.block, record=record.after.record)
            if records >= most or size >= CHUNK_BYTES:
                yield Chunk(events, faults, cursor)
                events, faults, records, size, most = [], [], 0, 0, most_records()
    except CaptureDamaged as damaged:
        faults.append(Fault(blob.name, f"the file is left from there on: {damaged}."))
    yield Chunk(events, faults, cursor._replace(done=True))
