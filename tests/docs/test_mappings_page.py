"""docs/mappings.md has every property, kind and type that the loader knows; its examples are run by test_blocks."""

import re
from pathlib import Path

import pytest

from medtech.mapping.fhir import COMPONENT_PROPERTIES, INTERVALS, TEMPLATE_PROPERTIES, VALUE_TYPES
from medtech.mapping.json_schema import fhir_schema
from medtech.mapping.template_reader import KINDS, VALUE_PROPERTIES

PAGE = (Path(__file__).parents[2] / "docs" / "mappings.md").read_text(encoding="utf-8")


def rows(head: str) -> list[str]:
    """The first cells of the table under a head."""
    _, found, rest = PAGE.partition(f"\n| {head} |")
    assert found
    return re.findall(r"^\| (\S+) \|", rest.partition("\n\n")[0], re.MULTILINE)


def code(*names: str) -> set[str]:
    return {f"`{name}`" for name in names}


@pytest.mark.parametrize(
    ("head", "names"),
    [
        ("kind", [kind.name for kind in KINDS]),
        ("property of a device template", [name for kind in KINDS for name in kind.properties]),
        ("property of a value", VALUE_PROPERTIES),
        ("property of a FHIR template", TEMPLATE_PROPERTIES),
        ("`valueType`", VALUE_TYPES),
    ],
)
def test_a_table_has_what_the_loader_knows(head: str, names: list[str]) -> None:
    assert set(rows(head)) == code(*names)


def test_the_intervals_are_those_of_the_loader() -> None:
    table = PAGE.partition("| `periodInterval` | name |")[2].partition("\n\n")[0]
    found = re.findall(r"^\| (-?\d+) \| `(\w+)`", table, re.MULTILINE)
    assert {name: int(number) for number, name in found} == {name: int(number) for name, number in INTERVALS.items()}


def test_the_properties_of_a_value_are_those_that_are_checked() -> None:
    template = fhir_schema()["definitions"]["collection"]["then"]["properties"]["template"]["items"]["then"]["allOf"][0]
    value = template["then"]["properties"]["template"]["then"]["properties"]["value"]
    by_type = {
        name: set(each["then"]["properties"]) for name, each in zip(VALUE_TYPES, value["then"]["allOf"], strict=True)
    }
    table = PAGE.partition("| `valueType` | its properties |")[2].partition("\n\n")[0]
    shown = {
        name: set(re.findall(r"`(\w+)`", cell)) for name, cell in re.findall(r"^\| `(\w+)` \| (.*?) \|", table, re.M)
    }
    assert shown == by_type


def test_components_are_described() -> None:
    assert "`value`, which is needed, and `codes`" in PAGE
    assert set(COMPONENT_PROPERTIES) == {"value", "codes"}
