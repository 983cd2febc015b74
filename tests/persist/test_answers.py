"""Every answer that a server may give to a write, and every fault of the network, made on the wire by a proxy.

The cases are those of DESIGN "Answers". The server behind the proxy is real, so the tests look at what it holds.
"""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from email.utils import formatdate
from typing import Any

import pytest

from medtech.errors import FhirAccessDenied, FhirConflict, FhirServerUnavailable, ResourceRefused
from medtech.persist.observations import ObservationWrite, Outcome, Waiting
from medtech.persist.settle import SavedAs
from tests.faults import Answer, FaultProxy, ProxiedRequest, reads, writes
from tests.persist.samples import (
    Server,
    error_of,
    identity,
    points,
    resource_id,
    saved_as,
    series,
    write,
    write_all,
    writer_at,
)

OUTCOME = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "processing"}]}
OUTCOME_BYTES = json.dumps(OUTCOME).encode()


def entry_status(status: int, diagnostics: str = "", at: int = 0) -> Callable[[Any], Any]:
    """Replaces the answer to one entry, as if the server had not carried it out."""

    def change(answer: Any) -> Any:
        outcome = {"resourceType": "OperationOutcome", "issue": [OUTCOME["issue"][0] | {"diagnostics": diagnostics}]}
        answer["entry"][at] = {"response": {"status": f"{status} Whatever", "outcome": outcome}}
        return answer

    return change


def run(url: str, *observations: ObservationWrite) -> tuple[list[Outcome], list[float]]:
    """The outcomes in the order of the writes, and the waits in seconds."""
    waits: list[float] = []
    return write_all(url, *observations, pause=waits.append), waits


class TestEntryOfAnUpdate:
    """Minute 0 is stored, minute 1 is written."""

    @pytest.mark.parametrize(
        ("status", "diagnostics"),
        [(304, ""), (409, ""), (412, ""), (400, "If-Match header required"), (404, ""), (410, "")],
    )
    def test_conflicts_are_read_and_merged_again(
        self, server: Server, proxy: FaultProxy, proxied: str, status: int, diagnostics: str
    ) -> None:
        of = identity()
        first = series(of, {0: 60})
        write_all(server.url, first)
        proxy.rule(_refuses_entries(status, diagnostics), when=writes)

        (outcome,), waits = run(proxied, series(of, {1: 61}))

        assert saved_as(outcome) is SavedAs.UPDATED
        assert points(server.observation(first)) == {0: "60", 1: "61"}
        assert len(waits) == 1

    def test_after_five_tries_the_rows_stay(self, server: Server, proxy: FaultProxy, proxied: str) -> None:
        of = identity()
        write_all(server.url, series(of, {0: 60}))
        proxy.rule(_refuses_entries(412), when=writes, times=None)

        (outcome,), waits = run(proxied, series(of, {1: 61}))

        assert isinstance(error_of(outcome), FhirConflict)
        assert len(waits) == 5
        assert len([request for request in proxy.requests if writes(request)]) == 6

    def test_a_conflict_ends_with_both_writers_readings(self, server: Server, proxy: FaultProxy, proxied: str) -> None:
        of = identity()
        first = series(of, {0: 60})
        write_all(server.url, first)
        proxy.before_forwarding(lambda request: write_all(server.url, series(of, {2: 62})), when=writes)

        (outcome,), _ = run(proxied, series(of, {1: 61}))

        assert saved_as(outcome) is SavedAs.UPDATED
        assert points(server.observation(first)) == {0: "60", 1: "61", 2: "62"}

    def test_an_observation_deleted_meanwhile_is_created(self, server: Server, proxy: FaultProxy, proxied: str) -> None:
        of = identity()
        first = series(of, {0: 60})
        write_all(server.url, first)
        proxy.before_forwarding(lambda request: server.delete(f"Observation/{resource_id(first)}"), when=writes)

        run(proxied, series(of, {1: 61}))

        assert points(server.observation(first)) == {1: "61"}


