"""The Observations of a group, each merged into the first Observation of another group."""

from typing import Any

from medtech.errors import MedTechError
from medtech.transform.fhir_json import dump_resource, parse_resource
from medtech.transform.merge import merge
from medtech.transform.observation import ObservationDraft, convert, create
from tests.conformance.compare import difference
from tests.conformance.observations import IDENTITY, fhir_mapping_of, group_of, written
from tests.conformance.vectors import Vector

NOT_COMPARED = frozenset({"error"})


def check(vector: Vector) -> str | None:
    expected = vector["expected"]
    try:
        actual = _merge(vector)
    except MedTechError as error:
        return None if "error" in expected else f"failed: {error}"
    return difference(expected, actual)


def _merge(vector: Vector) -> dict[str, Any]:
    first = _drafts(vector["mapping"], vector["first"])
    group = _drafts(vector.get("mappingThen", vector["mapping"]), vector["group"])
    stored = parse_resource(dump_resource(create(first[0], IDENTITY, issued=0)))
    steps = [merge(stored, draft, IDENTITY, issued=1) for draft in group]
    return {
        "existing": written(stored),
        "steps": [{"changed": step.changed, "merged": written(step.resource)} for step in steps],
    }


def _drafts(mapping: dict[str, Any], group: dict[str, Any]) -> list[ObservationDraft]:
    """Raises the first error of the mapping or of the group."""
    drafts, failures = convert(fhir_mapping_of(mapping), group_of(group))
    if failures:
        raise failures[0].error
    return drafts
