"""A flush by queue: the timer's messages and what becomes of them, over a real queue."""

import json
from contextlib import nullcontext
from typing import Any

import pytest

from medtech.deadline import Deadline, within
from medtech.dotnet import ticks
from medtech.errors import OutOfTime, PoisonShard, StorageUnavailable
from medtech.flush import fanout
from medtech.flush.fanout import TICK_SECONDS, Fanout
from medtech.flush.message import FlushMessage
from medtech.flush.shard_marks import LIFE_SECONDS, POISON_SECONDS, TABLE, ShardMark, ShardMarks
from medtech.group.windows import shard_of
from medtech.persist.settle import SavedAs
from medtech.storage import lease as leases
from medtech.storage.queue import Queue
from tests.azurite import Wire
from tests.faults import Answer, Forward, ProxiedRequest
from tests.flush.samples import NOW, MakeRun, Run, before, known, measured
from tests.kills import Killed, killed_before

TRACE = f"00-{'1' * 32}-{'2' * 16}-01"
NOBODYS = "f" * 32
"""A token of no mark."""


class Scene:
    """A run with one shard that is due, flushed by queue. `pass_seconds` moves the clock of the marks."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.now = NOW
        self.device = known(run.server)
        run.store([measured(self.device, 0)])
        self.queue, self.poison = run.storage.queue("medtech-flush"), run.storage.queue("medtech-flush-poison")
        self.marks = ShardMarks(run.storage, lambda: self.now)
        self.fanout = self.another()

    def another(self, **parts: Any) -> Fanout:
        """Another instance's."""
        own = {"flush": self.run.flush, "marks": self.marks, "queue": self.queue, "poison": self.poison}
        return Fanout(**(own | parts), clock=lambda: self.now)

    def pass_seconds(self, seconds: float) -> None:
        self.now += int(seconds * ticks.TICKS_PER_SECOND)

    def tick(self) -> int:
        """A tick without any outage; returns how many messages it put."""
        put = self.fanout.run(TRACE)
        assert put.tally.outages == []
        return put.put

    def messages(self) -> list[FlushMessage]:
        """Takes what is on the queue, and deletes it."""
        found = []
        for taken in self.queue.take():
            message = FlushMessage.read(taken.body)
            assert message is not None
            found.append(message)
            self.queue.delete(taken)
        return found

    def message(self) -> FlushMessage:
        [message] = self.messages()
        return message

    def mark(self) -> ShardMark | None:
        return self.marks.all().get(0)

    def is_written_once(self) -> bool:
        [observation] = self.run.observations(self.device)
        return bool(observation["meta"]["versionId"] == "1") and self.run.left() == []


@pytest.fixture
def scene(run: Run) -> Scene:
    return Scene(run)


def test_a_shard_that_is_due_gets_one_message_and_is_flushed_by_it(scene: Scene) -> None:
    assert [scene.tick(), scene.tick()] == [1, 0]
    message = scene.message()
    assert (message.shard, message.trace_context) == (0, TRACE)
    tally = scene.fanout.carry_out(message, 1)
    assert tally is not None
    assert tally.observations == {SavedAs.CREATED: 1}
    assert scene.is_written_once()
    assert scene.mark() is None
    assert scene.tick() == 0


def test_each_shard_has_a_message_of_its_own(scene: Scene) -> None:
    devices = [known(scene.run.server) for _ in range(20)]
    scene.run.store([measured(device, 0) for device in devices], shards=4)
    expected = {0} | {shard_of(device.device, 4) for device in devices}
    assert scene.tick() == len(expected)
    assert {message.shard for message in scene.messages()} == expected


def test_without_anything_due_nothing_is_put(run: Run) -> None:
    scene = Scene(run)
    run.flush.run()
    run.store([measured(scene.device, 1, enqueued=NOW)])
    put = scene.fanout.run(TRACE)
    assert (put.put, put.under_way, scene.messages()) == (0, 0, [])


def test_watches_alone_are_worth_a_message(scene: Scene) -> None:
    scene.run.flush.run()
    row = {
        "PartitionKey": "003|",
        "RowKey": "Observation|gone",
        "until": str(NOW),
        "issued_from": "0",
        "issued_to": "0",
    }
    scene.run.storage.table("watches").upsert(row)
    assert scene.tick() == 1
    message = scene.message()
    assert message.shard == 3
    scene.fanout.carry_out(message, 1)
    assert scene.tick() == 0