class TestEntryOfACreate:
    def test_412_merges_into_what_was_there_first(self, any_server: Server) -> None:
        of = identity()
        any_server.add_people(of)
        with FaultProxy(_origin(any_server.url)) as proxy:
            proxy.before_forwarding(lambda request: write_all(any_server.url, series(of, {0: 60})), when=writes)
            (outcome,), _ = run(_through(proxy, any_server.url), series(of, {1: 61}))

        assert error_of(outcome) is None
        assert points(any_server.observation(outcome.write)) == {0: "60", 1: "61"}

    def test_410_is_read_and_created_again(self, server: Server, proxy: FaultProxy, proxied: str) -> None:
        proxy.rule(_refuses_entries(410), when=writes)

        (outcome,), waits = run(proxied, series(identity(), {0: 60}))

        assert saved_as(outcome) is SavedAs.CREATED
        assert len(waits) == 1

    @pytest.mark.parametrize("status", [408, 423, 424, 425, 429, 500, 502, 503, 504])
    def test_unknown_answers_are_waited_for_and_read_again(
        self, server: Server, proxy: FaultProxy, proxied: str, status: int
    ) -> None:
        """It was carried out in fact: the write is found on the server, and not sent again."""
        proxy.rewrite(entry_status(status), when=writes)

        (outcome,), waits = run(proxied, series(identity(), {0: 60}))

        assert saved_as(outcome) is SavedAs.CREATED
        assert server.versions(f"Observation/{resource_id(outcome.write)}") == 1
        assert len(waits) == 1

    @pytest.mark.parametrize("status", [408, 429, 503])
    def test_unknown_answers_of_what_was_not_carried_out(
        self, server: Server, proxy: FaultProxy, proxied: str, status: int
    ) -> None:
        proxy.rule(_refuses_entries(status), when=writes)

        (outcome,), _ = run(proxied, series(identity(), {0: 60}))

        assert saved_as(outcome) is SavedAs.CREATED
        assert server.versions(f"Observation/{resource_id(outcome.write)}") == 1

    @pytest.mark.parametrize("status", [400, 413, 422])
    def test_a_refusal_is_a_dead_letter_with_the_servers_reason(
        self, server: Server, proxy: FaultProxy, proxied: str, status: int
    ) -> None:
        proxy.rule(_refuses_entries(status, "no such code"), when=writes)

        (outcome,), waits = run(proxied, series(identity(), {0: 60}))

        assert isinstance(error_of(outcome), ResourceRefused)
        assert "no such code" in (error_of(outcome).outcome or "")
        assert "no such code" not in error_of(outcome).message
        assert waits == []

    @pytest.mark.parametrize("status", [401, 403, 404, 405])
    def test_a_denial_stops_and_the_rows_stay(
        self, server: Server, proxy: FaultProxy, proxied: str, status: int
    ) -> None:
        proxy.rule(_refuses_entries(status), when=writes)

        outcomes, waits = run(proxied, series(identity(), {0: 60}), series(identity(), {0: 60}))

        assert all(isinstance(error_of(outcome), FhirAccessDenied) for outcome in outcomes)
        assert waits == []

    def test_what_was_written_before_a_denial_counts_as_written(
        self, server: Server, proxy: FaultProxy, proxied: str
    ) -> None:
        proxy.rewrite(entry_status(403, at=1), when=writes)

        written, denied, behind = run(proxied, *(series(identity(), {0: n}) for n in range(3)))[0]

        assert [saved_as(written), saved_as(behind)] == [SavedAs.CREATED] * 2
        assert isinstance(denied, Waiting)
        assert isinstance(denied.error, FhirAccessDenied)
        assert denied.server_away

    def test_an_unknown_status_is_not_a_dead_letter(self, proxy: FaultProxy, proxied: str) -> None:
        proxy.rule(_refuses_entries(418), when=writes, times=None)

        (outcome,), _ = run(proxied, series(identity(), {0: 60}))

        assert isinstance(error_of(outcome), FhirServerUnavailable)


