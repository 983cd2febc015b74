"""docs/validate.md: its examples are answered as it says, and its tables have what the code has."""

import json
from typing import Any

import azure.functions as func
import pytest

from medtech import errors
from medtech.mapping.device import load_device_mapping
from medtech.mapping.fhir import DEFAULT_OPTIONS, load_fhir_mapping
from medtech.mapping.in_force import MappingStore
from medtech.storage.connection import Storage
from medtech.validation.finding import Name
from medtech.validation.http import answer
from tests.docs.markdown import ROOT, read
from tests.validation.test_findings import CASES

PAGE = read(ROOT / "docs" / "validate.md")
EXAMPLES = {heading.anchor: PAGE.code("json", heading.anchor) for heading in PAGE.subsections("examples")}
FINDINGS, ERRORS = (table for table in PAGE.tables if table.head[0] == "name")


@pytest.mark.parametrize(("request_text", "answer_text"), EXAMPLES.values(), ids=EXAMPLES)
def test_an_example_is_answered_as_the_page_says(storage: Storage, request_text: str, answer_text: str) -> None:
    request = func.HttpRequest(method="POST", url="/api/validate", body=request_text.encode())
    response = answer(
        request,
        len(request_text.encode()),
        MappingStore("device", "mappings/deviceMapping.json", load_device_mapping, storage),
        MappingStore("fhir", "mappings/fhirDestinationMapping.json", load_fhir_mapping, storage),
        DEFAULT_OPTIONS,
    )
    assert response.status_code == 200
    assert_has(json.loads(response.get_body()), json.loads(answer_text), "$")


def test_the_table_has_every_finding() -> None:
    fixes = {name.strip("`"): fix for name, _, _, fix in FINDINGS.rows}
    assert list(fixes) == [str(name) for name in Name]
    fixed = {case.name for case in CASES.values() if case.fixed is not None}
    assert {name for name, fix in fixes.items() if fix != "–"} == {str(name) for name in fixed}


def test_the_table_of_errors_has_names_of_errors() -> None:
    for name, _ in ERRORS.rows:
        assert issubclass(getattr(errors, name.strip("`")), errors.MedTechError)


def assert_has(found: Any, wanted: Any, path: str) -> None:
    """`wanted` may leave out members of objects, and nothing else."""
    if isinstance(wanted, dict):
        for name, value in wanted.items():
            assert name in found, f"{path}.{name} is not there"
            assert_has(found[name], value, f"{path}.{name}")
    elif isinstance(wanted, list):
        assert len(found) == len(wanted), f"{path} has {len(found)} elements: {found}"
        for number, (each, other) in enumerate(zip(found, wanted, strict=True)):
            assert_has(each, other, f"{path}[{number}]")
    else:
        assert found == wanted, path