def test_of_two_timers_one_puts_the_message(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have read the marks before either has set one."""
    both_have_read = scene.marks.all()
    monkeypatch.setattr(scene.marks, "all", lambda: both_have_read)
    assert [scene.tick(), scene.another().run(TRACE).put] == [1, 0]
    scene.pass_seconds(LIFE_SECONDS)
    monkeypatch.undo()
    both_have_read = scene.marks.all()
    monkeypatch.setattr(scene.marks, "all", lambda: both_have_read)
    assert [scene.tick(), scene.another().run(TRACE).put] == [1, 0]


@pytest.mark.parametrize("clock", ["ahead", "behind"])
def test_a_timer_killed_between_mark_and_message_holds_the_shard_up_for_a_quarter_of_an_hour(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, clock: str
) -> None:
    def dies(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Queue, "put", dies)
        scene.fanout.run(TRACE)
    assert scene.messages() == []
    sign = LIFE_SECONDS if clock == "ahead" else -LIFE_SECONDS
    scene.pass_seconds(sign - (1 if clock == "ahead" else -1))
    assert scene.tick() == 0
    scene.pass_seconds(1 if clock == "ahead" else -1)
    assert scene.tick() == 1


def test_a_message_that_could_not_be_put_leaves_no_mark(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def is_away(*_: object, **__: object) -> None:
        raise StorageUnavailable("throttled")

    with monkeypatch.context() as patched:
        patched.setattr(Queue, "put", is_away)
        assert len(scene.fanout.run(TRACE).tally.outages) == 1
    assert scene.mark() is None
    assert scene.tick() == 1


@pytest.mark.parametrize("away_for_good", [False, True], ids=["until the mark is taken back", "until the next tick"])
def test_a_tick_that_ends_before_a_message_is_put_holds_no_shard_up(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, away_for_good: bool
) -> None:
    seconds = [0.0]

    def too_late(*_: object, **__: object) -> None:
        seconds.append(TICK_SECONDS)
        if away_for_good:
            monkeypatch.setattr(ShardMarks, "end", too_late)
        raise OutOfTime("the message was put")

    monkeypatch.setattr(fanout, "Deadline", lambda until: Deadline(until, lambda: seconds[-1]))
    monkeypatch.setattr(Queue, "put", too_late)
    assert [type(error) for error in scene.fanout.run(TRACE).tally.outages] == [OutOfTime]
    assert (scene.mark() is not None) is away_for_good
    monkeypatch.undo()
    assert scene.tick() == 1
    scene.fanout.carry_out(scene.message(), 1)
    assert scene.is_written_once()


@pytest.mark.parametrize("lapsed", [False, True], ids=["none before", "one lapsed before"])
def test_a_mark_whose_making_was_cut_holds_no_shard_up(scene: Scene, wire: Wire, lapsed: bool) -> None:
    if lapsed:
        scene.marks.set(0, None)
        scene.pass_seconds(LIFE_SECONDS)
    timer = scene.another(marks=ShardMarks(wire.storage, lambda: scene.now))
    wire.tables.cut_after(lambda request: request.path.endswith("/$batch"))
    assert len(timer.run(TRACE).tally.outages) == 1
    assert scene.mark() is not None, "it was made all the same"
    assert scene.messages() == []
    put = timer.run(TRACE)
    assert (put.put, put.tally.outages) == (1, [])
    scene.fanout.carry_out(scene.message(), 1)
    assert scene.is_written_once()
    assert scene.mark() is None


def test_a_mark_that_is_made_late_holds_no_shard_up(scene: Scene, wire: Wire) -> None:
    timer = scene.another(marks=ShardMarks(wire.storage, lambda: scene.now))
    late = wire.tables.late(lambda request: request.path.endswith("/$batch"))
    assert len(timer.run(TRACE).tally.outages) == 1
    assert (scene.mark(), scene.messages()) == (None, [])
    late.carry_out()
    assert scene.mark() is not None
    assert timer.run(TRACE).put == 1


def test_a_message_whose_answer_was_lost_and_one_that_was_put_since_flush_once(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_put = Queue.put

    def cut(queue: Queue, body: bytes, *, after_seconds: int = 0) -> None:
        really_put(queue, body)
        raise StorageUnavailable("cut")

    with monkeypatch.context() as patched:
        patched.setattr(Queue, "put", cut)
        assert len(scene.fanout.run(TRACE).tally.outages) == 1
    assert scene.tick() == 1
    first, second = scene.messages()
    for message in (first, second):
        scene.fanout.carry_out(message, 1)
    assert scene.is_written_once()
    assert scene.mark() is None


def test_a_message_that_came_twice_is_carried_out_once(scene: Scene) -> None:
    scene.tick()
    message = scene.message()
    scene.fanout.carry_out(message, 1)
    scene.run.store([measured(scene.device, 1)])
    assert scene.another().carry_out(message, 1) is None
    assert len(scene.run.left()) == 1


def test_a_message_that_comes_twice_at_once_finds_the_lease_held(scene: Scene) -> None:
    scene.tick()
    message = scene.message()
    with leases.acquire(scene.run.storage, "shard-000") or nullcontext():
        tally = scene.fanout.carry_out(message, 1)
    assert tally is not None
    assert (tally.windows, tally.outages, tally.held_up_by) == (0, [], [])
    assert len(scene.run.left()) == 1
    assert (scene.mark(), scene.tick()) == (None, 1)


def test_a_message_that_comes_hours_later_works_in_place_of_the_one_that_was_put_since(scene: Scene) -> None:
    scene.tick()
    [late] = scene.messages()
    scene.pass_seconds(5 * 3600)
    assert scene.tick() == 1
    [newer] = scene.messages()
    scene.fanout.carry_out(late, 1)
    assert scene.is_written_once()
    assert scene.fanout.carry_out(newer, 1) is None
    assert scene.mark() is None


def test_a_message_does_nothing_while_a_newer_one_is_carried_out(scene: Scene) -> None:
    scene.tick()
    [late] = scene.messages()
    scene.pass_seconds(LIFE_SECONDS)
    scene.tick()
    [newer] = scene.messages()
    assert scene.marks.begin(newer, 1) is not None
    assert scene.fanout.carry_out(late, 1) is None
    assert len(scene.run.left()) == 1


def test_to_begin_a_message_lengthens_the_life_of_its_mark(scene: Scene) -> None:
    scene.tick()
    message = scene.message()
    scene.pass_seconds(LIFE_SECONDS - 1)
    assert scene.marks.begin(message, 1) is not None
    scene.pass_seconds(LIFE_SECONDS - 1)
    assert scene.tick() == 0


def test_a_flush_that_is_killed_anywhere_is_done_by_the_message_when_it_comes_again(scene: Scene) -> None:
    number = 0
    while True:
        assert scene.tick() == 1
        message = scene.message()
        with killed_before(number) as writes:
            scene.fanout.carry_out(message, 1)
        if writes.begun <= number:
            break
        scene.fanout.carry_out(message, 2)
        assert scene.run.left() == []
        number += 1
        scene.run.store([measured(scene.device, number)])
    assert number > 2


def test_a_server_that_throttles_leaves_the_rows_and_ends_the_message(make_run: MakeRun, fhir: str) -> None:
    with before(fhir) as (proxy, url):
        scene = Scene(make_run(url))
        proxy.answer(429, times=None)
        scene.tick()
        tally = scene.fanout.carry_out(scene.message(), 1)
        assert tally is not None
        assert [type(error).__name__ for error in tally.outages] == ["FhirServerUnavailable"]
        assert (len(scene.run.left()), scene.mark()) == (1, None)
        proxy.clear()
        assert scene.tick() == 1
        scene.fanout.carry_out(scene.message(), 1)
        assert scene.is_written_once()


@pytest.mark.parametrize("moment", ["begin", "end"])
def test_a_message_whose_mark_cannot_be_reached_is_put_back_and_is_no_failure(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    def is_away(*_: object) -> None:
        raise StorageUnavailable("throttled")

    back: list[tuple[bytes, int]] = []
    scene.tick()
    message = scene.message()
    with monkeypatch.context() as patched:
        patched.setattr(ShardMarks, moment, is_away)
        patched.setattr(Queue, "put", lambda self, body, *, after_seconds=0: back.append((body, after_seconds)))
        assert scene.fanout.carry_out(message, 1) is not None
    [(body, after_seconds)] = back
    again = FlushMessage.read(body)
    assert (again, after_seconds > 0) == (message, True)
    scene.fanout.carry_out(message, 1)
    assert scene.is_written_once()
    assert scene.mark() is None


@pytest.mark.parametrize("status", [404, 409])
def test_what_a_gateway_says_of_a_mark_is_neither_a_failure_nor_the_end_of_the_message(
    scene: Scene, wire: Wire, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """Its 404 does not mean that the mark is gone: it would hold the shard up until it lapses."""
    scene.tick()
    message = scene.message()
    monkeypatch.setattr(fanout, "_AGAIN_SECONDS", 0)
    another = scene.another(marks=ShardMarks(wire.storage, lambda: scene.now))
    wire.tables.answer(status, b"<html>Not here</html>", times=None)
    tally = another.carry_out(message, 1)
    assert tally is not None
    assert [type(error) for error in tally.outages] == [StorageUnavailable]
    wire.tables.clear()
    another.carry_out(scene.message(), 1)
    assert scene.is_written_once()
    assert scene.mark() is None


def poisoned(scene: Scene, tries: int = 5) -> None:
    """What is left of a message at which the process ended so often, and that the host has moved."""
    [message] = scene.messages()
    for number in range(1, tries + 1):
        assert scene.marks.begin(message, number) is not None
    scene.poison.put(message.write())


def test_a_poison_message_lets_its_shard_wait_for_an_hour_and_says_so(scene: Scene) -> None:
    scene.tick()
    poisoned(scene)
    for passed in (POISON_SECONDS - 1, 1):
        put = scene.fanout.run(TRACE)
        assert put[1:] == (0, 0)
        [error] = put.tally.held_up_by
        assert isinstance(error, PoisonShard)
        assert "shard 0 " in error.message
        assert list(scene.poison.take()) == []
        scene.pass_seconds(passed)
    assert scene.tick() == 1
    scene.fanout.carry_out(scene.message(), 1)
    assert scene.is_written_once()
    assert scene.mark() is None


def test_other_shards_go_on_beside_a_poisoned_one(scene: Scene) -> None:
    scene.tick()
    poisoned(scene)
    others = [known(scene.run.server) for _ in range(20)]
    scene.run.store([measured(device, 0) for device in others if shard_of(device.device, 4) == 3], shards=4)
    assert scene.fanout.run(TRACE).put == 1
    assert scene.message().shard == 3


def test_a_message_that_failed_before_the_app_was_asked_does_not_poison_its_shard(scene: Scene) -> None:
    scene.tick()
    poisoned(scene, tries=0)
    assert scene.tick() == 1


@pytest.mark.parametrize("body", [b"", b"\xff", b"[]", FlushMessage(0, NOBODYS, "").write()])
def test_what_is_on_the_poison_queue_for_no_mark_is_removed(scene: Scene, body: bytes) -> None:
    scene.poison.put(body)
    assert scene.tick() == 1
    assert list(scene.poison.take()) == []


def test_a_poison_queue_full_of_others_messages_keeps_no_tick_from_its_shards(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may put messages may put them by the hundred thousand, and each takes a request to be deleted."""
    monkeypatch.setattr(fanout, "MOST_POISON_MESSAGES", 2)
    for _ in range(3):
        scene.poison.put(b"")
    assert scene.tick() == 1
    assert len(list(scene.poison.take())) == 0, "a page of them is hidden for a minute"
    properties = scene.poison._open().get_queue_properties()
    assert properties["approximate_message_count"] == 1, "the next ticks go on with it"


def test_without_time_a_tick_says_so_and_the_next_one_goes_on(scene: Scene) -> None:
    class Slow(ShardMarks):
        def all(self) -> dict[int, ShardMark]:
            with within(Deadline(0)):
                return super().all()

    put = scene.another(marks=Slow(scene.run.storage)).run(TRACE)
    assert [type(error) for error in put.tally.outages] == [OutOfTime]
    assert scene.tick() == 1


@pytest.mark.parametrize(
    "document",
    [
        None,
        {},
        {"shard": 0, "token": NOBODYS},
        {"shard": -1, "token": NOBODYS, "trace_context": ""},
        {"shard": 1000, "token": NOBODYS, "trace_context": ""},
        {"shard": True, "token": NOBODYS, "trace_context": ""},
        {"shard": "0", "token": NOBODYS, "trace_context": ""},
        {"shard": 0, "token": "x' or true", "trace_context": ""},
        {"shard": 0, "token": 7, "trace_context": ""},
        {"shard": 0, "token": NOBODYS, "trace_context": 7},
    ],
)
def test_a_message_of_somebody_elses_is_not_read(document: object) -> None:
    assert FlushMessage.read(json.dumps(document).encode()) is None


@pytest.mark.parametrize("body", [b"", b"\xff", b"[" * 100_000, b"{"])
def test_what_is_no_json_is_not_read(body: bytes) -> None:
    assert FlushMessage.read(body) is None


def test_rows_that_are_not_the_apps_are_no_marks(scene: Scene) -> None:
    table = scene.run.storage.table(TABLE)
    table.upsert({"PartitionKey": "shard", "RowKey": "somebody's"})
    table.upsert({"PartitionKey": "shard", "RowKey": "shard-000", "sign": "?", "tries": "many", "poisoned": -1})
    assert scene.mark() is not None
    assert scene.tick() == 1


@pytest.mark.parametrize("lapsed", [False, True])
def test_a_mark_that_was_made_before_an_error_was_answered_is_ones_own(wire: Wire, lapsed: bool) -> None:
    """A transaction that is answered 500 is sent again, and the second attempt finds what the first has done."""
    marks = ShardMarks(wire.storage, lambda: NOW)
    before = marks.set(0, None) if lapsed else None

    def failing(request: ProxiedRequest, forward: Forward) -> Answer:
        forward()
        return Answer(500, [], b"")

    marks.all()
    wire.tables.rule(failing, lambda request: request.path.endswith("/$batch"))
    mark = marks.set(0, before)
    assert mark is not None
    assert marks.all() == {0: mark}
    assert marks.set(0, None) is None, "another timer's"
