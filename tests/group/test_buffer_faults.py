"""The buffer and the dead letters over a wire that breaks: a proxy before a real Azurite makes the faults."""

from collections.abc import Callable

import pytest

from medtech.dead_letter import letter as letters
from medtech.dead_letter.store import DeadLetters
from medtech.dotnet import ticks
from medtech.errors import NotSupported, StorageUnavailable
from medtech.group import windows
from medtech.group.buffer import Buffer, segment_rows
from medtech.group.reading import Row
from medtech.model import DeviceEvent, Measurement
from medtech.normalize.batch import failure_of_event
from tests.azurite import Wire
from tests.faults import ProxiedRequest

_NOON = 637_826_832_000_000_000  # 2022-03-12T12:00:00Z


def _row_write(request: ProxiedRequest) -> bool:
    return request.method in ("PATCH", "PUT", "MERGE")


def _transaction(request: ProxiedRequest) -> bool:
    return request.path.partition("?")[0].endswith("/$batch")


def _store(buffer: Buffer, number: int) -> None:
    measurement = Measurement("hr", _NOON, "d", None, None, None, (("hr", "61"),), _NOON, "0", number, 0, 0)
    prefix = windows.event_row_prefix(
        hub="0a1b2c3d", partition="0", first_sequence=number, last_sequence=number, first_enqueued=_NOON
    )
    rows, _ = segment_rows([measurement], hub="0a1b2c3d", row_prefix=prefix, window_seconds=300, shards=1)
    buffer.store(rows)


def _rows(buffer: Buffer) -> list[Row]:
    return [row for portion in buffer.read(0, _NOON, 10**9) for row in portion.rows]


def _until_stored(store: Callable[[], object]) -> None:
    """What the hub does: the batch comes again until it is stored."""
    for _ in range(5):
        try:
            store()
        except StorageUnavailable:
            continue
        return
    raise AssertionError("never stored")


def test_a_throttled_write_is_sent_again(wire: Wire) -> None:
    wire.tables.answer(503, when=_row_write)
    _store(Buffer(wire.storage), 1)
    assert len(_rows(Buffer(wire.storage))) == 1


def test_a_service_that_stays_busy_is_away(wire: Wire) -> None:
    wire.tables.answer(503, when=_row_write, times=None)
    with pytest.raises(StorageUnavailable):
        _store(Buffer(wire.storage), 1)


def test_a_batch_of_many_rows_is_given_up_with_the_first_that_fails(wire: Wire) -> None:
    """A service that takes requests and says nothing would else hold it for half a minute for each eight of its rows,
    and `functionTimeout` would end the process."""
    hours = range(64)
    measurements = [
        Measurement("hr", at, "d", None, None, None, (("hr", "61"),), at, "0", hour, 0, 0)
        for hour in hours
        for at in [_NOON + hour * ticks.TICKS_PER_HOUR]
    ]
    rows, _ = segment_rows(measurements, hub="0a1b2c3d", row_prefix="e|x", window_seconds=300, shards=1)
    buffer = Buffer(wire.storage)
    wire.tables.cut_before(_row_write, times=None)
    with pytest.raises(StorageUnavailable):
        buffer.store(rows)
    assert len({request.path for request in wire.tables.requests if _row_write(request)}) < len(rows) / 2
    wire.tables.clear()
    assert buffer.store(rows) == []
    assert len(list(buffer.due_windows(0, _NOON + ticks.TICKS_PER_DAY * 4, 300, 15))) == len(rows)


def test_a_write_whose_answer_is_lost_is_one_row(wire: Wire) -> None:
    buffer = Buffer(wire.storage)
    wire.tables.cut_after(when=_row_write)
    _until_stored(lambda: _store(buffer, 1))
    assert len(_rows(buffer)) == 1
    assert sum(map(_row_write, wire.tables.requests)) == 2


def test_a_write_that_does_not_arrive_is_told_or_sent_again(wire: Wire) -> None:
    buffer = Buffer(wire.storage)
    wire.tables.cut_before(when=_row_write)
    _until_stored(lambda: _store(buffer, 1))
    assert len(_rows(buffer)) == 1
    assert sum(map(_row_write, wire.tables.requests)) == 2


def test_a_deletion_whose_answer_is_lost_leaves_nothing_behind(wire: Wire) -> None:
    buffer = Buffer(wire.storage)
    for number in range(3):
        _store(buffer, number)
    rows = _rows(buffer)
    wire.tables.cut_after(when=_transaction)
    _until_stored(lambda: buffer.delete(rows))
    assert buffer.delete(rows) == 3
    assert buffer.shards() == []
    assert sum(map(_transaction, wire.tables.requests)) > 1


def test_a_mark_whose_answer_is_lost_is_seen_by_the_next_flush(wire: Wire) -> None:
    buffer = Buffer(wire.storage)
    _store(buffer, 1)
    rows = _rows(buffer)
    wire.tables.cut_after(when=_transaction)
    try:
        unmarked = buffer.mark_creates_sent(rows, 0)
    except StorageUnavailable:
        unmarked = rows
    # Either way nothing may be sent on the strength of a mark that nobody confirmed.
    assert unmarked == rows
    assert [row.creates_sent for row in _rows(buffer)] == [True]


def test_a_reading_that_is_cut_off_is_not_the_end_of_the_window(wire: Wire) -> None:
    buffer = Buffer(wire.storage)
    for number in range(3):
        _store(buffer, number)
    wire.tables.cut_after(when=lambda request: request.method == "GET", times=None, half=True)
    with pytest.raises(StorageUnavailable):
        _rows(buffer)


def test_letters_whose_answer_is_lost_are_the_same_letters(wire: Wire) -> None:
    dead_letters = DeadLetters(wire.storage)
    events = [DeviceEvent(b"{", {}, {}, _NOON, "0a1b2c3d", "0", number) for number in range(3)]
    written = [letters.of_event(event, [failure_of_event(NotSupported("No JSON."))]) for event in events]
    wire.tables.cut_after(when=_transaction)
    _until_stored(lambda: dead_letters.store(written, _NOON + ticks.TICKS_PER_SECOND))
    assert sum(map(_transaction, wire.tables.requests)) == 2
    assert [summary.row_key for summary in dead_letters.select()] == [letter.row_key for letter in written]
