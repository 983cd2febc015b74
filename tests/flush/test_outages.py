"""The FHIR server, storage or the time of a flush ends in the middle: what was done counts, the rest waits."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from medtech.declared_settings import SecretStr
from medtech.errors import FhirAccessDenied, FhirServerUnavailable, OutOfTime, StorageUnavailable
from medtech.flush.tally import Tally
from medtech.model import ResourceIdentity
from medtech.persist.client_credentials import LONGEST_WAIT_SECONDS, ClientCredentials
from medtech.persist.identity import IdentityKey, IdentityResolver
from medtech.persist.settle import SavedAs
from medtech.persist.token_endpoint import TokenEndpoint
from medtech.settings import ResolutionType
from tests.azurite import Wire
from tests.faults import ProxiedRequest, reads, writes
from tests.flush.samples import MakeRun, Run, before, known, measured
from tests.oauth2_endpoint import OAuth2Endpoint, TokenAnswer
from tests.persist.samples import HOUR, MINUTE, Server, identity

BUDGET_SECONDS = 24.0
"""Less than a lease lasts by a clock that jumps. Work ends at 20 s, letters at 22 s."""

FILLER = ("note", "x" * 40_000)
"""A reading with it takes 200 KB in memory, so that five fill a portion of 1 MB."""


class Clock:
    """Seconds, moved by the test."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def limited(run: Run) -> Clock:
    """Gives the flush of a run a budget by a clock of the test's."""
    clock = Clock()
    run.flush = replace(run.flush, monotonic=clock, budget_seconds=BUDGET_SECONDS)
    return clock


def store_portions(run: Run, devices: Iterable[ResourceIdentity]) -> None:
    """One row that takes several portions."""
    run.store([measured(of, 0)._replace(properties=(("value", "60"), FILLER)) for of in devices])


def created_of(tally: Tally) -> int:
    assert set(tally.observations) <= {SavedAs.CREATED}
    return tally.observations[SavedAs.CREATED]


def names(tally: Tally) -> set[str]:
    return {error.name for error in tally.outages}


def after_the_first(when: Callable[[ProxiedRequest], bool]) -> Callable[[ProxiedRequest], bool]:
    """All requests that come after the first one that `when` picks."""
    seen: list[ProxiedRequest] = []

    def later(request: ProxiedRequest) -> bool:
        if seen:
            return True
        if when(request):
            seen.append(request)
        return False

    return later


