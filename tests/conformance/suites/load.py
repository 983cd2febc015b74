"""A mapping's text: accepted or refused, and where its errors are."""

from medtech.errors import MappingInvalid, MappingIssue
from medtech.mapping.device import load_device_mapping
from medtech.mapping.fhir import load_fhir_mapping
from tests.conformance.vectors import Vector

NOT_COMPARED = frozenset({"error", "message", "position"})


def check(vector: Vector) -> str | None:
    expected = vector["expected"]
    issues = _issues(vector)
    refused = "error" in expected or bool(expected["errors"])
    if refused and not issues:
        return "accepted where it is refused"
    if issues and not refused:
        return f"refused where it is accepted: {issues[0]}"
    lines = {issue.line for issue in issues}
    for error in expected.get("errors", ()):
        if error["line"] != -1 and error["line"] not in lines:
            return f"no error at line {error['line']}, only at {sorted(lines)}"
    if any(not issue.message for issue in issues):
        return "an error without a message"
    return None


def _issues(vector: Vector) -> list[MappingIssue]:
    load = load_device_mapping if vector["which"] == "device" else load_fhir_mapping
    try:
        load(vector["text"])
    except MappingInvalid as error:
        return error.issues
    return []
