"""Two app instances write the same new Observations at once, each with half of the readings: none may be lost.

TWO_WRITERS_ROUNDS sets the rounds (2; `TWO_WRITERS_ROUNDS=50` is the full check).
"""

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import pytest

from medtech.model import ResourceIdentity
from medtech.persist.client import FhirClient
from medtech.persist.observations import ObservationWrite, ObservationWriter
from tests.faults import Answer, Cut, FaultProxy, Forward, ProxiedRequest, writes
from tests.persist.samples import Server, error_of, identity, points, series, write_all

ROUNDS = int(os.environ.get("TWO_WRITERS_ROUNDS", "2"))
OBSERVATIONS = 200
BUNDLE_SIZE = 50
MINE = {minute: 100 + minute for minute in range(0, 20, 2)}
THEIRS = {minute: 100 + minute for minute in range(1, 20, 2)}
ALL = {minute: str(100 + minute) for minute in range(20)}

PROFILES = ["strict", "no-if-none-match", "no-etag", "uuid-versions", "hapi"]


class Killed(BaseException):
    """Ends a writer as the death of its process would: nothing is settled, nothing is tried again."""


def _kill(seconds: float) -> None:
    raise Killed


def flush(
    url: str, observations: Iterable[ObservationWrite], start: threading.Barrier, *, mortal: bool = False
) -> bool:
    """The flush of one instance; returns whether it was completed."""
    with FhirClient(url, bundle_size=BUNDLE_SIZE) as client:
        client.capabilities()
        writer = ObservationWriter(client, **({"pause": _kill} if mortal else {}))
        start.wait()
        try:
            outcomes = list(writer.write(observations, lambda creates: None))
        except Killed:
            return False
    assert [error_of(outcome) for outcome in outcomes if error_of(outcome)] == []
    return True


def both(people: list[ResourceIdentity], mine: str, theirs: str, *, mortal: bool = False) -> bool:
    """Both flushes at once; returns whether mine was completed."""
    start = threading.Barrier(2, timeout=60)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(flush, mine, [series(of, MINE) for of in people], start, mortal=mortal)
        second = pool.submit(flush, theirs, [series(of, THEIRS) for of in people], start)
        assert second.result()
        return first.result()


def assert_all_there(server: Server, people: Iterable[ResourceIdentity]) -> None:
    for of in people:
        assert points(server.observation(series(of, MINE))) == ALL


@pytest.mark.parametrize("profile", PROFILES)
def test_every_reading_is_there(fhir_profile: Callable[[str], str], profile: str) -> None:
    server = Server(fhir_profile(profile))
    for _ in range(ROUNDS):
        people = [identity() for _ in range(OBSERVATIONS)]
        assert both(people, server.url, server.url)
        assert_all_there(server, people)
    server.close()


@pytest.mark.parametrize("profile", PROFILES)
def test_one_is_killed_between_bundle_and_answer(fhir_profile: Callable[[str], str], profile: str) -> None:
    server = Server(fhir_profile(profile))
    path = server.url.removeprefix(server.url.split("/fhir")[0])
    for _ in range(ROUNDS):
        people = [identity() for _ in range(OBSERVATIONS)]
        with FaultProxy(server.url.removesuffix(path)) as proxy:
            proxy.rule(_answer_lost, when=writes, times=None)
            assert not both(people, proxy.url + path, server.url, mortal=True)
        # Its rows are marked: the next flush looks into the history.
        write_all(server.url, *(series(of, MINE, check_history=True) for of in people))
        assert_all_there(server, people)
    server.close()


def _answer_lost(request: ProxiedRequest, forward: Forward) -> Answer:
    forward()
    raise Cut
