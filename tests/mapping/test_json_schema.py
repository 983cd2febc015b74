"""The JSON Schemas of both mappings against the loader: they refuse nothing that it takes."""

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from medtech.dotnet.json_reader import LocatedSyntaxError, parse_located
from medtech.errors import MappingInvalid
from medtech.mapping.device import load_device_mapping
from medtech.mapping.fhir import load_fhir_mapping
from medtech.mapping.json_schema import DESCRIPTIONS, device_schema, fhir_schema
from medtech.validation.written_mapping import plain

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "tests" / "vectors" / "load.jsonl"
FILES = {
    "device": ROOT / "docs" / "schemas" / "device-mapping.json",
    "fhir": ROOT / "docs" / "schemas" / "fhir-mapping.json",
}
SCHEMAS = {"device": device_schema, "fhir": fhir_schema}
LOADERS: dict[str, Callable[[str], object]] = {"device": load_device_mapping, "fhir": load_fhir_mapping}

MISSED = {"load-0059", "load-0060", "load-0062", "load-0132", "load-0133"}
"""Refused by the loader alone: expressions that do not parse, and two templates of one name."""


@cache
def validator(which: str) -> Draft7Validator:
    schema = SCHEMAS[which]()
    Draft7Validator.check_schema(schema)
    return Draft7Validator(schema)


def loads(which: str, text: str) -> bool:
    try:
        LOADERS[which](text)
    except MappingInvalid:
        return False
    return True


@pytest.mark.parametrize("which", SCHEMAS)
def test_the_files_that_editors_read_are_as_generated(which: str) -> None:
    """`python -m medtech schema device > docs/schemas/device-mapping.json` writes one anew."""
    assert json.loads(FILES[which].read_text(encoding="utf-8")) == SCHEMAS[which]()


def test_the_vectors_are_refused_as_far_as_a_schema_can() -> None:
    taken, missed = 0, set()
    for line in VECTORS.read_text(encoding="utf-8").splitlines():
        vector = json.loads(line)
        try:
            document = plain(parse_located(vector["text"]))
        except LocatedSyntaxError:
            continue
        good = validator(vector["which"]).is_valid(document)
        if loads(vector["which"], vector["text"]):
            assert good, vector["id"]
            taken += 1
        elif good:
            missed.add(vector["id"])
    assert missed == MISSED
    assert taken == 35


VALUES: list[Any] = [None, "", " ", "\u2003", "x", 0, 1, -1, 60, 60.5, "60", " +060 ", True, "TRUE", [], [None], [{}]]
VALUES += [{}, {"value": "$.a"}, {"VALUE": "a", "language": "jmespath"}, {"value": "a", "language": None}, "$.a"]
VALUES += ["JMESPATH", "1", " hourly", "-1", "1e3", "-5", ".5", "Quantity", "codeableconcept", "String"]


def full(which: str) -> list[dict[str, Any]]:
    """Good mappings that have every property."""
    expressions = {
        "typeName": "a",
        "typeMatchExpression": "$..[?(@a)]",
        "patientIdExpression": "$.p",
        "encounterIdExpression": "$.e",
        "correlationIdExpression": "$.c",
        "values": [{"valueName": "a", "valueExpression": "$.a", "required": True}],
    }
    own = {"deviceIdExpression": "$.d", "timestampExpression": "$.t"}
    codes = [{"code": "1", "system": "s", "display": "d"}]
    value = {"valueName": "a", "valueType": "SampledData", "defaultPeriod": 1000, "unit": "u"}
    if which == "device":
        calculated = {**expressions, **own, "defaultExpressionLanguage": "JsonPath"}
        calculated["patientIdExpression"] = {"value": "p", "language": "JmesPath"}
        kinds = {
            "CalculatedContent": calculated,
            "JsonPathContentTemplate": {**expressions, **own},
            "IotJsonPathContent": expressions,
            "IotCentralJsonPathContent": expressions,
        }
        mappings = [
            {"templateType": "CollectionContent", "template": [{"templateType": kind, "template": template}]}
            for kind, template in kinds.items()
        ]
        return [*mappings, {"properties": {"deviceMapping": {"content": mappings[0]}}}]
    values = [
        value,
        {"valueName": "a", "valueType": "Quantity", "unit": "u", "code": "c", "system": "s"},
        {"valueName": "a", "valueType": "String"},
        {"valueName": "a", "valueType": "CodeableConcept", "text": "t", "codes": codes},
    ]
    collections = [
        {
            "templateType": "CollectionFhir",
            "template": [
                {
                    "templateType": "CodeValueFhir",
                    "template": {
                        "typeName": "a",
                        "periodInterval": 60,
                        "codes": codes,
                        "category": [{"text": "t", "codes": codes}],
                        "value": each,
                        "components": [{"codes": codes, "value": each}],
                    },
                }
            ],
        }
        for each in values
    ]
    return [*collections, {"content": collections[0]}, {"fhirMapping": {"content": collections[0]}}]


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    children = document.items() if isinstance(document, dict) else enumerate(document)
    for key, child in list(children):
        yield (*path, key)
        if isinstance(child, dict | list):
            yield from places(child, (*path, key))


def changed(document: Any) -> Iterator[Any]:
    """The document with one thing changed: a value, a name, a property too few or too many."""
    for *path, key in places(document):
        for value in VALUES:
            copy = deepcopy(document)
            _at(copy, path)[key] = value
            yield copy
        copy = deepcopy(document)
        del _at(copy, path)[key]
        yield copy
        if isinstance(key, str):
            for name in (key.upper(), key + "x"):
                for keeps in (True, False):
                    copy = deepcopy(document)
                    holder = _at(copy, path)
                    holder[name] = holder[key] if keeps else holder.pop(key)
                    if keeps:
                        holder[key] = None
                        holder[name] = holder.pop(name)
                    yield copy


def _at(document: Any, path: list[Any]) -> Any:
    for key in path:
        document = document[key]
    return document


@pytest.mark.parametrize("which", SCHEMAS)
def test_whatever_is_changed_in_a_mapping_what_loads_is_not_refused(which: str) -> None:
    refused_by_loader = refused_by_both = 0
    for mapping in full(which):
        assert loads(which, json.dumps(mapping))
        for document in changed(mapping):
            good = validator(which).is_valid(document)
            if loads(which, json.dumps(document)):
                assert good, json.dumps(document)
            else:
                refused_by_loader += 1
                refused_by_both += not good
    # The others are expressions that do not parse, and objects with a name in another case.
    assert refused_by_both > 0.9 * refused_by_loader


@pytest.mark.parametrize("which", SCHEMAS)
def test_every_property_of_the_loader_has_a_description(which: str) -> None:
    names = set()

    def walk(schema: Any) -> None:
        if isinstance(schema, dict):
            names.update(name for name, each in schema.get("properties", {}).items() if "description" in each)
            for each in schema.values():
                walk(each)
        elif isinstance(schema, list):
            for each in schema:
                walk(each)

    walk(SCHEMAS[which]())
    assert names <= DESCRIPTIONS.keys()
    assert {"typeName", "template", "templateType"} <= names
