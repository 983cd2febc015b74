"""The flush over several storage accounts, while the list of them changes: each reading is written, and once."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from medtech import application, parts
from medtech.errors import StorageUnavailable
from medtech.flush.fanout import Fanout
from medtech.flush.message import FlushMessage
from medtech.flush.shard_marks import ShardMarks
from medtech.group import shard_tables
from medtech.group.shard_tables import ShardTables
from medtech.group.windows import shard_of
from medtech.health.record import Recorder, last_flush
from medtech.mapping.fhir import FhirMapping
from medtech.model import Measurement, ResourceIdentity
from medtech.persist.settle import SavedAs
from medtech.persist.watch import Watch
from medtech.storage.further import SETTING
from tests.accounts import Lists
from tests.azurite import ACCOUNT_KEY, free_ports
from tests.faults import FaultProxy
from tests.flush.samples import NOW, Run, known, measured
from tests.persist.samples import MAPPING, Server, points

_POINTS = {0: "60", 1: "61"}


class Apps:
    """Instances of an app that go by different lists of accounts, over one FHIR server."""

    def __init__(self, one: Run, both: Run, emptying: Run) -> None:
        self.one, self.both, self.emptying = one, both, emptying


@pytest.fixture
def apps(lists: Lists, server: Server, fhir: str) -> Iterator[Apps]:
    further = ("", lists.second_account, f"-{lists.second_account}")
    with ExitStack() as opened:
        runs = [Run(lists.storage(each), server, fhir) for each in further]
        for run in runs:
            opened.enter_context(run.client)
            opened.callback(run.storage.close)
        yield Apps(*runs)


def _batch(devices: list[ResourceIdentity], minutes: range = range(2)) -> list[Measurement]:
    return [measured(of, minute, str(60 + minute)) for of in devices for minute in minutes]


def _all_written(run: Run, devices: list[ResourceIdentity]) -> bool:
    return all([points(each) for each in run.observations(of)] == [_POINTS] for of in devices)


def test_a_batch_that_comes_again_under_another_list_is_written_once(apps: Apps, server: Server) -> None:
    devices = [known(server) for _ in range(8)]
    apps.one.store(_batch(devices), shards=4)
    apps.both.store(_batch(devices), shards=4)
    tally = apps.both.run()
    assert tally.observations == {SavedAs.CREATED: len(devices)}
    assert _all_written(apps.both, devices)
    assert apps.both.left() == []


def test_an_instance_with_the_old_list_and_one_with_the_new_lose_nothing_between_them(
    apps: Apps, server: Server
) -> None:
    # Their ids are drawn: with fewer, all shards may now and then be at home in the first account.
    devices = [known(server) for _ in range(24)]
    apps.one.store(_batch(devices, range(1)), shards=4)
    apps.both.store(_batch(devices, range(1, 2)), shards=4)
    apps.one.run()
    assert apps.both.left(), "the old instance does not see the second account"
    tally = apps.both.run()
    assert tally.outages == []
    assert _all_written(apps.both, devices)
    assert apps.both.left() == []


def test_a_copy_that_is_flushed_after_its_twin_changes_nothing(apps: Apps, server: Server) -> None:
    devices = [known(server) for _ in range(8)]
    apps.one.store(_batch(devices), shards=4)
    apps.one.run()
    apps.both.store(_batch(devices), shards=4)
    tally = apps.both.run()
    assert set(tally.observations) <= {SavedAs.NO_OPERATION}
    assert _all_written(apps.both, devices)
    assert apps.both.left() == []


def test_what_is_in_a_retired_account_is_written(apps: Apps, server: Server, lists: Lists) -> None:
    devices = [known(server) for _ in range(8)]
    apps.both.store(_batch(devices), shards=4)
    apps.emptying.run()
    assert _all_written(apps.emptying, devices)
    assert lists.keys(lists.second_account) == set()


class Outage:
    """An app with two accounts, of which the second can go away; which has every other shard."""

    def __init__(self, run: Run, account: FaultProxy, server: Server) -> None:
        self.run, self.account = run, account
        of_shard: dict[int, ResourceIdentity] = {}
        while len(of_shard) < 4:
            device = known(server)
            of_shard[shard_of(device.device, 4)] = device
        self.first_shards, self.second_shards = [of_shard[0], of_shard[2]], [of_shard[1], of_shard[3]]

    def store(self, minutes: range = range(2)) -> None:
        self.run.store(_batch([*self.first_shards, *self.second_shards], minutes), shards=4)

    def written(self, devices: list[ResourceIdentity]) -> list[bool]:
        return [[points(each) for each in self.run.observations(of)] == [_POINTS] for of in devices]

    def ends(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.account.clear()
        monkeypatch.setattr(shard_tables, "AWAY_SECONDS", 0.0)


@pytest.fixture
def outage(lists: Lists, wire_to_second: tuple[FaultProxy, str], server: Server, fhir: str) -> Iterator[Outage]:
    account, second = wire_to_second
    run = Run(lists.storage(second), server, fhir)
    with run.client:
        yield Outage(run, account, server)
    run.storage.close()


def _is_cut(account: FaultProxy) -> None:
    account.cut_before(times=None)


def _denies(account: FaultProxy) -> None:
    account.answer(403, times=None)


@pytest.mark.parametrize("goes_away", [_is_cut, _denies])
def test_an_account_that_is_away_holds_up_its_own_shards_alone(
    outage: Outage, monkeypatch: pytest.MonkeyPatch, goes_away: Callable[[FaultProxy], None]
) -> None:
    outage.store()
    outage.account.clear()
    goes_away(outage.account)
    tally = outage.run.run()
    assert all(outage.written(outage.first_shards)) and not any(outage.written(outage.second_shards))
    [error] = tally.outages
    assert f"{urlsplit(outage.account.url).netloc}/" in error.message
    assert SETTING in error.message
    assert len({request.path for request in outage.account.requests}) == 1, "it is asked once a flush"
    outage.ends(monkeypatch)
    assert outage.run.run().outages == []
    assert all(outage.written(outage.second_shards))
    assert outage.run.left() == []


def test_an_account_that_takes_a_request_and_says_nothing_is_away(
    outage: Outage, monkeypatch: pytest.MonkeyPatch
) -> None:
    outage.store()
    ended = threading.Event()
    outage.account.before_forwarding(lambda request: ended.wait(60), times=None)  # type: ignore[arg-type, return-value]
    monkeypatch.setattr(shard_tables, "ASKED_SECONDS", 0.2)
    tally = outage.run.run()
    ended.set()
    assert all(outage.written(outage.first_shards))
    assert ["No answer in time" in error.message for error in tally.outages] == [True]
    outage.ends(monkeypatch)
    outage.run.run()
    assert all(outage.written(outage.second_shards))


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock(outage: Outage, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """By which accounts are away."""
    clock = Clock()
    monkeypatch.setattr(outage.run.buffer._tables, "_monotonic", clock)
    return clock


@pytest.mark.parametrize("is_back", [False, True])
def test_a_flush_that_outlasts_the_mark_of_an_account_tells_it_all_the_same(
    outage: Outage, clock: Clock, is_back: bool
) -> None:
    outage.store()
    outage.account.cut_before(times=None)

    def mapping() -> FhirMapping:
        """Asked for once the shards are found."""
        clock.seconds += shard_tables.AWAY_SECONDS
        if is_back:
            outage.account.clear()
        return MAPPING

    tally = replace(outage.run.flush, fhir_mapping=mapping).run()
    assert all(outage.written(outage.first_shards)) and not any(outage.written(outage.second_shards))
    assert [SETTING in error.message for error in tally.outages] == [True]


def test_the_oldest_window_of_the_other_accounts_can_be_seen(
    outage: Outage, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "buffer", lambda: outage.run.buffer)
    monkeypatch.setattr(parts, "settings", lambda: outage.run.settings)
    outage.store()
    outage.account.cut_before(times=None)
    outage.run.run()
    clock.seconds += shard_tables.AWAY_SECONDS
    assert outage.run.buffer.oldest_window_within_reach() is None
    assert application._overdue_seconds() == 0
    with pytest.raises(StorageUnavailable):
        outage.run.buffer.oldest_window()
    outage.account.clear()
    assert outage.run.run().outages == []
    outage.store()
    assert outage.run.buffer.oldest_window_within_reach() == outage.run.buffer.oldest_window() is not None


def test_a_watched_shard_whose_account_is_away_is_left_alone(outage: Outage) -> None:
    outage.store()
    outage.run.flush.watches.of(1, lambda: NOW).add([Watch("Observation", "watched")])
    outage.account.clear()
    outage.account.cut_before(times=None)
    assert [SETTING in error.message for error in outage.run.run().outages] == [True]
    assert len({request.path for request in outage.account.requests}) == 1
    assert outage.run.flush.due() == []


def test_a_shard_does_not_ask_its_account_again_that_is_away(outage: Outage) -> None:
    outage.store()
    outage.account.cut_before(times=None)
    assert outage.run.flush.due() == [0, 2]
    outage.account.clear()
    for shard in (1, 3):
        with pytest.raises(StorageUnavailable, match=SETTING):
            next(outage.run.buffer.due_windows(shard, NOW, 300, 15))
    assert outage.account.requests == []


def test_an_account_that_answers_slowly_is_away_before_it_has_named_all_shards(outage: Outage, clock: Clock) -> None:
    outage.run.store(_batch([known(outage.run.server) for _ in range(60)], range(1)), shards=12)
    shards = outage.run.buffer.shards()

    def slowly(_: object) -> None:
        clock.seconds += 0.4 * shard_tables.ASKED_SECONDS

    outage.account.clear()
    outage.account.before_forwarding(slowly, times=None)
    assert outage.run.flush.due() == [shard for shard in shards if shard % 2 == 0]
    assert len(outage.account.requests) == 3
    assert ["No answer in time" in error.message for error in outage.run.buffer.away()] == [True]


def test_a_tick_asks_an_account_as_often_as_it_has_shards_and_not_for_those_of_others(
    outage: Outage, lists: Lists, server: Server, fhir: str
) -> None:
    """One that answers in seconds would else use up the tick, however few of the shards are its own."""
    before = Run(lists.storage(), server, fhir)
    before.store(_batch([known(server) for _ in range(60)], range(1)), shards=12)
    shards = before.buffer.shards()
    assert len(shards) > 6
    outage.run.flush.due()  # the first use of a table makes it
    outage.account.clear()
    assert outage.run.flush.due() == shards
    assert len(outage.account.requests) == 1
    before.client.close()
    before.storage.close()


def test_an_account_whose_mark_has_lapsed_is_within_reach_when_it_answers_again(outage: Outage, clock: Clock) -> None:
    """A look at others that takes longer than that does not make it well."""
    outage.store()
    outage.account.cut_before(times=None)
    assert outage.run.flush.due() == [0, 2]
    clock.seconds += shard_tables.AWAY_SECONDS
    assert [outage.run.buffer.is_within_reach(shard) for shard in range(4)] == [True, False, True, False]
    outage.account.clear()
    assert outage.run.flush.due() == [0, 1, 2, 3]


def test_accounts_are_asked_side_by_side(lists: Lists) -> None:
    """Those that hang take the time of one, and none is asked again before the last is given up."""
    ports = free_ports(2)
    hanging = [f"AccountName=a;AccountKey={ACCOUNT_KEY};TableEndpoint=http://127.0.0.1:{port}/a" for port in ports]
    storage = lists.storage(",".join(hanging))
    tables = ShardTables(storage, "buffer")
    all_are_asked = threading.Barrier(3)

    def answer(number: int, _: object) -> Iterator[int]:
        all_are_asked.wait(60)
        yield from (number, number)

    assert sorted(tables.all_within_reach(answer)) == [0, 0, 1, 1, 2, 2]
    for shard in range(3):
        assert [list(found) for found in tables.within_reach(answer, shard)] == [[0, 0], [1, 1], [2, 2]]
    storage.close()


def test_an_account_with_much_to_say_that_answers_promptly_is_not_away(lists: Lists) -> None:
    clock = Clock()
    tables = ShardTables(lists.storage(lists.second_account), "buffer", clock)

    def answers(number: int, _: object) -> Iterator[int]:
        for answer in range(1000):
            clock.seconds += shard_tables.PROMPT_SECONDS
            yield answer

    assert [list(found) for found in tables.within_reach(answers, shard=0)] == [list(range(1000))] * 2
    assert tables.away() == []


def test_of_several_accounts_that_are_away_each_is_told(
    lists: Lists, server: Server, fhir: str, caplog: pytest.LogCaptureFixture
) -> None:
    places = [f"127.0.0.1:{port}/account" for port in free_ports(2)]
    away = [f"AccountName=account;AccountKey={ACCOUNT_KEY};TableEndpoint=http://{place}" for place in places]
    run = Run(lists.storage(",".join(away)), server, fhir)
    with run.client, caplog.at_level(logging.ERROR):
        Recorder(lambda: run.storage).flush(run.run)
    last = last_flush(run.storage)
    assert last is not None
    for place in places:
        assert f"The flush is held up, nothing is lost: Account {place} of {SETTING}" in caplog.text
        assert f"Account {place} of {SETTING}" in last.held_up_by
    run.storage.close()


def test_of_a_shard_whose_account_is_away_nothing_is_written(
    outage: Outage, lists: Lists, server: Server, fhir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a list before has put elsewhere may be newer than what cannot be seen now."""
    before = Run(lists.storage(), server, fhir)
    before.store(_batch(outage.second_shards, range(1)), shards=4)
    outage.store(range(1, 2))
    outage.account.cut_before(times=None)
    outage.run.run()
    assert [outage.run.observations(of) for of in outage.second_shards] == [[], []]
    outage.ends(monkeypatch)
    assert outage.run.run().outages == []
    assert all(outage.written(outage.second_shards))
    assert outage.run.left() == []
    before.client.close()
    before.storage.close()


