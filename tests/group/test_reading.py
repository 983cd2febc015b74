"""A window in portions and rounds, against a real Azurite: read once, settled as it goes, whatever changes."""

import random
from collections import Counter
from collections.abc import Sequence

import pytest

from medtech.group import windows
from medtech.group.buffer import TABLE, Buffer, segment_rows
from medtech.group.reading import Round, WindowReading
from medtech.model import Measurement
from medtech.storage.connection import Storage
from tests.azurite import Wire
from tests.faults import ProxiedRequest

_NOON = 637_826_832_000_000_000  # 2022-03-12T12:00:00Z
_NOISE = random.Random(1)
_FEW_BYTES = 4_000


def _measurement(number: int, device: str, text: str = "61") -> Measurement:
    return Measurement("heartRate", _NOON, device, None, None, None, (("hr", text),), _NOON, "0", number, 0, 0)


def _batches(rows: int, of: int = 10, devices: int = 40) -> list[list[Measurement]]:
    """Rows that mix devices, with texts that cannot be packed smaller."""
    return [
        [
            _measurement(n, f"device-{n * 7 % devices}", _NOISE.randbytes(20).hex())
            for n in range(start * of, start * of + of)
        ]
        for start in range(rows)
    ]


def _store(buffer: Buffer, batch: Sequence[Measurement], first: int) -> None:
    prefix = windows.event_row_prefix(
        hub="0a1b2c3d", partition="0", first_sequence=first, last_sequence=first, first_enqueued=_NOON
    )
    rows, _ = segment_rows(batch, hub="0a1b2c3d", row_prefix=prefix, window_seconds=300, shards=1)
    buffer.store(rows)


def _stored(buffer: Buffer, batches: Sequence[Sequence[Measurement]]) -> list[Measurement]:
    for first, batch in enumerate(batches):
        _store(buffer, batch, first)
    return [measurement for batch in batches for measurement in batch]


def _left(buffer: Buffer) -> Counter[Measurement]:
    return Counter(each for portion in buffer.read(0, _NOON, 1 << 30) for each in portion.measurements())


def _replace(buffer: Buffer, reading: WindowReading) -> None:
    buffer.delete(reading.settled_rows())
    for lefts in reading.left():
        buffer.replace(lefts)


@pytest.fixture
def buffer(storage: Storage) -> Buffer:
    return Buffer(storage)


def _reads_rows(request: ProxiedRequest) -> bool:
    return request.method == "GET" and "RowKey" in request.path and "select" not in request.path


def _writes_rows(request: ProxiedRequest) -> bool:
    return request.path.partition("?")[0].endswith("$batch")


def test_rows_are_read_once_however_many_portions_they_make(wire: Wire) -> None:
    buffer = Buffer(wire.storage)
    _stored(buffer, _batches(12))
    wire.tables.clear()
    reading = buffer.read(0, _NOON, 40_000)
    portions = 0
    for portion in reading:
        portions += 1
        reading.settle(portion, ())
        buffer.delete(reading.settled_rows())
    assert portions > 2
    ranges = [request.path for request in wire.tables.requests if _reads_rows(request)]
    assert 1 <= len(ranges) == len(set(ranges))
    assert _left(buffer) == Counter()


def test_a_row_goes_as_soon_as_nothing_is_left_of_it(buffer: Buffer) -> None:
    batches = [[_measurement(n, f"device-{row}") for n in range(5)] for row in range(12)]
    _stored(buffer, batches)
    reading = buffer.read(0, _NOON, _FEW_BYTES)
    gone: list[int] = []
    for portion in reading:
        reading.settle(portion, ())
        gone.append(buffer.delete(reading.settled_rows()))
    assert sum(gone) == 12
    assert max(gone) < 12
    assert buffer.shards() == []


