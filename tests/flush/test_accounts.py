"""The flush over several storage accounts, while the list of them changes: each reading is written, and once."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from medtech.model import Measurement, ResourceIdentity
from medtech.persist.settle import SavedAs
from tests.accounts import Lists
from tests.flush.samples import Run, known, measured
from tests.persist.samples import Server, points

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
    devices = [known(server) for _ in range(8)]
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
