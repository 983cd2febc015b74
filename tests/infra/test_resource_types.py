"""Every resource is of a type, API version and shape that Azure has.

`resource_types.json` is written from the source and commit that it names, and holds only what is used: a property is
added there, looked up, before it can be used. `!` after a name: required; a list of texts: one of these; `[]`: an array
of; `*`: any name.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.infra.bicep import Choice, Expression, Resource, templates

TYPES: dict[str, Any] = json.loads((Path(__file__).parent / "resource_types.json").read_text())["types"]
OF_BICEP = {"name", "parent", "scope", "dependsOn"}
"""In the body of a resource, and of no type."""

KINDS = {"string": str, "integer": int, "boolean": bool}

RESOURCES = [
    pytest.param(resource, id=f"{read.name}:{symbol}")
    for read in templates()
    for symbol, resource in read.resources.items()
]
CREATED = [
    pytest.param(resource, id=f"{read.name}:{resource.symbol}") for read in templates() for resource in read.created
]


def faults(value: Any, shape: Any, place: str) -> list[str]:
    """What of a value does not fit its type."""
    match value:
        case Expression():
            return []
        case Choice(values=values):
            return [fault for each in values if each is not None for fault in faults(each, shape, place)]
    if isinstance(shape, str):
        return [] if type(value) is KINDS[shape] else [f"{place} is not of type {shape}"]
    if isinstance(shape, list):
        return [] if value in shape else [f"{place} is {value!r}, not one of {', '.join(shape)}"]
    if "[]" in shape:
        if not isinstance(value, list):
            return [f"{place} is no array"]
        return [fault for item in value for fault in faults(item, shape["[]"], f"{place}[]")]
    if not isinstance(value, dict):
        return [f"{place} is no object"]
    if "*" in shape:
        return [fault for key, each in value.items() for fault in faults(each, shape["*"], f"{place}.{key}")]
    known = {name.rstrip("!"): each for name, each in shape.items()}
    found = [f"{place}.{name} is missing" for name in known if f"{name}!" in shape and name not in value]
    found += [f"{place}.{name} is not known" for name in value if name not in known]
    return found + [
        fault for name, each in value.items() if name in known for fault in faults(each, known[name], f"{place}.{name}")
    ]


@pytest.mark.parametrize("resource", RESOURCES)
def test_its_type_and_version_exist(resource: Resource) -> None:
    assert resource.declared_type in TYPES


@pytest.mark.parametrize("resource", CREATED)
def test_its_properties_are_those_of_its_type(resource: Resource) -> None:
    body = {name: value for name, value in resource.body.items() if name not in OF_BICEP}
    assert faults(body, TYPES[resource.declared_type]["body"], resource.symbol) == []


def test_only_what_is_used_is_on_the_list() -> None:
    assert set(TYPES) == {resource.declared_type for read in templates() for resource in read.resources.values()}


@pytest.mark.parametrize("resource", CREATED)
def test_a_fixed_name_is_one_that_its_type_allows(resource: Resource) -> None:
    name, rule = resource.body["name"], TYPES[resource.declared_type]["name"]
    if not isinstance(name, str):
        return
    assert name in rule.get("one of", [name])
    assert rule.get("minLength", 0) <= len(name) <= rule.get("maxLength", 260)
    assert re.search(rule.get("pattern", ""), name)


@pytest.mark.parametrize(
    ("fault", "value"),
    [
        ("x.kind is missing", {"location": Expression("l")}),
        ("x.color is not known", {"kind": "web", "location": "l", "color": "red"}),
        ("x.location is not of type string", {"kind": "web", "location": 1}),
        ("x.sku.name is 'S9', not one of S1, S2", {"kind": "web", "location": "l", "sku": {"name": "S9"}}),
        (
            "x.sku.name is 'S9', not one of S1, S2",
            {"kind": "web", "location": "l", "sku": {"name": Choice("c", ("S1", "S9"))}},
        ),
        ("x.parts[].id is missing", {"kind": "web", "location": "l", "parts": [{}]}),
    ],
)
def test_a_fault_is_named(fault: str, value: Any) -> None:
    shape = {
        "kind!": "string",
        "location!": "string",
        "sku": {"name": ["S1", "S2"]},
        "parts": {"[]": {"id!": "string"}},
    }
    assert faults(value, shape, "x") == [fault]
