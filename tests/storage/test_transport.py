"""Storage is asked only until the deadline, whatever the storage packages' own timeouts and retries are."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from medtech.deadline import Deadline, within
from medtech.errors import OutOfTime, Unavailable
from medtech.side_counts import Throttled, collected
from medtech.storage import lease
from medtech.storage.connection import Storage
from tests.azurite import Wire
from tests.faults import ProxiedRequest


def _read(storage: Storage) -> None:
    storage.table("made").get("p", "a")


def _acquire(storage: Storage) -> None:
    lease.acquire(storage, "work")


@pytest.mark.parametrize("call", [_read, _acquire], ids=["table", "blob"])
def test_after_the_deadline_nothing_is_sent_again(wire: Wire, call: Callable[[Storage], None]) -> None:
    seconds = [0.0]

    def hang(request: ProxiedRequest) -> None:
        seconds.append(11.0)

    for proxy in (wire.tables, wire.blobs):
        proxy.rule(lambda request, forward: (hang(request), forward())[1], times=1)
        proxy.cut_before(times=None)
    with within(Deadline(10, lambda: seconds[-1])), pytest.raises(OutOfTime):
        call(wire.storage)
    assert len(wire.tables.requests + wire.blobs.requests) == 1


@pytest.mark.parametrize("call", [_read, _acquire], ids=["table", "blob"])
def test_an_answer_is_not_awaited_any_longer(wire: Wire, call: Callable[[Storage], None]) -> None:
    ended = threading.Event()
    for proxy in (wire.tables, wire.blobs):
        proxy.before_forwarding(lambda request: ended.wait(60), times=None)
    started = time.monotonic()
    with within(Deadline(1)), pytest.raises(Unavailable):
        call(wire.storage)
    # As long as calls without a deadline wait for one answer.
    assert time.monotonic() - started < 30
    ended.set()


def test_a_service_that_asks_for_a_long_wait_gets_a_short_one(wire: Wire) -> None:
    wire.tables.answer(503, headers={"Retry-After": "60"}, times=None)
    started = time.monotonic()
    with within(Deadline(1)), pytest.raises(OutOfTime):
        wire.storage.table("made").get("p", "a")
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("status", [429, 503])
def test_answers_that_throttle_are_counted(wire: Wire, status: int) -> None:
    wire.tables.answer(status)
    # Whether it is asked again is the packages' affair.
    with collected() as counts, suppress(Unavailable):
        _read(wire.storage)
    assert counts == {Throttled("storage"): 1}
