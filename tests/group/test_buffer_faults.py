"""The buffer and the dead letters over a wire that breaks: a real Azurite behind a proxy that makes the faults."""

from collections.abc import Callable, Iterator

import pytest

from dev.processes import STORAGE_ACCOUNT
from medtech.dead_letter import letter as letters
from medtech.dead_letter.store import DeadLetters
from medtech.dotnet import ticks
from medtech.errors import NotSupported, StorageUnavailable
from medtech.group import windows
from medtech.group.buffer import Buffer, Row, segment_rows
from medtech.model import DeviceEvent, Measurement
from medtech.storage import Storage
from tests.faults import FaultProxy, ProxiedRequest

_NOON = 637_826_832_000_000_000  # 2022-03-12T12:00:00Z


@pytest.fixture
def proxy(storage: Storage, azurite: str) -> Iterator[FaultProxy]:
    """Stands before the tables of the account that `storage` emptied."""
    [address] = [part for part in azurite.split(";") if part.startswith("TableEndpoint=")]
    target = address.removeprefix("TableEndpoint=")
    with FaultProxy(target.rsplit("/", 1)[0]) as proxy:
        yield proxy


@pytest.fixture
def wired(proxy: FaultProxy, azurite: str) -> Storage:
    """The account, with its tables reached through the proxy."""
    parts = [part for part in azurite.split(";") if part and not part.startswith("TableEndpoint=")]
    connection = ";".join([*parts, f"TableEndpoint={proxy.url}/{STORAGE_ACCOUNT}"])
    return Storage(environment={"BufferStorage": connection})


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
    return [row for rows in buffer.read(0, _NOON, 10**9) for row in rows]


def _until_stored(store: Callable[[], object]) -> None:
    """What the hub does: the batch comes again until it is stored."""
    for _ in range(5):
        try:
            store()
        except StorageUnavailable:
            continue
        return
    raise AssertionError("never stored")


def test_a_throttled_write_is_sent_again(proxy: FaultProxy, wired: Storage) -> None:
    proxy.answer(503, when=_row_write)
    _store(Buffer(wired), 1)
    assert len(_rows(Buffer(wired))) == 1


def test_a_service_that_stays_busy_is_away(proxy: FaultProxy, wired: Storage) -> None:
    proxy.answer(503, when=_row_write, times=None)
    with pytest.raises(StorageUnavailable):
        _store(Buffer(wired), 1)


def test_a_write_whose_answer_is_lost_is_one_row(proxy: FaultProxy, wired: Storage) -> None:
    buffer = Buffer(wired)
    proxy.cut_after(when=_row_write)
    _until_stored(lambda: _store(buffer, 1))
    assert len(_rows(buffer)) == 1
    assert sum(map(_row_write, proxy.requests)) == 2


def test_a_write_that_does_not_arrive_is_told_or_sent_again(proxy: FaultProxy, wired: Storage) -> None:
    buffer = Buffer(wired)
    proxy.cut_before(when=_row_write)
    _until_stored(lambda: _store(buffer, 1))
    assert len(_rows(buffer)) == 1
    assert sum(map(_row_write, proxy.requests)) == 2


def test_a_deletion_whose_answer_is_lost_leaves_nothing_behind(proxy: FaultProxy, wired: Storage) -> None:
    buffer = Buffer(wired)
    for number in range(3):
        _store(buffer, number)
    rows = _rows(buffer)
    proxy.cut_after(when=_transaction)
    _until_stored(lambda: buffer.delete(rows))
    assert buffer.delete(rows) == 3
    assert buffer.shards() == []
    assert sum(map(_transaction, proxy.requests)) > 1


def test_a_mark_whose_answer_is_lost_is_seen_by_the_next_flush(proxy: FaultProxy, wired: Storage) -> None:
    buffer = Buffer(wired)
    _store(buffer, 1)
    rows = _rows(buffer)
    proxy.cut_after(when=_transaction)
    try:
        unmarked = buffer.mark_creates_sent(rows)
    except StorageUnavailable:
        unmarked = rows
    # Either way nothing may be sent on the strength of a mark that nobody confirmed.
    assert unmarked == rows
    assert [row.creates_sent for row in _rows(buffer)] == [True]


def test_a_reading_that_is_cut_off_is_not_the_end_of_the_window(proxy: FaultProxy, wired: Storage) -> None:
    buffer = Buffer(wired)
    for number in range(3):
        _store(buffer, number)
    proxy.cut_after(when=lambda request: request.method == "GET", times=None, half=True)
    with pytest.raises(StorageUnavailable):
        _rows(buffer)


def test_letters_whose_answer_is_lost_are_the_same_letters(proxy: FaultProxy, wired: Storage) -> None:
    dead_letters = DeadLetters(wired)
    events = [DeviceEvent(b"{", {}, {}, _NOON, "0a1b2c3d", "0", number) for number in range(3)]
    written = [letters.of_event(event, NotSupported("No JSON.")) for event in events]
    proxy.cut_after(when=_transaction)
    _until_stored(lambda: dead_letters.store(written, _NOON + ticks.TICKS_PER_SECOND))
    assert sum(map(_transaction, proxy.requests)) == 2
    assert [summary.row_key for summary in dead_letters.summaries()] == [letter.row_key for letter in written]