class TestOuterAnswer:
    @pytest.mark.parametrize("status", [401, 403, 404, 405])
    def test_a_denial_stops(self, proxy: FaultProxy, proxied: str, status: int) -> None:
        proxy.answer(status, OUTCOME_BYTES, when=reads)

        (outcome,), waits = run(proxied, series(identity(), {0: 60}))

        assert isinstance(error_of(outcome), FhirAccessDenied)
        assert waits == []

    @pytest.mark.parametrize("status", [408, 423, 424, 425, 429, 500, 502, 503, 504])
    def test_outages_pass(self, server: Server, proxy: FaultProxy, proxied: str, status: int) -> None:
        proxy.answer(status, when=reads)
        proxy.answer(status, when=writes)

        (outcome,), waits = run(proxied, series(identity(), {0: 60}))

        assert saved_as(outcome) is SavedAs.CREATED
        assert len(waits) == 2

    @pytest.mark.parametrize("status", [304, 409, 410, 412])
    def test_what_can_only_be_said_of_one_resource_says_nothing_of_a_bundle(
        self, server: Server, proxy: FaultProxy, proxied: str, status: int
    ) -> None:
        """Taken for an answer to each entry, it would make all of them absent, or another writer's."""
        proxy.answer(status, when=reads)
        # Carried out, whatever the gateway says: its creates have to be looked at again.
        proxy.rule(lambda request, forward: replace(forward(), status=status, body=b""), when=writes)

        (outcome,), waits = run(proxied, series(identity(), {0: 60}))

        assert saved_as(outcome) is SavedAs.CREATED
        assert outcome.watch is not None
        assert len(waits) == 2
        assert server.versions(f"Observation/{resource_id(outcome.write)}") == 1

    @pytest.mark.parametrize("status", [400, 413, 422])
    def test_a_refused_bundle_is_halved_until_the_one_is_found(
        self, server: Server, proxy: FaultProxy, proxied: str, status: int
    ) -> None:
        observations = [series(identity(), {0: n}) for n in range(8)]
        unwanted = resource_id(observations[5]).encode()
        proxy.answer(
            status, OUTCOME_BYTES, when=lambda request: writes(request) and unwanted in request.body, times=None
        )

        outcomes, _ = run(proxied, *observations)

        errors = [error_of(outcome) for outcome in outcomes]
        assert isinstance(errors[5], ResourceRefused)
        assert [saved_as(outcome) for outcome in outcomes if error_of(outcome) is None] == [SavedAs.CREATED] * 7
        assert len([request for request in proxy.requests if writes(request)]) == 7

    @pytest.mark.parametrize("status", [200, 400, 422, 503])
    def test_a_gateways_page_is_an_outage(self, server: Server, proxy: FaultProxy, proxied: str, status: int) -> None:
        page = b"<html><body>The service is under maintenance.</body></html>"
        proxy.answer(status, page, {"Content-Type": "text/html"}, when=writes, times=None)

        (outcome,), _ = run(proxied, series(identity(), {0: 60}))

        assert isinstance(error_of(outcome), FhirServerUnavailable)

    def test_a_redirect_is_not_followed(self, proxy: FaultProxy, proxied: str) -> None:
        proxy.answer(302, headers={"Location": "https://login.example.org/"}, times=None)

        (outcome,), _ = run(proxied, series(identity(), {0: 60}))

        assert isinstance(error_of(outcome), FhirServerUnavailable)

    def test_one_observation_that_never_succeeds_is_not_an_outage(
        self, server: Server, proxy: FaultProxy, proxied: str
    ) -> None:
        stuck, good = series(identity(), {0: 60}), series(identity(), {0: 60})
        stuck_id = resource_id(stuck).encode()
        proxy.rule(_refuses_entries(500), when=lambda request: writes(request) and stuck_id in request.body, times=None)

        with writer_at(proxied, bundle_size=1) as writer:
            outcomes = {outcome.write: outcome for outcome in writer.write([stuck, good], lambda creates: None)}

        assert saved_as(outcomes[good]) is SavedAs.CREATED
        waiting = outcomes[stuck]
        assert isinstance(waiting, Waiting)
        assert isinstance(waiting.error, FhirServerUnavailable)
        assert not waiting.server_away

    def test_a_server_that_stays_away_is_not_asked_for_every_round(self, proxy: FaultProxy, proxied: str) -> None:
        with writer_at(proxied, bundle_size=1) as writer:
            proxy.answer(503, when=reads, times=None)
            observations = [series(identity(), {0: 60}) for _ in range(20)]
            outcomes = list(writer.write(observations, lambda creates: None))

        assert len(outcomes) == 20
        assert all(isinstance(error_of(outcome), FhirServerUnavailable) for outcome in outcomes)
        assert all(isinstance(outcome, Waiting) and outcome.server_away for outcome in outcomes)
        # The first round, eight bundles side by side, and its five further tries.
        assert len([request for request in proxy.requests if reads(request)]) == 8 * 6


