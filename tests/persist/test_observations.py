"""Writing Observations to a real FHIR server, under each of its profiles."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from medtech.errors import FhirAccessDenied, MultipleResourceFound, ObservationWithdrawn, ResourceRefused
from medtech.persist.observations import Refused, Saved, Waiting
from medtech.persist.settle import SavedAs
from medtech.settings import ObservationLookup
from medtech.transform.identifier import SYSTEM
from tests.faults import FaultProxy, reads
from tests.persist.samples import (
    Server,
    error_of,
    identity,
    points,
    refused,
    resource_id,
    saved_as,
    series,
    unique,
    write,
    write_all,
    writer_at,
)


def test_a_new_observation_is_created_then_updated_then_left_alone(any_server: Server) -> None:
    of = identity()
    any_server.add_people(of)
    first, more = series(of, {0: 60, 1: 61}), series(of, {1: 99, 2: 62})

    (created,) = write_all(any_server.url, first)
    (updated,) = write_all(any_server.url, more)
    versions = any_server.versions(f"Observation/{resource_id(first)}")
    (unchanged,) = write_all(any_server.url, more)

    assert [saved_as(created), saved_as(updated), saved_as(unchanged)] == [
        SavedAs.CREATED,
        SavedAs.UPDATED,
        SavedAs.NO_OPERATION,
    ]
    observation = any_server.observation(first)
    assert points(observation) == {0: "60", 1: "99", 2: "62"}
    assert observation["status"] == "amended"
    assert any_server.versions(f"Observation/{resource_id(first)}") == versions == 2


def test_what_is_written_stays_unchanged_when_read_back(any_server: Server) -> None:
    """Whatever form a server returns them in, a second flush of the same readings writes nothing."""
    of = identity()
    any_server.add_people(of)
    writes = [
        series(of, {5: 70}),
        write(of, "spot", [(3, {"value": "120.50"})]),
        write(of, "session", [(1, {"value": "1"}), (4, {"value": "2"})], correlation_id="walk"),
        write(of, "pressure", [(7, {"systolic": "120", "diastolic": "80"})]),
    ]

    first = write_all(any_server.url, *writes)
    second = write_all(any_server.url, *writes)

    assert {saved_as(outcome) for outcome in first} == {SavedAs.CREATED}
    assert {saved_as(outcome) for outcome in second} == {SavedAs.NO_OPERATION}


def test_a_bad_observation_does_not_stop_its_neighbours(any_server: Server) -> None:
    of = identity()
    any_server.add_people(of)

    outcomes = write_all(any_server.url, series(of, {0: 1}), refused(of), write(of, "spot", [(0, {"value": "1"})]))

    assert [saved_as(outcome) for outcome in outcomes] == [SavedAs.CREATED, None, SavedAs.CREATED]
    error = error_of(outcomes[1])
    assert isinstance(error, ResourceRefused)
    assert "OperationOutcome" in (error.outcome or "")
    assert "secret" not in error.message


def test_what_others_added_stays(server: Server) -> None:
    of = identity()
    first = series(of, {0: 60})
    write_all(server.url, first)
    added = {
        "extension": [{"url": "http://example.org/site", "valueDecimal": Decimal("0.1234567890123456789012345678")}],
        "note": [{"text": "taken at rest"}],
        "performer": [{"reference": "Practitioner/somebody"}],
        "identifier": [*server.observation(first)["identifier"], {"system": "urn:other", "value": "42"}],
    }
    server.put(server.observation(first) | added)

    write_all(server.url, series(of, {1: 61}))

    observation = server.observation(first)
    assert {name: observation[name] for name in added} == added
    assert str(observation["extension"][0]["valueDecimal"]) == "0.1234567890123456789012345678"
    assert points(observation) == {0: "60", 1: "61"}


def test_a_deleted_observation_is_created_anew(any_server: Server) -> None:
    of = identity()
    any_server.add_people(of)
    first = series(of, {0: 60})
    write_all(any_server.url, first)
    any_server.delete(f"Observation/{resource_id(first)}")

    (outcome,) = write_all(any_server.url, series(of, {1: 61}))

    assert saved_as(outcome) is SavedAs.CREATED
    assert points(any_server.observation(first)) == {1: "61"}


def test_readings_of_before_a_deletion_do_not_come_back_from_the_history(server: Server) -> None:
    of = identity()
    first = series(of, {0: 60})
    write_all(server.url, first)
    server.delete(f"Observation/{resource_id(first)}")
    write_all(server.url, series(of, {1: 61}))

    write_all(server.url, series(of, {2: 62}, check_history=True))

    assert points(server.observation(first)) == {1: "61", 2: "62"}


@pytest.mark.parametrize(
    ("before", "after"), [("final", "amended"), ("amended", "amended"), ("corrected", "corrected")]
)
def test_status_shows_that_something_came_back_from_the_history(server: Server, before: str, after: str) -> None:
    of = identity()
    first = series(of, {0: 60})
    write_all(server.url, first)
    stored = server.observation(first)
    overwritten = {**stored["valueSampledData"], "data": stored["valueSampledData"]["data"].replace("60 E", "E 61")}
    server.put({**stored, "status": before, "valueSampledData": overwritten})

    (outcome,) = write_all(server.url, series(of, {1: 61}, check_history=True))

    assert saved_as(outcome) is SavedAs.UPDATED
    assert server.observation(first)["status"] == after
    assert points(server.observation(first)) == {0: "60", 1: "61"}


def test_a_long_history_is_read_to_its_end(server: Server) -> None:
    of = identity()
    first = series(of, {0: 60})
    write_all(server.url, first)
    stored = server.observation(first)
    overwritten = {**stored["valueSampledData"], "data": stored["valueSampledData"]["data"].replace("60 E", "E 61")}
    for number in range(25):
        server.put({**stored, "valueSampledData": overwritten, "note": [{"text": f"edit {number}"}]})

    write_all(server.url, series(of, {1: 61}, check_history=True))

    assert points(server.observation(first)) == {0: "60", 1: "61"}


def test_an_observation_whose_history_cannot_be_read_waits_and_is_not_written(
    server: Server, proxy: FaultProxy, proxied: str
) -> None:
    writes = [series(identity(), {0: 60}) for _ in range(2)]
    write_all(server.url, *writes)
    unreadable = resource_id(writes[0])

    def fail(answer: Any) -> Any:
        entries = [
            {"response": {"status": "500"}}
            if each["resource"].get("type") == "history" and unreadable in str(each["resource"])
            else each
            for each in answer["entry"]
        ]
        return answer | {"entry": entries}

    proxy.rewrite(fail, when=reads, times=None)

    waiting, saved = write_all(proxied, *(series(each.identity, {1: 61}, check_history=True) for each in writes))

    assert isinstance(waiting, Waiting)
    assert not waiting.server_away
    assert saved_as(saved) is SavedAs.UPDATED
    assert points(server.observation(writes[0])) == {0: "60"}


def test_a_withdrawn_observation_is_not_revived(server: Server) -> None:
    of = identity()
    first = series(of, {0: 60})
    write_all(server.url, first)
    server.put(server.observation(first) | {"status": "entered-in-error"})

    (outcome,) = write_all(server.url, series(of, {1: 61}))

    assert isinstance(error_of(outcome), ObservationWithdrawn)


def test_a_stored_observation_keeps_its_encounter(server: Server) -> None:
    of = identity("e1")
    first = series(of, {0: 60})
    write_all(server.url, first)

    (outcome,) = write_all(server.url, series(of._replace(encounter="e2"), {1: 61}))

    assert isinstance(outcome, Saved)
    assert outcome.other_encounter
    assert server.observation(first)["encounter"]["reference"] == "Encounter/e1"


def test_a_lost_reference_is_reported(fhir_profile: Callable[[str], str]) -> None:
    url = fhir_profile("checked-references")

    (outcome,) = write_all(url, series(identity(), {0: 60}))

    assert isinstance(outcome, Refused)
    assert isinstance(outcome.error, ResourceRefused)
    assert outcome.reference_lost


def test_another_refusal_is_not_a_lost_reference(server: Server) -> None:
    (outcome,) = write_all(server.url, refused(identity()))

    assert isinstance(outcome, Refused)
    assert isinstance(outcome.error, ResourceRefused)
    assert not outcome.reference_lost


class TestLookupByIdentifier:
    """Stores that hold Observations under ids made by a server."""

    def test_the_found_id_is_kept(self, server: Server) -> None:
        of = identity()
        first = series(of, {0: 60})
        write_all(server.url, first)
        older = server.observation(first) | {"id": unique("o")}
        server.delete(f"Observation/{resource_id(first)}")
        server.put(older)

        (outcome,) = write_all(server.url, series(of, {1: 61}), lookup=ObservationLookup.IDENTIFIER)

        assert saved_as(outcome) is SavedAs.UPDATED
        assert points(server.get(f"Observation/{older['id']}")) == {0: "60", 1: "61"}

    def test_what_the_search_misses_is_found_by_id(self, server: Server) -> None:
        of = identity()
        first = series(of, {0: 60})
        write_all(server.url, first)
        server.put(server.observation(first) | {"identifier": [{"value": "somebody's"}]})

        (outcome,) = write_all(server.url, series(of, {1: 61}), lookup=ObservationLookup.IDENTIFIER)

        assert saved_as(outcome) is SavedAs.UPDATED

    def test_all_pages_are_read_and_compared_exactly(self, server: Server) -> None:
        """The server matches without regard to case and returns at most 20 at a time."""
        of = identity()
        wanted = series(of, {0: 60})
        value = wanted.draft.identify(of)[0]
        write_all(server.url, wanted)
        observation = server.observation(wanted)
        for n in range(3):
            other = [{"system": SYSTEM, "value": value.upper() + "." * n}, {"system": SYSTEM, "value": value.upper()}]
            server.put(observation | {"id": unique("o"), "identifier": other})

        (outcome,) = write_all(server.url, series(of, {1: 61}), lookup=ObservationLookup.IDENTIFIER)

        assert saved_as(outcome) is SavedAs.UPDATED
        assert points(server.observation(wanted)) == {0: "60", 1: "61"}

    def test_searches_ask_for_large_pages(self, proxy: FaultProxy, proxied: str) -> None:
        write_all(proxied, series(identity(), {0: 60}), lookup=ObservationLookup.IDENTIFIER)

        [search] = [request for request in proxy.requests if request.path.endswith("/_search")]
        assert b"_count=100" in search.body

    def test_two_with_one_identifier_are_an_error(self, server: Server) -> None:
        of = identity()
        first = series(of, {0: 60})
        write_all(server.url, first)
        server.put(server.observation(first) | {"id": unique("o")})

        (outcome,) = write_all(server.url, series(of, {1: 61}), lookup=ObservationLookup.IDENTIFIER)

        assert isinstance(error_of(outcome), MultipleResourceFound)
        assert f"Observation/{resource_id(first)}" in error_of(outcome).message
        assert "Leave it on one of them" in error_of(outcome).message


@pytest.mark.parametrize("profile", ["no-versions", "no-update-create"])
def test_a_server_that_would_lose_data_is_refused(fhir_profile: Callable[[str], str], profile: str) -> None:
    outcomes = write_all(fhir_profile(profile), series(identity(), {0: 60}), series(identity(), {0: 60}))

    assert all(isinstance(error_of(outcome), FhirAccessDenied) for outcome in outcomes)


def test_what_is_given_without_a_version_is_not_changed(server: Server, proxy: FaultProxy, proxied: str) -> None:
    def without_versions(answer: Any) -> Any:
        for entry in answer["entry"]:
            entry["response"] = {"status": entry["response"]["status"]}
            del entry["resource"]["meta"]
        return answer

    of = identity()
    first = series(of, {0: 60})
    write_all(server.url, first)
    proxy.rewrite(without_versions, when=reads)

    (outcome,) = write_all(proxied, series(of, {1: 61}))

    assert isinstance(error_of(outcome), FhirAccessDenied)
    assert "Turn versioning on" in error_of(outcome).message
    assert points(server.observation(first)) == {0: "60"}


def test_one_that_is_given_without_a_version_stops_no_other(server: Server, proxy: FaultProxy, proxied: str) -> None:
    """As one that was there before the server kept versions: it would hold up its shard for good."""

    def without_a_version(answer: Any) -> Any:
        for entry in answer["entry"]:
            if entry.get("resource", {}).get("id") == resource_id(old):
                entry["response"] = {"status": "200"}
                del entry["resource"]["meta"]
        return answer

    of = [identity() for _ in range(3)]
    old = series(of[0], {0: 60})
    write_all(server.url, old, series(of[1], {0: 60}))
    proxy.rewrite(without_a_version, when=reads, times=None)

    held, updated, created = write_all(proxied, *(series(each, {1: 61}) for each in of))

    assert isinstance(held, Waiting)
    assert isinstance(held.error, FhirAccessDenied)
    assert not held.server_away
    assert [saved_as(updated), saved_as(created)] == [SavedAs.UPDATED, SavedAs.CREATED]


def test_creates_are_announced_before_they_are_sent(server: Server) -> None:
    of = identity()
    write_all(server.url, series(of, {0: 60}))
    new, known = write(of, "spot", [(0, {"value": "1"})]), series(of, {1: 61})
    announced: list[object] = []

    with writer_at(server.url) as writer:
        list(writer.write([new, known], announced.extend))

    assert announced == [new]


def test_a_lost_lease_stops_before_the_write(server: Server) -> None:
    class LeaseLost(Exception):
        pass

    def lost(creates: object) -> None:
        raise LeaseLost

    of = identity()
    first = series(of, {0: 60})
    write_all(server.url, first)
    with writer_at(server.url) as writer, pytest.raises(LeaseLost):
        list(writer.write([series(of, {1: 61})], lost))

    assert points(server.observation(first)) == {0: "60"}
