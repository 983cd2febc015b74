"""The buffer against a real Azurite."""

import logging
import random
import zlib
from collections import Counter

import orjson
import pytest

from medtech.dotnet import ticks
from medtech.errors import BufferCorrupt, StorageUnavailable, Unavailable
from medtech.group import segment, windows
from medtech.group.buffer import TABLE, Buffer, SegmentRow, segment_rows
from medtech.group.reading import Left, Portion, Row
from medtech.model import Measurement
from medtech.storage.connection import Storage
from medtech.storage.payload import ROW_BYTES
from tests.azurite import Wire, nobody

_NOON = 637_826_832_000_000_000  # 2022-03-12T12:00:00Z
_SECOND = ticks.TICKS_PER_SECOND
_PORTION = 64 * 1024 * 1024


def _measurement(number: int, device: str = "device-1", seconds: float = 0, text: str = "61") -> Measurement:
    enqueued = _NOON + int(seconds * _SECOND)
    return Measurement("heartRate", enqueued, device, None, None, None, (("hr", text),), enqueued, "0", number, 0, 0)


def _prefix(first: int, last: int) -> str:
    return windows.event_row_prefix(
        hub="0a1b2c3d", partition="0", first_sequence=first, last_sequence=last, first_enqueued=_NOON
    )


def _rows(measurements: list[Measurement], shards: int = 1, window_seconds: int = 300) -> list[SegmentRow]:
    first, last = measurements[0].sequence_number, measurements[-1].sequence_number
    rows, too_large = segment_rows(
        measurements,
        hub="0a1b2c3d",
        row_prefix=_prefix(first, last),
        window_seconds=window_seconds,
        shards=shards,
        trace_context="00-trace-01",
    )
    assert not too_large
    return rows


def _read(buffer: Buffer, shard: int = 0, window: int = _NOON) -> Portion:
    [portion] = buffer.read(shard, window, _PORTION)
    return portion


def _numbers(portion: Portion) -> list[int]:
    return [measurement.sequence_number for measurement in portion.measurements()]


@pytest.fixture
def buffer(storage: Storage) -> Buffer:
    return Buffer(storage)


def test_what_is_stored_is_read(buffer: Buffer) -> None:
    measurements = [_measurement(number) for number in range(5)]
    buffer.store(_rows(measurements))
    portion = _read(buffer)
    assert portion.measurements() == measurements
    [row] = portion.rows
    assert (row.hub, row.trace_context, row.creates_sent, row.fault) == ("0a1b2c3d", "00-trace-01", False, None)
    assert row.stored_bytes > 0


def test_one_batch_makes_one_row_per_window_and_shard(buffer: Buffer) -> None:
    batch = [_measurement(n, f"device-{n % 50}", seconds=n % 2 * 300) for n in range(400)]
    rows = _rows(batch, shards=4)
    assert len(rows) == 8 == len({(row.partition_key, row.row_key) for row in rows})
    buffer.store(rows)
    stored = [
        m
        for shard in range(4)
        for window in (0, 300)
        for m in _read(buffer, shard, _NOON + window * _SECOND).measurements()
    ]
    assert Counter(stored) == Counter(batch)


def test_a_batch_delivered_again_overwrites_itself(buffer: Buffer) -> None:
    batch = [_measurement(number) for number in range(5)]
    buffer.store(_rows(batch))
    buffer.store(_rows(batch))
    assert _numbers(_read(buffer)) == [0, 1, 2, 3, 4]


def test_a_delivery_with_other_borders_is_a_row_of_its_own(buffer: Buffer) -> None:
    batch = [_measurement(number) for number in range(5)]
    buffer.store(_rows(batch))
    buffer.store(_rows(batch[:3]))
    buffer.store(_rows(batch[2:]))
    portion = _read(buffer)
    unsettled = portion.unsettled()
    assert len(portion.measurements()) == 11
    assert sorted(Counter(number for part in portion.parts for number in part.row_numbers).values()) == [3, 3, 5]
    assert sorted(each.sequence_number for each in unsettled.holders) == [0, 1, 2, 3, 4]
    assert [len(unsettled.rows_with([each])) for each in batch] == [2, 2, 3, 2, 2]
    assert {row.row_key for row in unsettled.rows_with(batch)} == {row.row_key for row in portion.rows}


def _due(buffer: Buffer) -> set[Measurement]:
    """What a flush would find, in whatever shard it is."""
    return {
        measurement
        for shard in buffer.shards()
        for window in buffer.due_windows(shard, _NOON + 3600 * _SECOND, 300, 15)
        for measurement in _read(buffer, shard, window).measurements()
    }