class TestRetryAfter:
    def test_in_seconds(self, proxy: FaultProxy, proxied: str) -> None:
        proxy.answer(429, headers={"Retry-After": "7"}, when=writes)

        (outcome,), waits = run(proxied, series(identity(), {0: 60}))

        assert saved_as(outcome) is SavedAs.CREATED
        assert waits == [7.0]

    def test_as_a_date(self, proxy: FaultProxy, proxied: str) -> None:
        proxy.answer(503, headers={"Retry-After": formatdate(time.time() + 30, usegmt=True)}, when=writes)

        (outcome,), (wait,) = run(proxied, series(identity(), {0: 60}))

        assert saved_as(outcome) is SavedAs.CREATED
        assert 20 < wait <= 30

    def test_on_an_outer_200(self, proxy: FaultProxy, proxied: str) -> None:
        proxy.rewrite(entry_status(429), when=writes, headers={"Retry-After": "9"})

        (outcome,), waits = run(proxied, series(identity(), {0: 60}))

        assert saved_as(outcome) is SavedAs.CREATED
        assert waits == [9.0]

    def test_longer_than_a_flush_can_wait(self, proxy: FaultProxy, proxied: str) -> None:
        proxy.answer(429, headers={"Retry-After": "600"}, when=writes, times=None)

        (outcome,), waits = run(proxied, series(identity(), {0: 60}))

        assert isinstance(error_of(outcome), FhirServerUnavailable)
        assert error_of(outcome).retry_after_seconds == 600
        assert waits == []


class TestWire:
    """Three new Observations and one that is stored."""

    @pytest.mark.parametrize("half", [False, True])
    def test_an_answer_is_cut(self, server: Server, proxy: FaultProxy, proxied: str, half: bool) -> None:
        observations, of = _four(server)
        proxy.cut_after(when=writes, half=half)
        _check_four(server, run(proxied, *observations)[0], of)

    def test_a_request_is_cut(self, server: Server, proxy: FaultProxy, proxied: str) -> None:
        observations, of = _four(server)
        proxy.cut_before(when=writes)
        _check_four(server, run(proxied, *observations)[0], of)

    def test_a_request_is_delivered_twice(self, server: Server, proxy: FaultProxy, proxied: str) -> None:
        observations, of = _four(server)
        proxy.duplicate(when=writes)
        outcomes, _ = run(proxied, *observations)
        # The second delivery finds what the first one wrote: that it is written is known, not by which of the two.
        assert [error_of(outcome) for outcome in outcomes] == [None] * 4
        _check_stored(server, outcomes, of)

    @pytest.mark.parametrize("when", [reads, writes])
    def test_entries_come_in_another_order(
        self, server: Server, proxy: FaultProxy, proxied: str, when: Callable[[ProxiedRequest], bool]
    ) -> None:
        observations, of = _four(server)
        proxy.rewrite(lambda answer: answer | {"entry": answer["entry"][::-1]}, when=when)
        _check_four(server, run(proxied, *observations)[0], of)

    @pytest.mark.parametrize("when", [reads, writes])
    @pytest.mark.parametrize("dropped", [0, 1, 3])
    def test_an_entry_is_missing(
        self, server: Server, proxy: FaultProxy, proxied: str, when: Callable[[ProxiedRequest], bool], dropped: int
    ) -> None:
        observations, of = _four(server)
        proxy.rewrite(lambda answer: answer | {"entry": _without(answer["entry"], dropped)}, when=when)
        _check_four(server, run(proxied, *observations)[0], of)

    def test_all_entries_are_missing(self, server: Server, proxy: FaultProxy, proxied: str) -> None:
        observations, of = _four(server)
        proxy.rewrite(lambda answer: {"resourceType": "Bundle", "type": "batch-response"}, when=writes)
        _check_four(server, run(proxied, *observations)[0], of)


def _without(entries: list[Any], index: int) -> list[Any]:
    return entries[:index] + entries[index + 1 :]


def _four(server: Server) -> tuple[list[ObservationWrite], list[dict[int, str]]]:
    """Four writes, and the points that their Observations are to hold at the end."""
    people = [identity() for _ in range(4)]
    write_all(server.url, series(people[1], {9: 69}))
    observations = [series(of, {n: 60 + n}) for n, of in enumerate(people)]
    expected = [{n: str(60 + n)} for n in range(4)]
    expected[1][9] = "69"
    return observations, expected


