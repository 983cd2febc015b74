"""The rows of attempts in a real table; another `Attempts` stands for another process."""

import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from medtech.dotnet import ticks
from medtech.errors import PoisonMessage, StorageUnavailable, Unavailable
from medtech.ingest.attempts import PAUSE_SECONDS, TABLE, Attempts, _Row
from medtech.ingest.suspects import Suspect, Suspects
from medtech.model import DeviceEvent
from medtech.storage.connection import Storage
from medtech.storage.table import Entity
from tests.azurite import Wire, nobody
from tests.ingest.mortal import HUB, batch


class Died(BaseException):
    """Stands for the end of a process: nothing after it runs."""


class Work:
    """What is put through, by its borders; it may fail or end the process, and what is given up."""

    def __init__(self, *deadly: int, error: Exception | None = None) -> None:
        self.deadly = set(deadly)
        self.error = error
        self.done: list[tuple[int, int]] = []
        self.buried: list[int] = []

    def process(self, events: Sequence[DeviceEvent]) -> int:
        if self.error is not None:
            raise self.error
        if self.deadly & {event.sequence_number for event in events}:
            raise Died
        self.done.append((events[0].sequence_number, events[-1].sequence_number))
        return len(events)

    def bury(self, event: DeviceEvent, _: PoisonMessage) -> int:
        self.buried.append(event.sequence_number)
        return 1

    def run(self, attempts: Attempts, first: int, last: int, *, retried: bool = False) -> list[int]:
        return attempts.run(batch("3", first, last), self.process, self.bury, retried=retried)


def _rows(storage: Storage) -> list[Entity]:
    return list(storage.table(TABLE).query("PartitionKey ne ''"))


def _until_it_goes_through(storage: Storage, work: Work, first: int, last: int) -> int:
    for deaths in range(20):
        try:
            work.run(Attempts(storage), first, last)
        except Died:
            continue
        return deaths
    raise AssertionError


def _writes(wire: Wire) -> list[str]:
    return [request.method for request in wire.tables.requests if "$batch" in request.path]


def test_a_process_that_goes_on_writes_no_row(wire: Wire) -> None:
    attempts, work = Attempts(wire.storage), Work()
    for first in range(0, 500, 50):
        work.run(attempts, first, first + 49)
    assert len(_writes(wire)) == 2  # a row for the first batch, and its deletion
    assert len(work.done) == 10
    assert _rows(wire.storage) == []


def test_the_row_is_written_before_the_work_starts(storage: Storage) -> None:
    with pytest.raises(Died):
        Work(5).run(Attempts(storage), 0, 9)
    [row] = _rows(storage)
    assert (row["PartitionKey"], row["RowKey"], row["trial"]) == (HUB, "0003", "[0, 9]")


def test_a_retry_is_recorded(storage: Storage) -> None:
    attempts = Attempts(storage)
    Work().run(attempts, 0, 9)
    with pytest.raises(Died):
        Work(10).run(attempts, 10, 19, retried=True)
    assert len(_rows(storage)) == 1


def test_a_partition_that_comes_back_is_recorded(storage: Storage) -> None:
    attempts = Attempts(storage)
    Work().run(attempts, 0, 9)
    with pytest.raises(Died):
        Work(30).run(attempts, 30, 39)
    assert len(_rows(storage)) == 1


def test_what_python_saw_is_not_a_death(storage: Storage) -> None:
    failing = Work(error=LookupError())
    for _ in range(10):
        with pytest.raises(LookupError):
            failing.run(Attempts(storage), 0, 9)
    work = Work()
    work.run(Attempts(storage), 0, 9)
    assert (work.done, work.buried) == ([(0, 9)], [])


def test_storage_that_goes_away_while_a_batch_is_put_through_is_not_a_death(storage: Storage) -> None:
    """Whichever process has the partition next: a long outage with restarts gives up nothing."""
    failing = Work(error=StorageUnavailable("Storage (table `buffer`) is away (503)."))
    for _ in range(10):
        with pytest.raises(StorageUnavailable):
            failing.run(Attempts(storage), 0, 9)
    work = Work()
    work.run(Attempts(storage), 0, 9)
    assert (work.done, work.buried) == ([(0, 9)], [])


def test_a_row_holds_hundreds_of_suspects(storage: Storage) -> None:
    """As a text they would be longer than a property may be, and no attempt at the partition could be recorded."""
    events = batch("3", 0, 1999)
    suspects = Suspects(
        tuple(
            Suspect(event.sequence_number, event.sequence_number, event.enqueued_time, 5, 1, number % 2 == 0)
            for number, event in enumerate(events)
        )
    )
    assert len(suspects.to_json()) > 64 * 1024
    row = _Row(storage.table(TABLE), HUB, "3", "first", ticks.now)
    row.open(events)
    row.write(suspects, None)
    assert _Row(storage.table(TABLE), HUB, "3", "second", ticks.now).open(events) == suspects


def test_storage_that_is_away_leaves_the_batch_in_the_hub() -> None:
    work = Work()
    with pytest.raises(StorageUnavailable):
        work.run(Attempts(nobody()), 0, 9)
    assert work.done == []


def test_the_neighbours_of_poison_are_put_through_and_it_is_given_up(storage: Storage) -> None:
    work = Work(4)
    assert _until_it_goes_through(storage, work, 0, 9) == 4
    assert work.buried == [4]
    assert sorted(work.done) == [(number, number) for number in range(10) if number != 4]
    assert _rows(storage) == []


