"""Which references name a resource, and which of the resources that a search found have an identifier exactly."""

from typing import Any

import pytest

from medtech.errors import MultipleResourceFound
from medtech.persist.references import Identifier, match_exactly, referred_id


@pytest.mark.parametrize(
    ("reference", "patient"),
    [
        ({"reference": "Patient/p1"}, "p1"),
        ({"reference": "https://fhir.example.org/r4/Patient/p1"}, "p1"),
        ({"reference": "Patient/p1/_history/7"}, "p1"),
        ({"reference": "http://fhir.example.org/Patient/p1/_history/7"}, "p1"),
        ({"identifier": {"value": "p1"}}, None),
        ({"reference": "#p1"}, None),
        ({"reference": "urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0"}, None),
        ({"reference": "Group/p1"}, None),
        ({"reference": "Patient?identifier=p1"}, None),
        ({"reference": "Patient/"}, None),
        ({"display": "somebody"}, None),
        ({}, None),
        (None, None),
    ],
)
def test_which_references_name_a_patient(reference: Any, patient: str | None) -> None:
    assert referred_id(reference, "Patient") == patient


def device(name: str, *identifiers: dict[str, str]) -> dict[str, Any]:
    return {"resourceType": "Device", "id": name, "identifier": list(identifiers)}


def test_only_an_exact_identifier_matches() -> None:
    wanted = Identifier("s", "a")
    exact = device("1", {"value": "x"}, {"system": "s", "value": "a"})
    loose = [device("2", {"system": "s", "value": "A"}), device("3", {"value": "a"}), device("4")]

    assert match_exactly([*loose, exact], [wanted]) == {wanted: exact}
    assert match_exactly(loose, [wanted]) == {wanted: None}


def test_the_same_resource_found_twice_is_one() -> None:
    """Two searches of a batch find it, or it moved to the next page while the first one was read."""
    first, second = Identifier("", "a"), Identifier("", "b")
    both = device("1", {"value": "a"}, {"value": "b"})
    assert match_exactly([both, both], [first, second]) == {first: both, second: both}


def test_two_resources_with_one_identifier_are_an_error_that_names_them() -> None:
    wanted = Identifier("", "a")
    found = match_exactly([device(name, {"value": "a"}) for name in "12"], [wanted])[wanted]
    assert isinstance(found, MultipleResourceFound)
    assert "Device/1, Device/2" in found.message