class TestTokenEndpoint:
    """The FHIR server is well, but there is no token for it."""

    @pytest.fixture
    def endpoint(self) -> Iterator[OAuth2Endpoint]:
        with OAuth2Endpoint() as endpoint:
            endpoint.secrets["app"] = "SECRET"
            yield endpoint

    @pytest.mark.parametrize(
        ("answer", "name"),
        [
            (TokenAnswer(503, b"SECRET"), FhirServerUnavailable.__name__),
            (TokenAnswer(401, b'{"error": "invalid_client"}'), FhirAccessDenied.__name__),
        ],
        ids=["away", "refuses the client"],
    )
    def test_that_gives_no_token_leaves_everything_until_it_gives_one(
        self,
        make_run: MakeRun,
        server: Server,
        fhir: str,
        endpoint: OAuth2Endpoint,
        answer: TokenAnswer,
        name: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        of, clock = known(server), Clock()
        with before(fhir) as (proxy, url):
            proxy.guard(endpoint.accepts)
            run = make_run(url)
            ask = TokenEndpoint(endpoint.token_url, "app", secret=SecretStr("SECRET")).ask
            run.client.credentials = ClientCredentials(ask, clock)
            run.store([measured(of, 0), measured(of, 1)])
            endpoint.answers.append(answer)
            tally = run.run()
            assert (names(tally), len(run.left()), proxy.requests) == ({name}, 2, [])
            assert len(endpoint.asked) == 1
            clock.seconds += LONGEST_WAIT_SECONDS
            run.run()
            assert run.left() == []
        assert len(run.observations(of)) == 1
        assert "SECRET" not in caplog.text.replace("FHIR_CLIENT_SECRET", "")


class TestOutage:
    def test_between_portions_ends_the_window_and_what_was_done_is_settled(
        self, make_run: MakeRun, server: Server, fhir: str
    ) -> None:
        devices = [known(server) for _ in range(16)]
        with before(fhir) as (proxy, url):
            run = make_run(url, flush_portion_mb=1)
            store_portions(run, devices)
            proxy.answer(503, when=after_the_first(writes), times=None)
            tally = run.run()
            assert names(tally) == {FhirServerUnavailable.__name__}
            # The requests of one portion, with the retries of one search: no other portion is tried.
            assert sum(request.answer_status == 503 for request in proxy.requests) == 6
            waiting = {measurement.device_id for measurement in run.left()}
            assert created_of(tally) == len(devices) - len(waiting) > 0
            assert tally.measurements == created_of(tally)
            proxy.clear()
            # Not one of those that were written is written, or even merged, again.
            assert created_of(run.run()) == len(waiting) > 0
            assert run.left() == []

    def test_ends_the_shard(self, make_run: MakeRun, server: Server, fhir: str) -> None:
        of = known(server)
        with before(fhir) as (proxy, url):
            run = make_run(url)
            run.store([measured(of, 0)])
            run.store([measured(of, 1, enqueued=HOUR + 10 * MINUTE)])
            proxy.answer(503, when=reads, times=None)
            assert run.run().windows == 1

    def test_of_storage_while_letters_are_written_keeps_what_they_are_about(self, wire: Wire, server: Server) -> None:
        of, stranger = known(server), identity()
        run = Run(wire.storage, server, server.url)
        run.store([measured(of, 0), measured(stranger, 0)])
        wire.tables.cut_before(when=lambda request: "deadletters" in request.path + str(request.body), times=None)
        tally = run.run()
        assert names(tally) == {StorageUnavailable.__name__}
        assert (tally.measurements, tally.letters, tally.waiting, tally.errors) == (1, 0, 1, {})
        assert [measurement.device_id for measurement in run.left()] == [stranger.device]
        wire.tables.clear()
        assert run.run().letters == 1
        assert (run.letters(), run.left()) == (["DeviceNotFound"], [])
        run.client.close()


class TestTime:
    def test_begins_no_window_after_its_end(self, make_run: MakeRun, server: Server, fhir: str) -> None:
        of = known(server)
        with before(fhir) as (proxy, url):
            run = make_run(url)
            clock = limited(run)
            run.store([measured(of, 0)])
            run.store([measured(of, 1, enqueued=HOUR + 10 * MINUTE)])
            proxy.before_forwarding(lambda request: setattr(clock, "seconds", 21), when=writes)
            tally = run.run()
            assert (tally.windows, names(tally)) == (1, {OutOfTime.__name__})
            assert len(run.left()) == 1
            assert run.run().windows == 1
            assert run.left() == []

    def test_that_ends_between_portions_leaves_the_others(self, make_run: MakeRun, server: Server, fhir: str) -> None:
        devices = [known(server) for _ in range(16)]
        with before(fhir) as (proxy, url):
            run = make_run(url, flush_portion_mb=1)
            clock = limited(run)
            store_portions(run, devices)
            flushes, done = 0, 0
            while run.left():
                # Each flush has time for one portion.
                proxy.before_forwarding(lambda request: setattr(clock, "seconds", clock.seconds + 21), when=writes)
                tally = run.run()
                assert names(tally) == {OutOfTime.__name__}
                done += created_of(tally)
                assert len(run.left()) == len(devices) - done
                flushes += 1
                assert flushes < len(devices)
            assert flushes > 1

    def test_that_ends_within_a_portion_settles_what_was_written(
        self, make_run: MakeRun, server: Server, fhir: str
    ) -> None:
        devices = [known(server) for _ in range(12)]
        with before(fhir) as (proxy, url):
            run = make_run(url, fhir_bundle_size=1)
            clock = limited(run)
            run.store([measured(of, 0) for of in devices])
            proxy.before_forwarding(lambda request: setattr(clock, "seconds", 21), when=writes, times=None)
            tally = run.run()
            # The bundles that were under way when the time ended are answered, and the others are not sent.
            written = sum(map(writes, proxy.requests))
            assert 1 <= written <= 8
            assert created_of(tally) == written
            assert len(run.left()) == len(devices) - written
            proxy.clear()
            assert created_of(run.run()) == len(devices) - written
            assert run.left() == []

    @pytest.mark.parametrize("when", [reads, writes], ids=["reads", "writes"])
    def test_that_a_hanging_server_takes_whole_leaves_everything(
        self, make_run: MakeRun, server: Server, fhir: str, when: Callable[[ProxiedRequest], bool]
    ) -> None:
        of = known(server)
        with before(fhir) as (proxy, url):
            run = make_run(url)
            clock = limited(run)
            run.store([measured(of, 0), measured(of, 1)])

            def hang(request: ProxiedRequest) -> None:
                clock.seconds += 2 * BUDGET_SECONDS

            proxy.before_forwarding(hang, when=when, times=None)
            proxy.cut_before(when=when, times=None)
            tally = run.run()
            assert sum(map(when, proxy.requests)) == 1
            assert OutOfTime.__name__ in names(tally)
            assert len(run.left()) == 2

    def test_that_ends_between_letters_leaves_what_the_others_are_about(self, wire: Wire, server: Server) -> None:
        stranger = identity()
        run = Run(wire.storage, server, server.url)
        clock = limited(run)
        run.store([measured(stranger, n) for n in range(1100)])
        transactions: list[ProxiedRequest] = []

        def writes_letters(request: ProxiedRequest) -> bool:
            return request.path.endswith("$batch") and b"deadletters" in request.body

        def count(request: ProxiedRequest) -> None:
            transactions.append(request)
            if len(transactions) == 10:
                clock.seconds = 23

        wire.tables.after_forwarding(count, when=writes_letters, times=None)
        tally = run.run()
        assert (tally.letters, tally.measurements, tally.waiting) == (1000, 1000, 100)
        assert (names(tally), len(run.left())) == ({OutOfTime.__name__}, 100)
        assert run.run().letters == 100
        assert run.left() == []
        assert [summary.count for summary in run.dead_letters.select()] == [1] * 1100
        assert len(transactions) == 11
        run.client.close()

    def test_is_kept_to_whatever_the_server_does(self, make_run: MakeRun, server: Server, fhir: str) -> None:
        """In real time: each byte of an answer comes well within what a read may take, and there is no end of them."""
        of = known(server)
        with before(fhir) as (proxy, url):
            run = make_run(url)
            run.flush = replace(run.flush, budget_seconds=6)
            run.store([measured(of, 0)])
            proxy.drip(when=writes, times=None)
            started = time.monotonic()
            assert OutOfTime.__name__ in names(run.run())
            assert time.monotonic() - started < 60
            assert len(run.left()) == 1


class TestFault:
    """What nobody thought of, met at one device."""

    class Faulty(IdentityResolver):
        unlucky: str

        def resolve(self, keys: Iterable[IdentityKey], *how: Any) -> Any:
            asked = list(keys)
            if any(key.device_id == self.unlucky for key in asked):
                raise KeyError("secret reading")
            return super().resolve(asked, *how)

    def spoil(self, run: Run, of: ResourceIdentity) -> None:
        identities = self.Faulty(run.client, ResolutionType.LOOKUP, "", 3600, pause=lambda seconds: None)
        identities.unlucky = of.device
        run.flush = replace(run.flush, identities=identities)

    def test_in_the_oldest_window_does_not_stop_those_after_it(
        self, run: Run, server: Server, caplog: pytest.LogCaptureFixture
    ) -> None:
        of, unlucky = known(server), known(server)
        run.store([measured(unlucky, 0), measured(of, 0)])
        run.store([measured(of, 1, enqueued=HOUR + 10 * MINUTE)])
        self.spoil(run, unlucky)
        with caplog.at_level(logging.DEBUG):
            tally = run.run()
        assert (tally.windows, tally.outages, created_of(tally)) == (2, [], 1)
        assert tally.errors == {("UnexpectedFault", "Unknown", "GeneralError", "Error"): 1}
        assert "Shard 0, window 2025-10-09T09:00:00" in caplog.text
        assert "KeyError at test_outages.py:" in caplog.text
        assert "secret" not in caplog.text
        assert len(run.left()) == 2

    def test_in_a_portion_does_not_stop_its_window(self, make_run: MakeRun, server: Server, fhir: str) -> None:
        devices = [known(server) for _ in range(16)]
        run = make_run(fhir, flush_portion_mb=1)
        store_portions(run, devices)
        self.spoil(run, devices[0])
        tally = run.run()
        waiting = {measurement.device_id for measurement in run.left()}
        assert devices[0].device in waiting
        assert created_of(tally) == len(devices) - len(waiting) > 0