def test_while_a_suspect_is_tried_no_row_blames_one_of_another_partition(storage: Storage) -> None:
    partitions = ("3", "4")
    for partition in partitions:
        for _ in range(3):
            with pytest.raises(Died):
                Attempts(storage).run(batch(partition, 0, 9), Work(4).process, Work().bury, retried=False)
    attempts, blamed = Attempts(storage), []

    def process(events: Sequence[DeviceEvent]) -> int:
        time.sleep(0.01)  # the other thread comes to wait for its turn
        rows = {row["RowKey"]: row for row in _rows(storage)}
        rows.pop(f"{events[0].partition:0>4}")
        blamed.extend(row["trial"] for row in rows.values() if row["owner"] == own and row["trial"] != "null")
        return len(events)

    own = attempts._owner
    with ThreadPoolExecutor(2) as pool:
        for partition in partitions:
            pool.submit(attempts.run, batch(partition, 0, 9), process, Work().bury, retried=False)
    assert blamed == []
    assert _rows(storage) == []


def test_a_suspect_is_tried_while_no_other_partition_is_worked_on(storage: Storage) -> None:
    for _ in range(3):
        with pytest.raises(Died):
            Attempts(storage).run(batch("3", 0, 9), Work(4).process, Work().bury, retried=False)
    attempts, under_way, beside = Attempts(storage), Counter[str](), set[str]()

    def process(events: Sequence[DeviceEvent]) -> int:
        under_way[events[0].partition] += 1
        time.sleep(0.02)  # the other thread comes to its own
        if under_way["3"]:
            beside.update(partition for partition, count in under_way.items() if count and partition != "3")
        under_way[events[0].partition] -= 1
        return len(events)

    def go_on() -> None:
        for first in range(0, 200, 10):
            attempts.run(batch("4", first, first + 9), process, Work().bury, retried=False)

    with ThreadPoolExecutor(2) as pool:
        others = pool.submit(go_on)
        pool.submit(attempts.run, batch("3", 0, 9), process, Work().bury, retried=False).result()
        others.result()
    assert beside == set()


def test_an_owner_that_is_displaced_and_alive_does_no_harm(storage: Storage) -> None:
    first, second = Attempts(storage), Attempts(storage)
    inner, outer = Work(), Work()

    def meanwhile(events: Sequence[DeviceEvent]) -> int:
        inner.run(second, 0, 9)
        return outer.process(events)

    first.run(batch("3", 0, 9), meanwhile, outer.bury, retried=False)
    assert (inner.done, outer.done) == ([(0, 9)], [(0, 9)])
    assert _rows(storage) == []


def test_a_displaced_owner_leaves_the_row_to_its_successor(storage: Storage) -> None:
    first, second = Attempts(storage), Attempts(storage)

    def displaced(_: Sequence[DeviceEvent]) -> int:
        with pytest.raises(Died):
            Work(5).run(second, 0, 9)
        return 1

    first.run(batch("3", 0, 9), displaced, Work().bury, retried=False)
    assert len(_rows(storage)) == 1


def test_a_row_behind_the_checkpoint_is_forgotten(storage: Storage) -> None:
    with pytest.raises(Died):
        Work(4).run(Attempts(storage), 0, 9)
    work = Work()
    work.run(Attempts(storage), 10, 19)
    assert work.done == [(10, 19)]
    assert _rows(storage) == []


def test_suspects_beyond_the_batch_are_honoured_by_the_next(storage: Storage) -> None:
    work = Work(70)
    for _ in range(3):
        with pytest.raises(Died):
            work.run(Attempts(storage), 0, 99)
    attempts = Attempts(storage)
    work.run(attempts, 0, 49)
    assert len(_rows(storage)) == 1
    work.deadly.clear()
    work.run(attempts, 50, 99)
    assert max(last - first for first, last in work.done) < 10
    assert _rows(storage) == []


def test_a_damaged_row_is_written_anew(storage: Storage) -> None:
    storage.table(TABLE).upsert({"PartitionKey": HUB, "RowKey": "0003", "parts": 1, "p00": b"[[", "trial": "7"})
    work = Work()
    work.run(Attempts(storage), 0, 9)
    assert work.done == [(0, 9)]
    assert _rows(storage) == []


def test_a_batch_that_takes_too_long_goes_on_at_its_next_delivery(storage: Storage) -> None:
    work = Work(4)
    for _ in range(3):
        with pytest.raises(Died):
            work.run(Attempts(storage), 0, 9)
    work.deadly.clear()
    now = 0.0

    def monotonic() -> float:
        nonlocal now
        now += PAUSE_SECONDS / 2
        return now

    slow = Attempts(storage, monotonic=monotonic)
    deliveries = 1
    while True:
        try:
            work.run(slow, 0, 9, retried=deliveries > 1)
        except Unavailable:
            deliveries += 1
        else:
            break
    assert 1 < deliveries < 10
    assert work.done == [(number, number) for number in range(10)]
    assert work.buried == []


def test_the_row_says_when_it_was_written(storage: Storage) -> None:
    with pytest.raises(Died):
        Work(4).run(Attempts(storage, clock=lambda: ticks.UNIX_EPOCH), 0, 9)
    assert _rows(storage)[0]["written"] == "1970-01-01T00:00:00.0000000Z"
