"""The Observations of a group, each merged into the first Observation of another group."""

from typing import Any

from medtech.errors import MappingInvalid
from medtech.mapping.fhir import FhirMapping, load_fhir_mapping
from medtech.transform.fhir_json import dump_resource, parse_resource
from medtech.transform.merge import merge
from medtech.transform.observation import Conversion, convert, create
from tests.conformance.compare import difference
from tests.conformance.observations import IDENTITY, group_of, mapping_text, written
from tests.conformance.vectors import Vector

NOT_COMPARED = frozenset({"error"})


def check(vector: Vector) -> str | None:
    expected = vector["expected"]
    try:
        mapping = load_fhir_mapping(mapping_text(vector["mapping"]))
        then = load_fhir_mapping(mapping_text(vector.get("mappingThen", vector["mapping"])))
    except MappingInvalid as error:
        return None if "error" in expected else f"mapping refused: {error}"
    first, group = _convert(mapping, vector["first"]), _convert(then, vector["group"])
    if "error" in expected:
        return None if first.failures or group.failures else "no error where one is expected"
    if first.failures or group.failures:
        return f"failed: {(first.failures + group.failures)[0].error}"

    stored = parse_resource(dump_resource(create(first.drafts[0], IDENTITY, issued=0)))
    steps = [merge(stored, draft, IDENTITY, issued=1) for draft in group.drafts]
    actual = {
        "existing": written(stored),
        "steps": [{"changed": step.changed, "merged": written(step.resource)} for step in steps],
    }
    return difference(expected, actual)


def _convert(mapping: FhirMapping, group: dict[str, Any]) -> Conversion:
    return convert(mapping, group_of(group))
