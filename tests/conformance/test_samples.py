"""The published mappings, whole. They are not part of the project: they are read beside it, where they are."""

import json
from collections import Counter
from pathlib import Path

import pytest
from jsonschema import Draft7Validator

from medtech.dotnet import ticks
from medtech.dotnet.json_reader import parse_located
from medtech.mapping.json_schema import device_schema, fhir_schema
from medtech.validation.finding import Level
from medtech.validation.validator import read_mappings, validate
from medtech.validation.written_mapping import plain
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
    results = validate(read_mappings(*texts), events, aggregate=False, issued=0).results
    assert [len(result.observations) for result in results] == [1, 3]
    observations = results[1].observations
    assert len({observation["id"] for observation in observations}) == 3
    assert all(each["effectivePeriod"]["start"] == each["effectivePeriod"]["end"] for each in observations)


def test_what_is_worth_a_look_in_the_published_mappings() -> None:
    """Each of these is so: units that UCUM does not have, vital signs without their category, empty units, a weight
    that no device template gives, periods without effect, and two messages that no template takes.
    """
    found: dict[str, dict[str, int]] = {}
    for vector in read("pipeline", SAMPLES):
        events = [pipeline.event_of(event, number) for number, event in enumerate(vector["events"])]
        mappings = read_mappings(*(json.dumps(vector[name]) for name in ("device", "fhir")))
        outcome = validate(mappings, events, aggregate=True, issued=ticks.now())
        findings = [
            *outcome.findings,
            *(finding for result in outcome.results for finding in result.findings),
            *(finding for stored in outcome.stored for finding in stored.findings),
        ]
        found[vector["name"]] = dict(Counter(finding.name for finding in findings))
    assert found == {
        "basic": {"UnitNotUcum": 4, "VitalSignCategory": 2, "VitalSignValue": 1, "ObservationNotR4": 1},
        "conversions-using-functions": {"ValueNeverGiven": 2, "PeriodWithoutEffect": 2},
        "healthkitOnFhir": {"UnitNotUcum": 8, "VitalSignCategory": 7, "VitalSignValue": 1},
        "sandbox": {
            "UnitNotUcum": 4,
            "VitalSignCategory": 4,
            "VitalSignValue": 1,
            "ExpressionNeverMatches": 1,
            "NoTemplateMatched": 1,
            "ObservationNotR4": 4,
        },
        "single-device-message-into-multiple-resources": {"VitalSignUnit": 5, "VitalSignCategory": 3},
    }


@pytest.mark.parametrize(
    ("sample", "warned"),
    [
        ("basic", {"UnitNotUcum", "VitalSignCategory", "VitalSignValue"}),
        ("sandbox", {"UnitNotUcum", "VitalSignCategory", "VitalSignValue"}),
        ("healthkitOnFhir", {"VitalSignCategory", "VitalSignValue"}),
        ("conversions-using-functions", {"PeriodWithoutEffect"}),
        ("single-device-message-into-multiple-resources", {"VitalSignCategory"}),
    ],
)
def test_a_published_pair_loads_and_is_warned_of_as_the_page_on_mappings_says(sample: str, warned: set[str]) -> None:
    findings = read_mappings(*((SAMPLES / sample / name).read_text(encoding="utf-8") for name in MAPPINGS)).findings
    assert {finding.level for finding in findings} == {Level.WARNING}
    assert warned <= {finding.name for finding in findings}


@pytest.mark.parametrize("sample", sorted(path.name for path in SAMPLES.glob("*") if path.is_dir()))
def test_the_schemas_refuse_no_published_mapping(sample: str) -> None:
    for name, schema in zip(MAPPINGS, (device_schema(), fhir_schema()), strict=True):
        mapping = plain(parse_located((SAMPLES / sample / name).read_text(encoding="utf-8")))
        assert list(Draft7Validator(schema).iter_errors(mapping)) == []


MAPPINGS = ("deviceMapping.json", "fhirDestinationMapping.json")
