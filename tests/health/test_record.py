"""What ingest and flush record for health, and that it costs them little."""

import pytest

from medtech.dotnet import ticks
from medtech.errors import SettingInvalid, StorageUnavailable
from medtech.flush.tally import Tally
from medtech.health.record import ARRIVAL_SECONDS, TABLE, Recorder, arrivals, last_flush
from medtech.model import DeviceEvent
from medtech.storage.connection import Storage
from tests.azurite import Wire, nobody

NOW = 638_000_000_000_000_000


def event(number: int, partition: str = "0") -> DeviceEvent:
    return DeviceEvent(b"{}", {}, {}, NOW, "0a1b2c3d", partition, number)


def test_a_partition_is_recorded_once_in_a_while(wire: Wire) -> None:
    seconds = [0.0]
    recorder = Recorder(lambda: wire.storage, clock=lambda: NOW + 1, monotonic=lambda: seconds[0])
    wire.storage.table(TABLE).get("", "")
    wire.tables.clear()
    for number in range(5):
        recorder.arrived([event(number), event(number + 1)])
    recorder.arrived([event(70, "1")])
    assert len(wire.tables.requests) == 2
    seconds[0] = ARRIVAL_SECONDS
    recorder.arrived([event(9)])
    found = {each.partition: each for each in arrivals(wire.storage)}
    assert (found["0"].sequence_number, found["0"].enqueued_time, found["0"].read_time) == (9, NOW, NOW + 1)
    assert found["1"].sequence_number == 70


def test_storage_that_is_away_fails_neither_batch_nor_flush() -> None:
    recorder = Recorder(nobody)
    recorder.arrived([event(1)])
    recorder.flush(Tally)


def test_a_flush_is_one_request(wire: Wire) -> None:
    recorder = Recorder(lambda: wire.storage)
    recorder.flush(Tally)
    wire.tables.clear()
    recorder.flush(Tally)
    assert len(wire.tables.requests) == 1


def test_by_queue_the_last_flush_is_that_of_each_shard(storage: Storage) -> None:
    now = [NOW]
    recorder = Recorder(lambda: storage, clock=lambda: now[0])
    away = StorageUnavailable("Away.")
    flushes = {0: Tally(windows=2, measurements=10), 3: Tally(windows=1, waiting=4, outages=[away])}
    for shard, tally in flushes.items():
        recorder.flush(lambda tally=tally: tally, shard=shard)
    now[0] += 5 * ticks.TICKS_PER_SECOND
    recorder.flush(Tally, by_queue=True)
    last = last_flush(storage)
    assert last is not None
    assert (last.ended, last.windows, last.measurements, last.waiting) == (now[0], 3, 10, 4)
    assert (last.held_up_by, last.failed) == ("Away.", False)


def test_what_a_shard_recorded_long_ago_says_nothing_of_today(storage: Storage) -> None:
    now = [NOW]
    recorder = Recorder(lambda: storage, clock=lambda: now[0])
    recorder.flush(lambda: Tally(windows=1, outages=[StorageUnavailable("Away.")]), shard=0)
    now[0] += 3600 * ticks.TICKS_PER_SECOND
    recorder.flush(Tally, by_queue=True)
    last = last_flush(storage)
    assert last is not None
    assert (last.windows, last.held_up_by) == (0, "")


def test_by_timer_the_records_of_shards_count_no_more(storage: Storage) -> None:
    recorder = Recorder(lambda: storage)
    recorder.flush(lambda: Tally(windows=1), shard=0)
    recorder.flush(Tally, by_queue=True)
    recorder.flush(Tally)
    last = last_flush(storage)
    assert last is not None
    assert last.windows == 0


def test_a_flush_that_fails_is_recorded_and_fails(storage: Storage) -> None:
    def fail() -> Tally:
        raise SettingInvalid("FHIR_SERVICE_URL is not an address.")

    with pytest.raises(SettingInvalid):
        Recorder(lambda: storage).flush(fail)
    last = last_flush(storage)
    assert last is not None
    assert (last.failed, last.held_up_by) == (True, "FHIR_SERVICE_URL is not an address.")


def test_the_interval_outlives_the_process_that_knew_it(storage: Storage) -> None:
    times = iter(NOW + each * ticks.TICKS_PER_SECOND for each in (0, 1, 3600, 3601, 9000, 9001))
    recorder = Recorder(lambda: storage, clock=lambda: next(times))
    recorder.flush(Tally)
    assert _interval(storage) is None
    recorder.flush(Tally)
    assert _interval(storage) == 3600
    Recorder(lambda: storage, clock=lambda: next(times)).flush(Tally)
    assert _interval(storage) == 3600


def test_a_flush_that_is_started_by_hand_does_not_make_the_next_one_late(storage: Storage) -> None:
    times = iter(NOW + each * ticks.TICKS_PER_SECOND for each in (0, 1, 3600, 3601, 3605, 3606))
    recorder = Recorder(lambda: storage, clock=lambda: next(times))
    for _ in range(3):
        recorder.flush(Tally)
    assert _interval(storage) == pytest.approx(3240)


def _interval(storage: Storage) -> float | None:
    last = last_flush(storage)
    assert last is not None
    return last.interval_seconds


def test_a_row_of_another_version_is_read_as_far_as_it_goes(storage: Storage) -> None:
    storage.table(TABLE).upsert({"PartitionKey": "flush", "RowKey": "last", "ended": str(NOW), "windows": "many"})
    last = last_flush(storage)
    assert last is not None
    assert (last.ended, last.began, last.windows, last.failed) == (NOW, 0, 0, False)
