"""One measurement group to its Observations."""

from medtech.errors import MappingInvalid
from medtech.transform.observation import convert
from tests.conformance.compare import difference
from tests.conformance.observations import described, fhir_mapping_of, group_of
from tests.conformance.vectors import Vector

NOT_COMPARED = frozenset({"error"})


def check(vector: Vector) -> str | None:
    expected = vector["expected"]
    try:
        mapping = fhir_mapping_of(vector["mapping"])
    except MappingInvalid as error:
        return None if "error" in expected else f"mapping refused: {error}"
    drafts, failures = convert(mapping, group_of(vector["group"]))
    if "error" in expected and not failures:
        return "no error where one is expected"
    if failures and "error" not in expected:
        return f"failed: {failures[0].error}"
    if "observations" not in expected:
        return None
    return difference(expected["observations"], [described(draft) for draft in drafts], "$.observations")
