"""The page's tables against the app: what completion offers, what drafts are made of, and the samples."""

import json
from typing import Any

import pytest

from medtech.debugger.http import PAGE
from medtech.errors import MappingInvalid
from medtech.jmespath.functions import FUNCTIONS
from medtech.mapping.device import load_device_mapping
from medtech.mapping.fhir import FhirOptions, load_fhir_mapping
from medtech.validation.units import is_ucum
from medtech.validation.vital_signs import BESIDE, PANELS, UNITS
from tests.debugger.test_page import ROOT

WORDS = json.loads((PAGE / "words.json").read_text(encoding="utf-8"))
FACTS = json.loads((PAGE / "facts.json").read_text(encoding="utf-8"))
SAMPLES = sorted((PAGE / "samples").iterdir())


def issues(kind: str, mapping: dict[str, Any]) -> str:
    """What the loader says of a mapping."""
    try:
        if kind == "device":
            load_device_mapping(json.dumps(mapping))
        else:
            load_fhir_mapping(json.dumps(mapping), options=FhirOptions())
    except MappingInvalid as invalid:
        return "\n".join(issue.message for issue in invalid.issues)
    return ""


def with_property(kind: str, path: str, name: str) -> dict[str, Any]:
    """A mapping that has a property in the object at a path, and little else."""
    mapping: dict[str, Any] = {"templateType": WORDS[kind]["collection"]}
    place = mapping
    for step in filter(None, path.split("/")):
        inner: dict[str, Any] = {}
        is_list = step in ("values", "codes", "category", "components") or place is mapping
        place[step] = [inner] if is_list else inner
        if place is mapping:
            inner["templateType"] = WORDS[kind]["templateTypes"][0]
        place = inner
    place[name] = place.get(name, "x")
    return mapping


PROPERTIES = [
    (kind, path, name)
    for kind in ("device", "fhir")
    for path, names in WORDS[kind]["properties"].items()
    for name in names
]


@pytest.mark.parametrize(("kind", "path", "name"), PROPERTIES)
def test_a_property_that_is_offered_is_one(kind: str, path: str, name: str) -> None:
    assert f"There is no property '{name}'" not in issues(kind, with_property(kind, path, name))


@pytest.mark.parametrize(
    ("kind", "path"),
    [("device", "template/template"), ("device", "template/template/values"), ("fhir", "template/template")],
)
def test_a_property_that_is_none_is_refused(kind: str, path: str) -> None:
    """Else the test above could not fail."""
    assert "There is no property 'nonsense'" in issues(kind, with_property(kind, path, "nonsense"))


def test_the_functions_are_those_of_the_app() -> None:
    assert WORDS["functions"] == sorted(FUNCTIONS)


@pytest.mark.parametrize("kind", ["device", "fhir"])
def test_the_template_types_are_those_of_the_app(kind: str) -> None:
    mapping = {"templateType": WORDS[kind]["collection"], "template": [{"templateType": "x", "template": {}}]}
    names = ", ".join(WORDS[kind]["templateTypes"])
    assert issues(kind, mapping).endswith((f" Write one of: {names}.", f" Write {names}."))


def test_the_value_types_are_those_of_the_app() -> None:
    refused = issues("fhir", with_property("fhir", "template/template/value", "valueType"))
    assert f"Write one of: {', '.join(WORDS['valueTypes'])}." in refused


def test_every_unit_that_is_offered_is_of_ucum() -> None:
    units = [code for code, _ in WORDS["units"]]
    units += [fact["ucum"] for fact in FACTS["properties"] if "ucum" in fact]
    units += [part["ucum"] for panel in FACTS["panels"].values() for part in panel["parts"].values()]
    assert [unit for unit in units if not is_ucum(unit)] == []


def test_drafts_of_vital_signs_are_what_their_profiles_take() -> None:
    facts = {fact["codes"][0]["code"]: fact for fact in FACTS["properties"] if fact.get("vitalSign")}
    assert {code: UNITS[code][0] for code in facts} | {"29463-7": "kg"} == {
        code: fact["ucum"] for code, fact in facts.items()
    }
    for fact in facts.values():
        for code in fact["codes"][1:]:
            assert BESIDE[code["code"]] == fact["codes"][0]["code"]
    for panel in FACTS["panels"].values():
        assert {code["code"] for code in panel["codes"]} <= PANELS
        assert all(part["ucum"] in UNITS[part["code"]] for part in panel["parts"].values())


def test_a_name_is_of_one_fact() -> None:
    names = [name for fact in FACTS["properties"] for name in fact["names"]]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("path", [path for path in SAMPLES if path.stem != "mistakes"], ids=lambda path: path.stem)
def test_the_mappings_of_a_sample_load(path: Any) -> None:
    sample = json.loads(path.read_text(encoding="utf-8"))
    load_device_mapping(sample["deviceMapping"])
    load_fhir_mapping(sample["fhirMapping"], options=FhirOptions())
    assert json.loads(sample["messages"])


def test_the_first_sample_is_what_a_new_app_starts_with() -> None:
    sample = json.loads((PAGE / "samples" / "start.json").read_text(encoding="utf-8"))
    files = {
        "deviceMapping": "deviceMapping.json",
        "fhirMapping": "fhirDestinationMapping.json",
        "messages": "sampleMessages.json",
    }
    for name, file in files.items():
        assert sample[name] == (ROOT / "mappings" / file).read_text(encoding="utf-8"), name