def test_by_queue_too_the_other_shards_go_on(outage: Outage, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = outage.run.storage
    fanout = Fanout(
        flush=outage.run.flush,
        marks=ShardMarks(storage, lambda: NOW),
        queue=storage.queue("medtech-flush"),
        poison=storage.queue("medtech-flush-poison"),
        clock=lambda: NOW,
    )
    outage.store()
    outage.account.cut_before(times=None)
    for shards in ({0, 2}, {1, 3}):
        put = fanout.run("")
        taken = list(fanout.queue.take())
        messages = [message for each in taken if (message := FlushMessage.read(each.body))]
        assert {message.shard for message in messages} == shards
        assert [SETTING in error.message for error in put.tally.outages] == [True] * (shards == {0, 2})
        for message, each in zip(messages, taken, strict=True):
            fanout.carry_out(message, 1)
            fanout.queue.delete(each)
        outage.ends(monkeypatch)
    assert all(outage.written([*outage.first_shards, *outage.second_shards]))
    assert outage.run.left() == []


def test_a_retired_account_that_is_away_holds_up_nothing(
    lists: Lists, wire_to_second: tuple[FaultProxy, str], server: Server, fhir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    account, second = wire_to_second
    devices = [known(server) for _ in range(8)]
    run, emptying = (Run(lists.storage(further), server, fhir) for further in (second, f"-{second}"))
    run.store(_batch(devices, range(1)), shards=4)
    emptying.store(_batch(devices, range(1, 2)), shards=4)
    account.cut_before(times=None)
    assert [SETTING in error.message for error in emptying.run().outages] == [True]
    assert all(len(run.observations(of)) == 1 for of in devices)
    account.clear()
    monkeypatch.setattr(shard_tables, "AWAY_SECONDS", 0.0)
    assert emptying.run().outages == []
    assert _all_written(emptying, devices)
    assert emptying.left() == []
    for each in (run, emptying):
        each.client.close()
        each.storage.close()


def test_a_batch_for_an_account_that_is_away_waits_in_the_hub_and_is_stored_once(outage: Outage) -> None:
    outage.account.cut_before(times=None)
    with pytest.raises(StorageUnavailable):
        outage.store()
    outage.account.clear()
    outage.run._batches -= 1
    outage.store()
    assert len(outage.run.left()) == 2 * len([*outage.first_shards, *outage.second_shards])
