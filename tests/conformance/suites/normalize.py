"""A mapping and a message: the measurements in order, and how many of its templates and matches fail."""

from typing import Any

from medtech.errors import MappingInvalid
from medtech.mapping.device import load_device_mapping
from medtech.model import DeviceEvent
from tests.conformance.compare import difference
from tests.conformance.observations import described_measurement, mapping_text
from tests.conformance.vectors import Vector

NOT_COMPARED = frozenset({"error", "errors"})


def check(vector: Vector) -> str | None:
    expected = vector["expected"]
    try:
        measurements, failures = load_device_mapping(mapping_text(vector["mapping"])).normalize(_event(vector["event"]))
    except MappingInvalid as error:
        return None if "error" in expected else f"mapping refused: {error}"
    if "error" in expected:
        whole = [failure for failure in failures if failure.template == -1]
        return None if whole and not measurements else "a message was read that is refused"
    if len(failures) != len(expected["errors"]):
        texts = "; ".join(str(failure.error) for failure in failures)
        return f"expected {len(expected['errors'])} errors, got {len(failures)}: {texts}"
    return difference(
        expected["measurements"], [described_measurement(each) for each in measurements], "$.measurements"
    )


def _event(event: dict[str, Any]) -> DeviceEvent:
    return DeviceEvent(
        body=event["Body"].encode(),
        properties=event["Properties"],
        system_properties=event["SystemProperties"],
        enqueued_time=0,
        hub="00000000",
        partition="0",
        sequence_number=0,
    )
