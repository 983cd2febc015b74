"""The published mappings, whole. They are no part of the project: they are read beside it, where they are."""

from pathlib import Path

import pytest

from tests.conformance.suites import pipeline
from tests.conformance.vectors import read

SAMPLES = Path(__file__).parents[2].parent / "shared" / "samples"


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the samples folder is not beside the project")
def test_published_mappings_give_the_observations_of_the_service() -> None:
    vectors = list(read("pipeline", SAMPLES))
    assert len(vectors) == 5
    for vector in vectors:
        assert pipeline.check(vector) is None, vector["name"]