@pytest.mark.parametrize(("early", "late"), [(4, 7), (7, 4)])
@pytest.mark.parametrize("before", range(5))
@pytest.mark.parametrize("finishes", [True, False])
def test_an_instance_with_other_shards_takes_nothing_from_a_batch(
    buffer: Buffer, early: int, late: int, before: int, finishes: bool
) -> None:
    """One is still storing a batch, or dies at it, while another stores the same batch under other shards."""
    batch = [_measurement(n, f"device-{n}") for n in range(60)]
    first, second = _rows(batch, shards=early), _rows(batch, shards=late)
    buffer.store(first[:before])
    buffer.store(second)
    buffer.store(first[before : None if finishes else before + 1])
    assert _due(buffer) == set(batch)


@pytest.mark.parametrize("late", ["the older mapping", "the newer mapping"])
def test_an_instance_with_another_mapping_takes_nothing_from_a_batch(buffer: Buffer, late: str) -> None:
    older = [_measurement(n, f"device-{n}") for n in range(60)]
    newer = older[:5] + [each._replace(type="pulse", template=1) for each in older]
    deliveries = [older, newer] if late == "the newer mapping" else [newer, older]
    for delivery in deliveries:
        buffer.store(_rows(delivery, shards=4))
    assert _due(buffer) == {*older, *newer}


def test_a_batch_under_other_shards_is_stored_once_under_each(buffer: Buffer) -> None:
    batch = [_measurement(n, f"device-{n}") for n in range(60)]
    for shards in (4, 7, 4, 7):
        buffer.store(_rows(batch, shards=shards))
    rows = [row for shard in range(7) for row in _read(buffer, shard).rows]
    assert len(rows) == 11


def test_a_batch_too_large_for_a_row_goes_over_several(buffer: Buffer) -> None:
    noise = random.Random(1)
    batch = [_measurement(number, text=noise.randbytes(300_000).hex()) for number in range(6)]
    rows = _rows(batch)
    assert len(rows) > 1
    assert max(len(row.packed.payload) for row in rows) <= ROW_BYTES
    buffer.store(rows)
    assert Counter(_read(buffer).measurements()) == Counter(batch)


def test_a_full_row_is_taken_by_the_service(buffer: Buffer) -> None:
    # Incompressible to the byte: a row right at the bound must not be refused.
    payload = b"\x01" + random.Random(1).randbytes(ROW_BYTES - 1)
    buffer.store(
        [SegmentRow(windows.partition_key(0, _NOON), _prefix(0, 1), "0a1b2c3d", segment.Packed(payload, 1, "00ff"))]
    )
    [row] = _read(buffer).rows
    assert row.payload == payload


def test_shards_are_found_by_their_keys(buffer: Buffer) -> None:
    assert buffer.shards() == []
    for shard in (0, 3, 4, 999):
        [row] = _rows([_measurement(0)])
        buffer.store([row._replace(partition_key=windows.partition_key(shard, _NOON))])
    assert buffer.shards() == [0, 3, 4, 999]


def test_windows_are_due_after_their_end_and_grace_oldest_first(buffer: Buffer) -> None:
    for seconds in (600, 0, 300):
        buffer.store(_rows([_measurement(seconds, seconds=seconds)]))
    due = [_NOON, _NOON + 300 * _SECOND]
    assert list(buffer.due_windows(0, _NOON + 914 * _SECOND, 300, 15)) == due
    assert list(buffer.due_windows(0, _NOON + 915 * _SECOND, 300, 15)) == [*due, _NOON + 600 * _SECOND]
    assert list(buffer.due_windows(0, _NOON + 315 * _SECOND - 1, 300, 15)) == []
    assert list(buffer.due_windows(1, _NOON + 915 * _SECOND, 300, 15)) == []


def test_windows_past_a_hundred_rows_are_looked_up_when_they_are_asked_for(buffer: Buffer) -> None:
    for number in range(100):
        buffer.store(_rows([_measurement(number)]))
    due = buffer.due_windows(0, _NOON + 3600 * _SECOND, 300, 15)
    assert next(due) == _NOON
    buffer.store(_rows([_measurement(100, seconds=300)]))
    assert next(due) == _NOON + 300 * _SECOND


def test_many_small_windows_are_found_with_few_requests(wire: Wire) -> None:
    buffer = Buffer(wire.storage)
    starts = [_NOON + number * 300 * _SECOND for number in range(250)]
    buffer.store(_rows([_measurement(number, seconds=number * 300) for number in range(250)]))
    wire.tables.clear()
    assert list(buffer.due_windows(0, starts[-1] + 3600 * _SECOND, 300, 15)) == starts
    # 100, 100, and the 50 that are left.
    assert len(wire.tables.requests) == 3