def _check_four(server: Server, outcomes: list[Outcome], expected: list[dict[int, str]]) -> None:
    created, updated = SavedAs.CREATED, SavedAs.UPDATED
    assert [saved_as(outcome) for outcome in outcomes] == [created, updated, created, created]
    _check_stored(server, outcomes, expected)


def _check_stored(server: Server, outcomes: list[Outcome], expected: list[dict[int, str]]) -> None:
    assert [points(server.observation(outcome.write)) for outcome in outcomes] == expected
    versions = [server.versions(f"Observation/{resource_id(outcome.write)}") for outcome in outcomes]
    assert versions == [1, 2, 1, 1]


class TestCrash:
    """The process ends between a bundle and its answer; the next flush knows only that its rows are marked."""

    def test_a_creation_over_another_writers_is_put_right_by_the_next_flush(self, any_server: Server) -> None:
        class Killed(BaseException):
            pass

        def kill(seconds: float) -> None:
            raise Killed

        of = identity()
        any_server.add_people(of)
        mine, theirs = {0: 60}, {1: 61}
        with FaultProxy(_origin(any_server.url)) as proxy:
            # The other writer is first, unseen; then this one's bundle arrives, and its answer does not.
            proxy.rule(_after_another_writer(any_server, series(of, theirs)), when=writes)
            with pytest.raises(Killed):
                write_all(_through(proxy, any_server.url), series(of, mine), pause=kill)

        (outcome,) = write_all(any_server.url, series(of, mine, check_history=True))

        assert error_of(outcome) is None
        assert points(any_server.observation(outcome.write)) == {0: "60", 1: "61"}

    def test_a_creation_whose_answer_is_lost_is_put_right_by_the_same_flush(self, any_server: Server) -> None:
        of = identity()
        any_server.add_people(of)
        with FaultProxy(_origin(any_server.url)) as proxy:
            proxy.rule(_after_another_writer(any_server, series(of, {1: 61})), when=writes)
            (outcome,), _ = run(_through(proxy, any_server.url), series(of, {0: 60}))

        assert error_of(outcome) is None
        assert points(any_server.observation(outcome.write)) == {0: "60", 1: "61"}

    def test_other_kinds_of_values_are_put_right_too(self, fhir_profile: Callable[[str], str]) -> None:
        server = Server(fhir_profile("no-if-none-match"))
        of = identity()
        pressure = [(0, {"systolic": "120"})], [(1, {"diastolic": "80"})]
        session = [(5, {"value": "1"})], [(2, {"value": "2"}), (9, {"value": "3"})]
        for type_name, correlation_id, (mine, theirs) in (("pressure", None, pressure), ("session", "walk", session)):
            with FaultProxy(_origin(server.url)) as proxy:
                other = write(of, type_name, theirs, correlation_id)
                proxy.before_forwarding(lambda request, other=other: write_all(server.url, other), when=writes)
                (outcome,) = write_all(_through(proxy, server.url), write(of, type_name, mine, correlation_id))
            assert saved_as(outcome) is SavedAs.CREATED
            observation = server.observation(outcome.write)
            if type_name == "pressure":
                values = {each["code"]["text"]: each["valueQuantity"]["value"] for each in observation["component"]}
                assert values == {"systolic": 120, "diastolic": 80}
            else:
                assert observation["valueSampledData"]["data"] == "2 E E 1 E E E 3"
        server.close()


def _after_another_writer(server: Server, theirs: ObservationWrite) -> Any:
    def act(request: ProxiedRequest, forward: Any) -> Any:
        write_all(server.url, theirs)
        forward()
        raise ConnectionError

    return act


def _refuses_entries(status: int, diagnostics: str = "") -> Any:
    """A batch none of whose entries is carried out."""

    def act(request: ProxiedRequest, forward: Any) -> Any:
        entries = [{} for _ in request.bundle_methods]
        answer = {"resourceType": "Bundle", "type": "batch-response", "entry": entries}
        for at in range(len(entries)):
            entry_status(status, diagnostics, at)(answer)
        return Answer(200, [("Content-Type", "application/fhir+json")], json.dumps(answer).encode())

    return act


def _origin(url: str) -> str:
    return "/".join(url.split("/")[:3])


def _through(proxy: FaultProxy, url: str) -> str:
    return url.replace(_origin(url), proxy.url)
