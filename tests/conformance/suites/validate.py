"""Mappings and messages through the validator: findings, measurements and Observations."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from medtech.errors import Stage
from medtech.model import DeviceEvent
from medtech.validation.finding import Finding, Level
from medtech.validation.validator import DeviceResult, read_mappings, validate
from tests.conformance.compare import difference
from tests.conformance.observations import OPTIONS, described_measurement, written
from tests.conformance.vectors import Vector

NOT_COMPARED = frozenset({"message", "position"})

_LEVELS = {Level.WARNING: "WARN", Level.ERROR: "ERROR"}
_CATEGORIES = {Stage.NORMALIZATION: "NORMALIZATION", Stage.FHIR_CONVERSION: "FHIRTRANSFORMATION"}


def check(vector: Vector) -> str | None:
    expected = vector["expected"]
    events = [_event(event, number) for number, event in enumerate(vector["events"] or [])]
    mappings = read_mappings(vector["device"], vector["fhir"], OPTIONS)
    results = validate(mappings, events, aggregate=vector["aggregate"], issued=0).results
    if found := _unlike(expected["template"], mappings.findings, "$.template"):
        return found
    if len(results) != len(expected["devices"]):
        return f"$.devices: expected {len(expected['devices'])} results, got {len(results)}"
    for number, (wanted, result) in enumerate(zip(expected["devices"], results, strict=True)):
        path = f"$.devices[{number}]"
        found = _unlike(wanted["exceptions"], result.findings, f"{path}.exceptions") or difference(
            {name: value for name, value in wanted.items() if name != "exceptions"}, _described(result), path
        )
        if found:
            return found
    return None


def _unlike(expected: list[dict[str, Any]], findings: Iterable[Finding], path: str) -> str | None:
    """Every finding of the reference is among ours; what we find beyond them are warnings."""
    wanted = Counter((each["level"], each["category"], each["line"]) for each in expected)
    ours = Counter((_LEVELS[each.level], _CATEGORIES[each.stage], each.line) for each in findings)
    beyond = [noted for noted in (ours - wanted) if noted[0] == "ERROR"]
    missing = wanted - ours
    return f"{path}: missing {list(missing)}, not expected {beyond}" if missing or beyond else None


def _described(result: DeviceResult) -> dict[str, Any]:
    return {
        "measurements": [described_measurement(measurement) for measurement in result.measurements],
        "observations": [written(observation) for observation in result.observations],
        "aggregatedCount": result.aggregated_count,
    }


def _event(vector: dict[str, Any], number: int) -> DeviceEvent:
    return DeviceEvent(
        vector["Body"].encode(), vector["Properties"], vector["SystemProperties"], 0, "00000000", "0", number
    )
