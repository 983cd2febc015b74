"""The published mappings, whole. They are not part of the project: they are read beside it, where they are."""

from pathlib import Path

import pytest

from medtech.validation.validator import read_mappings, try_messages
from tests.conformance.suites import pipeline
from tests.conformance.vectors import read

SAMPLES = Path(__file__).parents[2].parent / "shared" / "samples"

pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the samples folder is not beside the project")


def test_published_mappings_give_the_observations_of_the_service() -> None:
    vectors = list(read("pipeline", SAMPLES))
    assert len(vectors) == 5
    for vector in vectors:
        assert pipeline.check(vector) is None, vector["name"]


def test_three_readings_of_an_hour_are_three_observations() -> None:
    """Microsoft's sample message B has three readings of Quantities, in a template with an interval of 60 minutes."""
    folder = SAMPLES / "conversions-using-functions"
    texts = ((folder / name).read_text(encoding="utf-8") for name in MAPPINGS)
    [vector] = [vector for vector in read("pipeline", SAMPLES) if vector["name"] == folder.name]
    events = [pipeline.event_of(event, number) for number, event in enumerate(vector["events"])]
    results = try_messages(read_mappings(*texts), events, aggregate=False, issued=0)
    assert [len(result.observations) for result in results] == [1, 3]
    observations = results[1].observations
    assert len({observation["id"] for observation in observations}) == 3
    assert all(each["effectivePeriod"]["start"] == each["effectivePeriod"]["end"] for each in observations)


MAPPINGS = ("deviceMapping.json", "fhirDestinationMapping.json")
