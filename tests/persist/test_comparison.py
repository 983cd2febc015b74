"""Reading what is stored for a comparison: ids of the server's own, and what cannot be read."""

from collections.abc import Sequence

from medtech.errors import FhirServerUnavailable
from medtech.persist.client import FhirClient
from medtech.persist.comparison import Compared, ObservationComparer, Outcome
from medtech.persist.observations import ObservationWrite, Waiting
from medtech.settings import ObservationLookup
from tests.faults import FaultProxy, reads
from tests.persist.samples import Server, identity, resource_id, series, unique, write_all


def compare(url: str, writes: Sequence[ObservationWrite], **options: ObservationLookup) -> list[Compared | Waiting]:
    """The results, in the order of the writes."""
    with FhirClient(url, reads_only=True) as client:
        results = {
            each.write: each for each in ObservationComparer(client, pause=lambda _: None, **options).compare(writes)
        }
    return [results[write] for write in writes]


def test_observations_are_found_by_their_identifiers(fhir: str, server: Server) -> None:
    of = identity()
    server.add_people(of)
    one, other = series(of, {0: 60}), series(identity(), {0: 60})
    write_all(fhir, one)
    stored = server.observation(one)
    server.delete(f"Observation/{stored['id']}")
    server.put({**stored, "id": unique("own")})
    assert [getattr(each, "outcome", None) for each in compare(fhir, [one, other])] == [Outcome.ABSENT] * 2
    by_identifier = compare(fhir, [one, other], lookup=ObservationLookup.IDENTIFIER)
    assert [getattr(each, "outcome", None) for each in by_identifier] == [Outcome.SAME, Outcome.ABSENT]
    server.put({**stored, "id": unique("second")})
    [several, _] = compare(fhir, [one, other], lookup=ObservationLookup.IDENTIFIER)
    assert isinstance(several, Compared)
    assert (several.outcome, several.difference.error) == (Outcome.DIFFERENT, "MultipleResourceFound")


def test_a_server_that_is_away_says_nothing_of_what_is_stored(proxy: FaultProxy, proxied: str) -> None:
    with FhirClient(proxied, reads_only=True) as client:
        client.capabilities()
        proxy.answer(503, when=reads, times=None)
        results = list(ObservationComparer(client, pause=lambda _: None).compare([series(identity(), {0: 60})]))
    [waiting] = results
    assert isinstance(waiting, Waiting) and waiting.server_away
    assert isinstance(waiting.error, FhirServerUnavailable)


def test_what_nobody_can_read_is_different_and_holds_up_nothing(fhir: str, server: Server) -> None:
    broken, good = series(identity(), {0: 60}), series(identity(), {0: 60})
    write_all(fhir, broken, good)
    stored = server.observation(broken)
    stored["valueSampledData"]["period"] = 0
    server.put({**stored, "effectivePeriod": {"start": "2025-10-09T09:30:00Z", "end": "2025-10-09T09:40:00Z"}})
    first, second = compare(fhir, [broken, good])
    assert isinstance(first, Compared) and first.difference.error == "ConversionError"
    assert isinstance(second, Compared) and second.outcome is Outcome.SAME
    assert resource_id(broken) == first.resource_id