def test_a_single_due_window_is_found_with_one_request(wire: Wire) -> None:
    buffer = Buffer(wire.storage)
    for number in range(20):
        buffer.store(_rows([_measurement(number)]))
    wire.tables.clear()
    assert list(buffer.due_windows(0, _NOON + 3600 * _SECOND, 300, 15)) == [_NOON]
    assert len(wire.tables.requests) == 1


def test_windows_behind_many_rows_of_others_are_found(wire: Wire) -> None:
    buffer = Buffer(wire.storage)
    for number in range(250):
        buffer.store(_rows([_measurement(number, seconds=number // 125 * 300)]))
    wire.tables.clear()
    assert list(buffer.due_windows(0, _NOON + 3600 * _SECOND, 300, 15)) == [_NOON, _NOON + 300 * _SECOND]
    # Each window fills a page, and the rest of it is passed over.
    assert len(wire.tables.requests) == 3


def test_the_oldest_window_is_that_of_all_shards(buffer: Buffer) -> None:
    assert buffer.oldest_window() is None
    [row] = _rows([_measurement(0, seconds=300)])
    buffer.store([row])
    buffer.store([row._replace(partition_key=windows.partition_key(2, _NOON))])
    assert buffer.oldest_window() == _NOON


def test_an_empty_window_has_no_portion(buffer: Buffer) -> None:
    assert list(buffer.read(0, _NOON, _PORTION)) == []


def test_a_large_window_is_read_in_portions_that_split_no_device(buffer: Buffer) -> None:
    batch = [_measurement(n, f"device-{n % 40}") for n in range(400)]
    for start in range(0, 400, 50):
        buffer.store(_rows(batch[start : start + 50]))
    size = sum(row.unpacked_bytes for row in _read(buffer).rows)

    portions = [portion.measurements() for portion in buffer.read(0, _NOON, size // 3)]

    assert len(portions) >= 3
    assert Counter(m for portion in portions for m in portion) == Counter(batch)
    devices = [{m.device_id for m in portion} for portion in portions]
    assert sum(map(len, devices)) == len(set().union(*devices)) == 40


def test_rows_keep_their_identity_over_the_portions(buffer: Buffer) -> None:
    buffer.store(_rows([_measurement(n, f"device-{n}") for n in range(20)]))
    seen: list[Row] = []
    for portion in buffer.read(0, _NOON, 500):
        assert not buffer.mark_creates_sent(portion.rows, _NOON)
        seen += portion.rows
    assert len(seen) > 1 and len({id(row) for row in seen}) == 1
    assert buffer.delete(seen[:1]) == 1
    assert buffer.shards() == []


def test_a_row_changed_between_two_portions_is_left_to_the_next_flush(buffer: Buffer) -> None:
    batch = [_measurement(n, f"device-{n}") for n in range(20)]
    buffer.store(_rows(batch))
    reading = buffer.read(0, _NOON, 500)
    portions = iter(reading)
    reading.settle(next(portions), ())
    buffer.store(_rows(batch))
    for portion in portions:
        reading.settle(portion, ())
    assert len(reading.settled_rows()) == 1
    assert buffer.delete(reading.settled_rows()) == 0
    assert reading.settled_rows() == []
    assert sorted(_numbers(_read(buffer))) == list(range(20))


def test_rows_that_come_between_two_portions_are_left_to_the_next_flush(buffer: Buffer) -> None:
    buffer.store(_rows([_measurement(n, f"device-{n}") for n in range(20)]))
    reading = iter(buffer.read(0, _NOON, 500))
    seen = {row.row_key for row in next(reading).rows}
    buffer.store(_rows([_measurement(99)]))
    assert {row.row_key for portion in reading for row in portion.rows} == seen


def test_deletion_spares_what_changed_and_counts_what_is_gone(buffer: Buffer) -> None:
    for number in range(120):
        buffer.store(_rows([_measurement(number)]))
    rows = _read(buffer).rows
    buffer.store(_rows([_measurement(5)]))
    assert buffer.delete([rows[110]]) == 1
    assert buffer.delete(rows) == 119
    assert _numbers(_read(buffer)) == [5]


def test_marked_rows_stay_marked_until_they_are_deleted(buffer: Buffer) -> None:
    for number in range(3):
        buffer.store(_rows([_measurement(number)]))
    rows = _read(buffer).rows
    assert buffer.mark_creates_sent(rows[:2], _NOON) == []
    # A redelivery writes the row again; what the mark warns of has happened all the same.
    buffer.store(_rows([_measurement(0)]))
    assert [row.creates_sent for row in _read(buffer).rows] == [True, True, False]


def test_a_mark_says_from_when_to_when_creates_were_sent(buffer: Buffer) -> None:
    buffer.store(_rows([_measurement(0)]))
    for now in (_NOON, _NOON + _SECOND):
        rows = _read(buffer).rows
        buffer.mark_creates_sent(rows, now)
        # Once in a flush: a window of many portions would write its rows as often.
        buffer.mark_creates_sent(rows, now + 99)
    [row] = _read(buffer).rows
    assert (row.creates_from, row.creates_to, row.sent_before) == (_NOON, _NOON + _SECOND, True)


def test_a_mark_without_times_says_nothing_of_when(buffer: Buffer, storage: Storage) -> None:
    buffer.store(_rows([_measurement(0)]))
    [row] = _read(buffer).rows
    mark = {"creates_sent": True, "creates_to": "soon"}
    storage.table(TABLE).upsert({"PartitionKey": row.partition_key, "RowKey": row.row_key, **mark}, merge=True)
    [row] = _read(buffer).rows
    assert row.creates_from < _NOON < row.creates_to


@pytest.mark.parametrize("keeps_mark", [True, False])
def test_what_is_left_of_a_row_keeps_its_mark_unless_its_creates_are_watched(buffer: Buffer, keeps_mark: bool) -> None:
    batch = [_measurement(number) for number in range(2)]
    buffer.store(_rows(batch))
    [row] = _read(buffer).rows
    buffer.mark_creates_sent([row], _NOON)
    row.keeps_mark = keeps_mark
    assert buffer.replace([Left(row, batch[1:])]) == [row]
    assert [each.creates_sent for each in _read(buffer).rows] == [keeps_mark]


def test_a_mark_changes_the_etag_that_deletion_goes_by(buffer: Buffer) -> None:
    buffer.store(_rows([_measurement(0)]))
    rows = _read(buffer).rows
    buffer.mark_creates_sent(rows, _NOON)
    assert buffer.delete(rows) == 1


def test_rows_that_cannot_be_marked_are_told(buffer: Buffer) -> None:
    for number in range(3):
        buffer.store(_rows([_measurement(number)]))
    rows = _read(buffer).rows
    buffer.store(_rows([_measurement(1)]))
    buffer.delete(rows[2:])
    assert buffer.mark_creates_sent(rows, _NOON) == rows[1:]


def test_a_partly_settled_row_is_replaced_with_what_is_left(buffer: Buffer) -> None:
    batch = [_measurement(number, text="6" * 1000) for number in range(5)]
    buffer.store(_rows(batch))
    [row] = _read(buffer).rows
    assert buffer.replace([Left(row, batch[3:])]) == [row]
    portion = _read(buffer)
    assert portion.measurements() == batch[3:]
    [left] = portion.rows
    assert (left.hub, left.trace_context) == (row.hub, row.trace_context)
    assert left.etag == row.etag


def test_what_is_left_of_a_row_that_was_packed_tightly_still_fits(buffer: Buffer) -> None:
    """Left whole, it would have what is settled of it written again at each flush."""
    noise = random.Random(1)
    # Compressed, letters of a small alphabet take two thirds to half of their length, the less the harder zlib tries.
    words = ["".join(noise.choices("abcdefgh", k=5)) for _ in range(400)]
    measurements: list[Measurement] = []
    packing = segment.pack(measurements)
    while len(packing.segments) <= 1:
        start = len(measurements)
        measurements += [_measurement(n, text=" ".join(noise.choices(words, k=4_000))) for n in range(start, start + 4)]
        packing = segment.pack(measurements)
    [tight] = segment.pack(measurements, tightly=True).segments
    key = windows.partition_key(0, _NOON)
    buffer.store([SegmentRow(key, _prefix(0, len(measurements)), "0a1b2c3d", tight)])
    portion = _read(buffer)
    [row] = portion.rows
    left = portion.measurements()[:-1]
    assert len(segment.pack(left).segments) > 1
    assert buffer.replace([Left(row, left)]) == [row]
    assert _numbers(_read(buffer)) == [each.sequence_number for each in left]


def test_a_row_that_changed_is_not_replaced(buffer: Buffer) -> None:
    batch = [_measurement(number) for number in range(5)]
    buffer.store(_rows(batch))
    [row] = _read(buffer).rows
    buffer.store(_rows(batch))
    assert buffer.replace([Left(row, batch[3:])]) == []
    assert _numbers(_read(buffer)) == [0, 1, 2, 3, 4]


def test_a_damaged_row_harms_no_other(buffer: Buffer, storage: Storage) -> None:
    for number in range(3):
        buffer.store(_rows([_measurement(number)]))
    damaged, newer, _ = _read(buffer).rows
    for row, payload in ((damaged, b"\x01damage"), (newer, b"\x09")):
        keys = {"PartitionKey": row.partition_key, "RowKey": row.row_key}
        storage.table(TABLE).upsert({**keys, "p00": payload, "parts": 1}, merge=True)
    portion = _read(buffer)
    rows = portion.rows
    assert [type(row.fault) for row in rows] == [BufferCorrupt, Unavailable, type(None)]
    assert rows[0].payload == b"\x01damage"
    assert _numbers(portion) == [2]


def test_a_row_that_an_earlier_version_wrote_is_read(buffer: Buffer, storage: Storage) -> None:
    content = ["00-trace-01", [["hr"], [5], ["d"], [None], [None], [None], [[["v", "1"]]], [6], ["0"], [7], [0], [0]]]
    payload = b"\x01" + zlib.compress(orjson.dumps(content), 1)
    storage.table(TABLE).upsert(
        {
            "PartitionKey": "000|20220312120000",
            "RowKey": "e|0a1b2c3d|0000|0000000000000000007|0000000000000000007|0637826832000000000|0000",
            "hub": "0a1b2c3d",
            "stored_bytes": len(payload),
            "unpacked_bytes": 100,
            "parts": 2,
            "p00": payload[:40],
            "p01": payload[40:],
        }
    )
    measurement = Measurement("hr", 5, "d", None, None, None, (("v", "1"),), 6, "0", 7, 0, 0)
    portion = _read(buffer)
    [row] = portion.rows
    assert portion.measurements() == [measurement]
    assert row.trace_context == "00-trace-01"
    assert buffer.mark_creates_sent([row], _NOON) == []
    assert buffer.replace([Left(row, [measurement])]) == [row]
    # Still under its own key: there is one row, and it is gone when it is settled.
    assert [(each.row_key, each.creates_sent) for each in _read(buffer).rows] == [(row.row_key, True)]
    assert buffer.delete([row]) == 1
    assert buffer.shards() == []


def test_a_row_that_would_fill_the_memory_is_damaged(buffer: Buffer) -> None:
    payload = b"\x01" + zlib.compress(bytes(segment.MAX_UNPACKED_BYTES + 1))
    buffer.store(
        [SegmentRow(windows.partition_key(0, _NOON), _prefix(0, 1), "0a1b2c3d", segment.Packed(payload, 1, "00ff"))]
    )
    [row] = _read(buffer).rows
    assert isinstance(row.fault, BufferCorrupt)
    assert row.payload == payload


@pytest.mark.parametrize("key", ["zzz", "002", "002|", "002|2022", "002|20220012120000", "1e1|20220312120000", "0a'b"])
def test_a_partition_that_is_not_ours_is_told_once_and_passed_over(
    buffer: Buffer, storage: Storage, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    for shard in (0, 2, 3):
        [row] = _rows([_measurement(0)])
        buffer.store([row._replace(partition_key=windows.partition_key(shard, _NOON))])
    storage.table(TABLE).upsert({"PartitionKey": key, "RowKey": "a"})
    with caplog.at_level(logging.ERROR):
        for _ in range(2):
            assert buffer.shards() == [0, 2, 3]
            assert list(buffer.due_windows(2, _NOON + 3600 * _SECOND, 300, 15)) == [_NOON]
            assert buffer.oldest_window() == _NOON
    [record] = caplog.records
    assert "left alone" in record.message
    assert key not in record.message.replace("002|20220312100500", "")


def test_storage_that_is_away_is_told_by_whatever_asks_it() -> None:
    buffer = Buffer(nobody())
    row = Row("000|20220312120000", "e|1", "etag", "", False, 1, 1)
    for call in (
        lambda: buffer.store(_rows([_measurement(0, f"device-{n}") for n in range(9)], shards=4)),
        buffer.shards,
        buffer.oldest_window,
        lambda: list(buffer.due_windows(0, _NOON, 300, 15)),
        lambda: list(buffer.read(0, _NOON, _PORTION)),
        lambda: buffer.delete([row]),
        lambda: buffer.mark_creates_sent([row], _NOON),
        lambda: buffer.replace([Left(row, [_measurement(0)])]),
    ):
        with pytest.raises(StorageUnavailable):
            call()
