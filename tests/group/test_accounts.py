"""The buffer over several storage accounts: two real Azurites, and lists that change while rows are in them."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from medtech.dotnet import ticks
from medtech.group import segment, windows
from medtech.group.accounts import PARTITION_KEY, QUIET_SECONDS, RENEW_SECONDS, TABLE, Accounts, Standing
from medtech.group.buffer import Buffer, SegmentRow, segment_rows
from medtech.group.reading import Left
from medtech.group.replayed import Replayed
from medtech.model import Measurement
from medtech.storage.connection import Storage
from medtech.storage.further import SETTING
from tests.accounts import Lists
from tests.faults import FaultProxy

_NOON = 637_826_832_000_000_000  # 2022-03-12T12:00:00Z
_LATER = _NOON + ticks.TICKS_PER_HOUR
_PORTION = 64 * 1024 * 1024
_SHARDS = 4


def _measurement(number: int, device: str, text: str = "61") -> Measurement:
    return Measurement("heartRate", _NOON, device, None, None, None, (("hr", text),), _NOON, "0", number, 0, 0)


def _batch(count: int = 40, shards: int = _SHARDS, first: int = 0) -> list[SegmentRow]:
    numbers = range(first, first + count)
    prefix = windows.event_row_prefix(
        hub="0a1b2c3d", partition="0", first_sequence=first, last_sequence=first + count - 1, first_enqueued=_NOON
    )
    rows, _ = segment_rows(
        [_measurement(number, f"device-{number}") for number in numbers],
        hub="0a1b2c3d",
        row_prefix=prefix,
        window_seconds=300,
        shards=shards,
    )
    return rows


def _found(buffer: Buffer) -> list[int]:
    """The sequence numbers of all that a flush would read."""
    return sorted(
        measurement.sequence_number
        for shard in buffer.shards()
        for window in buffer.due_windows(shard, _LATER, 300, 15)
        for portion in buffer.read(shard, window, _PORTION)
        for measurement in portion.measurements()
    )


def _flushed(buffer: Buffer) -> None:
    for shard in buffer.shards():
        for window in buffer.due_windows(shard, _LATER, 300, 15):
            reading = buffer.read(shard, window, _PORTION)
            list(reading)
            buffer.delete(reading.rows)


def test_shards_take_turns_over_the_accounts(lists: Lists) -> None:
    lists.both().store(_batch())
    assert {windows.shard_in(key) for key in lists.keys(lists.first)} == {0, 2}
    assert {windows.shard_in(key) for key in lists.keys(lists.second_account)} == {1, 3}


def test_what_is_in_any_account_is_found_once_and_in_order(lists: Lists) -> None:
    buffer = lists.both()
    buffer.store(_batch())
    assert buffer.shards() == [0, 1, 2, 3]
    assert _found(buffer) == list(range(40))
    assert buffer.oldest_window() == _NOON


def test_rows_written_before_the_list_grew_are_flushed_with_those_after(lists: Lists) -> None:
    lists.one().store(_batch())
    grown = lists.both()
    grown.store(_batch(first=100))
    assert _found(grown) == [*range(40), *range(100, 140)]
    assert all(len(list(grown.due_windows(shard, _LATER, 300, 15))) == 1 for shard in range(_SHARDS))
    _flushed(grown)
    assert (lists.keys(lists.first), lists.keys(lists.second_account)) == (set(), set())


def test_one_batch_stored_under_two_lists_has_each_reading_twice_and_both_rows_go(lists: Lists) -> None:
    lists.one().store(_batch())
    both = lists.both()
    both.store(_batch())
    moved = [row for row in _batch() if windows.shard_in(row.partition_key) % 2]
    # These have their row twice, under one key; what is equal is dropped as any redelivery is.
    twice = sum(len(segment.unpack(row.packed.payload)[1]) for row in moved)
    assert len(_found(both)) == 40 + twice
    assert sorted(set(_found(both))) == list(range(40))
    _flushed(both)
    assert _found(both) == []


def test_of_two_rows_with_one_key_each_is_changed_where_it_is(lists: Lists) -> None:
    [row] = _batch(4, shards=2)[1:] or _batch(4, shards=2)
    lists.one().store([row])
    both = lists.both()
    both.store([row])
    shard = windows.shard_in(row.partition_key)
    reading = both.read(shard, _NOON, _PORTION)
    [portion] = reading
    first, second = reading.rows
    assert first.row_key == second.row_key
    assert {number for part in portion.parts for number in part.row_numbers} == {0, 1}
    assert both.mark_creates_sent([second], 7) == []
    kept = portion.measurements()[:1]
    assert both.replace([Left(second, kept)]) == [second]
    assert both.delete([first]) == 1
    [left] = both.read(shard, _NOON, _PORTION)
    assert left.measurements() == kept
    assert left.rows[0].creates_sent


def test_a_window_larger_than_memory_is_read_from_both_accounts(lists: Lists) -> None:
    lists.one().store(_batch(60, shards=1))
    # Shard 0's home is the first account on any list, so what an instance wrote by a longer list is put there by hand.
    moved = Storage(environment={"BufferStorage": lists.second_account}).table(TABLE)
    for row in _batch(60, shards=1, first=100):
        moved.upsert(row.entity())
    reading = lists.both().read(0, _NOON, 1_000)
    portions = [portion.measurements() for portion in reading]
    assert len(portions) > 1
    assert sorted(each.sequence_number for portion in portions for each in portion) == [*range(60), *range(100, 160)]


def test_replayed_letters_are_found_in_any_account(lists: Lists) -> None:
    replayed = Replayed("day", "letter", "job", 1, False)
    rows = [row._replace(row_prefix=windows.replay_row_prefix("x"), replayed=replayed) for row in _batch(8)]
    lists.one().store_replayed(rows)
    both = lists.both()
    for row in rows:
        assert both.stored_replayed(row.partition_key, row.row_key, row.row_key) == {row.row_key}


def test_a_retired_account_is_emptied_and_not_written_to(lists: Lists) -> None:
    lists.both().store(_batch())
    emptying = lists.emptying()
    emptying.store(_batch(first=100))
    assert _found(emptying) == [*range(40), *range(100, 140)]
    _flushed(emptying)
    emptying.store(_batch(first=200))
    assert lists.keys(lists.second_account) == set()


def _standings(storage: Storage) -> list[Standing]:
    return [account.standing for account in Accounts(storage).look()]


def test_an_account_with_rows_that_is_taken_off_the_list_is_told(
    lists: Lists, caplog: pytest.LogCaptureFixture
) -> None:
    lists.both().store(_batch())
    place = lists.storage(lists.second_account).further()[0].place
    [left_out] = Accounts(lists.storage()).look()
    assert (left_out.place, left_out.standing) == (place, Standing.LEFT_OUT)
    assert f"{place}, which {SETTING} does not name any more" in left_out.advice
    with caplog.at_level(logging.ERROR):
        flushing = lists.one()
        flushing.look_after_accounts(ticks.now())
        flushing.look_after_accounts(ticks.now())
    assert [record.message for record in caplog.records] == [left_out.advice]
    assert _found(lists.both()) == list(range(40))


def test_an_account_may_go_once_it_is_empty_and_nobody_writes_to_it_any_more(lists: Lists) -> None:
    lists.both().store(_batch())
    storage = lists.storage(f"-{lists.second_account}")
    emptying = Buffer(storage)
    soon, later = (
        ticks.now() + seconds * ticks.TICKS_PER_SECOND for seconds in (QUIET_SECONDS - 60, QUIET_SECONDS + 1)
    )
    emptying.look_after_accounts(later)
    assert _standings(storage) == [Standing.EMPTYING], "it has rows"
    _flushed(emptying)
    emptying.look_after_accounts(soon)
    assert _standings(storage) == [Standing.EMPTYING], "an instance of the old deployment may still write"
    emptying.look_after_accounts(later)
    assert _standings(storage) == [Standing.EMPTIED]
    assert _standings(lists.storage()) == []


def test_a_retired_account_that_goes_away_while_it_is_looked_after_holds_up_nothing(
    lists: Lists, wire_to_second: tuple[FaultProxy, str]
) -> None:
    account, second = wire_to_second
    using, emptying = lists.storage(second), lists.storage(f"-{second}")
    Accounts(using).note(1)
    quiet = ticks.now() + (QUIET_SECONDS + 60) * ticks.TICKS_PER_SECOND
    buffer = Buffer(emptying)
    buffer.due_shards(quiet, 300, 15)
    account.answer(503, times=None)
    buffer.look_after_accounts(quiet)
    account.clear()
    assert _standings(emptying) == [Standing.EMPTYING]
    buffer.look_after_accounts(quiet)
    assert _standings(emptying) == [Standing.EMPTIED]
    using.close()
    emptying.close()


def test_a_first_account_that_is_made_a_further_one_is_told(lists: Lists) -> None:
    lists.both().store(_batch())
    swapped = Storage(environment={"BufferStorage": lists.second_account, SETTING: lists.first})
    assert _standings(swapped) == [Standing.WAS_FIRST]
    assert _found(Buffer(swapped)) == list(range(40))


def test_an_account_is_put_on_record_once_and_renewed(lists: Lists) -> None:
    storage, clock = lists.storage(lists.second_account), [0.0]
    accounts = Accounts(storage, lambda: clock[-1])
    written = []
    for at in (0.0, RENEW_SECONDS - 1, RENEW_SECONDS + 1):
        clock.append(at)
        accounts.note(1)
        [row] = storage.table(TABLE).query(f"PartitionKey eq '{PARTITION_KEY}'")
        written.append(row["etag"])
    assert written[0] == written[1] != written[2]


def test_rows_that_are_written_side_by_side_do_not_wait_for_each_others_record(
    lists: Lists, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each may wait for long where the first account says nothing."""
    storage = lists.storage(lists.second_account)
    accounts = Accounts(storage)
    all_are_at_it = threading.Barrier(3)
    monkeypatch.setattr(storage.table(TABLE), "upsert", lambda _: all_are_at_it.wait(60))
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(accounts.note, [1, 1, 1]))
    accounts.note(1)


def test_with_one_account_nothing_is_put_on_record(lists: Lists) -> None:
    buffer = lists.one()
    buffer.store(_batch())
    buffer.look_after_accounts(ticks.now())
    assert Accounts(lists.storage()).look() == []
    table = lists.storage().table(TABLE)
    assert [row for row in table.query("PartitionKey ne ''") if row["PartitionKey"] == PARTITION_KEY] == []
