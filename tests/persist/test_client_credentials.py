"""When a token is asked for: once for all threads, before it expires, and not again and again in vain."""

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from medtech.deadline import Deadline, within
from medtech.errors import FhirAccessDenied, FhirServerUnavailable, OutOfTime
from medtech.persist.client_credentials import (
    LONGEST_ASKED_SECONDS,
    LONGEST_WAIT_SECONDS,
    YOUNG_SECONDS,
    ClientCredentials,
)
from medtech.persist.token_endpoint import IssuedToken

AWAY = FhirServerUnavailable("away")
DENIED = FhirAccessDenied("denied")


class Issuer:
    """Gives tokens that last for the seconds of each answer in turn, or raises it; the last one stays."""

    def __init__(self, *answers: float | Exception) -> None:
        self.answers = list(answers)
        self.asked = 0
        self.now = 1000.0
        self.credentials = ClientCredentials(self, lambda: self.now)

    def __call__(self) -> IssuedToken:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return IssuedToken(str(self.asked), answer)

    def token(self, after: float = 0.0) -> str | None:
        self.now += after
        return self.credentials.authorization()


def test_a_token_is_kept_while_it_lasts() -> None:
    issuer = Issuer(3600.0)
    assert [issuer.token(), issuer.token(1800), issuer.token(1600)] == ["Bearer 1"] * 3
    assert issuer.asked == 1


@pytest.mark.parametrize(("lasts", "kept", "renewed"), [(3600, 3479, 3481), (300, 224, 226), (60, 44, 46), (0, 4, 6)])
def test_it_is_renewed_before_it_expires(lasts: float, kept: float, renewed: float) -> None:
    """And one that expires at once is not asked for with each request."""
    issuer = Issuer(lasts)
    assert [issuer.token(), issuer.token(kept), issuer.token(renewed - kept)] == ["Bearer 1", "Bearer 1", "Bearer 2"]


def test_threads_share_one_request() -> None:
    started = threading.Barrier(8)
    issuer = Issuer(300.0)

    def ask() -> str | None:
        started.wait()
        return issuer.token()

    with ThreadPoolExecutor(8) as pool:
        assert {task.result() for task in [pool.submit(ask) for _ in range(8)]} == {"Bearer 1"}
    assert issuer.asked == 1


def test_a_renewal_in_vain_leaves_the_token_in_use_until_it_expires() -> None:
    issuer = Issuer(300.0, AWAY, 300.0)
    assert issuer.token() == "Bearer 1"
    assert issuer.token(230) == "Bearer 1"
    assert issuer.token(2) == "Bearer 3"


def test_an_expired_token_is_not_used() -> None:
    issuer = Issuer(300.0, AWAY)
    issuer.token()
    with pytest.raises(FhirServerUnavailable):
        issuer.token(301)


@pytest.mark.parametrize("error", [AWAY, DENIED])
def test_an_endpoint_that_gives_none_is_asked_at_growing_intervals(error: Exception) -> None:
    issuer = Issuer(error)
    asked_at = []
    for second in range(400):
        before = issuer.asked
        with pytest.raises(type(error)):
            issuer.token(1 if second else 0)
        if issuer.asked > before:
            asked_at.append(issuer.now)
    waits = [later - earlier for earlier, later in pairwise(asked_at)]
    assert waits[:7] == [1, 2, 4, 8, 16, 32, 60]
    assert set(waits[7:]) == {LONGEST_WAIT_SECONDS}


def test_a_token_ends_the_waits() -> None:
    issuer = Issuer(AWAY, AWAY, 4.0, AWAY, 300.0)
    for after in (0, 1):
        with pytest.raises(FhirServerUnavailable):
            issuer.token(after)
    assert issuer.token(2) == "Bearer 3"
    with pytest.raises(FhirServerUnavailable):
        issuer.token(6)
    assert issuer.token(1) == "Bearer 5"


@pytest.mark.parametrize(("asked", "waited"), [(20.0, 20.0), (1e9, LONGEST_ASKED_SECONDS)])
def test_it_waits_as_long_as_the_endpoint_asks_within_reason(asked: float, waited: float) -> None:
    issuer = Issuer(FhirServerUnavailable("busy", retry_after_seconds=asked), 300.0)
    for after in (0, waited - 1):
        with pytest.raises(FhirServerUnavailable):
            issuer.token(after)
    assert issuer.token(1) == "Bearer 2"


def test_the_end_of_a_flush_is_no_failure_of_the_endpoint() -> None:
    issuer = Issuer(OutOfTime("it had answered"), 300.0)
    with pytest.raises(OutOfTime):
        issuer.token()
    assert issuer.token() == "Bearer 2"


def test_nobody_waits_for_another_threads_request_beyond_the_deadline() -> None:
    asked, answered = threading.Event(), threading.Event()

    def ask() -> IssuedToken:
        asked.set()
        answered.wait(60)
        return IssuedToken("t", 300)

    credentials = ClientCredentials(ask)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(credentials.authorization)
        asked.wait(60)
        with within(Deadline(0.1)), pytest.raises(OutOfTime):
            credentials.authorization()
        answered.set()
        assert first.result() == "Bearer t"


class TestRefusedTokens:
    def test_one_that_was_used_for_a_while_is_dropped(self) -> None:
        issuer = Issuer(300.0)
        issuer.token()
        issuer.now += YOUNG_SECONDS
        assert issuer.credentials.renews("Bearer 1")
        assert issuer.token() == "Bearer 2"

    def test_a_new_one_is_not(self) -> None:
        issuer = Issuer(300.0)
        issuer.token()
        assert not issuer.credentials.renews("Bearer 1")
        assert issuer.token() == "Bearer 1"

    def test_one_that_another_thread_has_renewed_is_dropped_once(self) -> None:
        issuer = Issuer(300.0)
        issuer.token()
        issuer.now += YOUNG_SECONDS
        assert issuer.credentials.renews("Bearer 1")
        assert issuer.credentials.renews("Bearer 1")
        assert issuer.token() == "Bearer 2"
        assert issuer.credentials.renews("Bearer 1")
        assert (issuer.token(), issuer.asked) == ("Bearer 2", 2)