@pytest.mark.parametrize("worked_off", [0, 1, 2])
def test_a_flush_that_ends_early_leaves_what_it_has_not_settled(buffer: Buffer, worked_off: int) -> None:
    batch = _stored(buffer, _batches(12))
    reading = buffer.read(0, _NOON, 30_000)
    settled: list[Measurement] = []
    for portion, _ in zip(reading, range(worked_off), strict=False):
        waiting = set(portion.measurements()[::5])
        settled += (each for each in portion.measurements() if each not in waiting)
        assert reading.settle(portion, waiting) == len(portion.measurements()) - len(waiting)
    _replace(buffer, reading)
    assert _left(buffer) == Counter(batch) - Counter(settled)
    if worked_off:
        assert reading.waiting == len(batch) - len(settled)


def test_a_measurement_that_came_twice_is_settled_in_both_rows(buffer: Buffer) -> None:
    [batch] = _batches(1, of=60)
    _stored(buffer, [batch, batch[:40], batch[20:]])
    reading = buffer.read(0, _NOON, 30_000)
    waiting = set(batch[30:35])
    for portion in reading:
        reading.settle(portion, waiting)
    _replace(buffer, reading)
    assert _left(buffer) == Counter(dict.fromkeys(waiting, 3))


def test_portions_too_large_to_be_held_packed_are_done_in_rounds(buffer: Buffer) -> None:
    batch = _stored(buffer, _batches(12, of=20))
    rounds = 0
    done: Counter[Measurement] = Counter()
    waiting = set(batch[::50])
    of_round: Round | None = None
    while True:
        reading = buffer.read(0, _NOON, 40_000, 6_000, of_round)
        rounds += 1
        for portion in reading:
            done.update(portion.measurements())
            reading.settle(portion, waiting)
        _replace(buffer, reading)
        if (of_round := reading.next_round) is None:
            break
        # Each round leaves less to read to the next one.
        assert _left(buffer) == Counter(batch) - Counter(each for each in done if each not in waiting)
    assert rounds > 1
    # No round finds what an earlier one settled, nor what waits of it.
    assert done == Counter(batch)
    assert _left(buffer) == Counter(waiting)
    assert reading.waiting == len(waiting)


def test_a_row_that_changed_meanwhile_stays_whole_and_holds_up_no_other(buffer: Buffer) -> None:
    batches = _batches(12)
    batch = _stored(buffer, batches)
    reading = buffer.read(0, _NOON, 30_000)
    portions = iter(reading)
    portion = next(portions)
    _store(buffer, batches[3], 3)
    reading.settle(portion, ())
    _replace(buffer, reading)
    settled = Counter(portion.measurements()) - Counter(batches[3])
    assert settled
    assert _left(buffer) == Counter(batch) - settled


def test_rows_are_replaced_many_in_a_transaction(wire: Wire) -> None:
    buffer = Buffer(wire.storage)
    _stored(buffer, _batches(120))
    reading = buffer.read(0, _NOON, 200_000)
    reading.settle(next(iter(reading)), ())
    wire.tables.clear()
    _replace(buffer, reading)
    assert sum(map(_writes_rows, wire.tables.requests)) < 10


def test_a_reading_that_takes_too_long_leaves_the_rows_it_has_not_come_to(buffer: Buffer) -> None:
    batches = _batches(30)
    _stored(buffer, batches)
    reading = buffer.read(0, _NOON, 20_000)
    for portion in reading.portions(lambda: True):
        reading.settle(portion, ())
    _replace(buffer, reading)
    left = _left(buffer)
    assert reading.cut_off
    assert 0 < left.total() < 300
    assert set(left) <= set(batches[-1]) | {each for batch in batches[1:] for each in batch}


def test_a_damaged_row_has_no_part_in_any_portion(buffer: Buffer, storage: Storage) -> None:
    _stored(buffer, _batches(12))
    damaged = next(iter(buffer.read(0, _NOON, 1 << 30).rows))
    keys = {"PartitionKey": damaged.partition_key, "RowKey": damaged.row_key}
    storage.table(TABLE).upsert({**keys, "p00": b"\x01damage", "parts": 1}, merge=True)
    reading = buffer.read(0, _NOON, 30_000)
    for portion in reading:
        reading.settle(portion, ())
    _replace(buffer, reading)
    assert [row.row_key for row in reading.faulty_rows()] == [damaged.row_key]
    assert len(buffer.read(0, _NOON, 1 << 30).rows) == 1
