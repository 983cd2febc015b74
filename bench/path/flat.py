"""Whether the cost of a reading grows with what there is more of, as ingest normalizes and packs it.

One measurement at each step, of readings that come out of the messages; nothing is sent anywhere. What the flush takes
is in `bench.large_windows`.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from medtech.group.buffer import segment_rows
from medtech.ingest.slices import normalize_slice
from medtech.mapping.device import load_device_mapping
from medtech.model import DeviceEvent

_READINGS_A_ROUND = 16_000
"""Of a few hundred readings one pass is over before the clock of a shared machine says much."""

_TIME = "2024-02-29T10:00:00.061144Z"
_ENQUEUED = 638_447_000_000_000_000

Message = dict[str, Any]


class Step(NamedTuple):
    """A device mapping, and messages that it takes every reading of."""

    label: str
    mapping: Mapping[str, Any]
    messages: Sequence[Message]
    readings: int


def run(*, rounds: int, most: int | None = None) -> dict[str, Any]:
    """Microseconds of the processor a reading by row and step, the best of several; `most` leaves out larger steps.

    The steps of a row take turns, `rounds` times, so that what else the machine does meets all of them.
    """
    found: dict[str, dict[str, float]] = {}
    for row, steps in ROWS.items():
        prepared = [_Prepared(step) for size, step in steps() if most is None or size <= most]
        best = {each.step.label: float("inf") for each in prepared}
        for _ in range(rounds):
            for each in prepared:
                passes = range(max(1, _READINGS_A_ROUND // each.step.readings))
                best[each.step.label] = min(best[each.step.label], *(each.microseconds() for _ in passes))
        found[row] = best
    return {"rows": found}


class _Prepared:
    """A step with its mapping loaded and its messages written."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self._mapping = load_device_mapping(json.dumps(step.mapping))
        self._bodies = [json.dumps(message).encode() for message in step.messages]

    def microseconds(self) -> float:
        """What a reading takes in one pass."""
        bodies = self._bodies
        events = [DeviceEvent(body, {}, {}, _ENQUEUED, "00000000", "0", each) for each, body in enumerate(bodies)]
        started = time.process_time()
        position, readings = 0, 0
        while position < len(events):
            made = normalize_slice(events, position, len(events) - position, self._mapping)
            segment_rows(made.measurements, hub="00000000", row_prefix="e", window_seconds=300, shards=4)
            position += made.events
            readings += len(made.measurements)
        spent = time.process_time() - started
        if readings != self.step.readings:
            raise RuntimeError(f"{self.step.label}: {readings} readings instead of {self.step.readings}")
        return spent / readings * 1e6


def _readings_a_message() -> Iterator[tuple[int, Step]]:
    total = 20_000
    for each in (1, 10, 100, 1_000, 10_000):
        messages = [_message(_reading(number) for number in range(each)) for _ in range(total // each)]
        yield each, Step(f"{each:,}", _mapping(_TWO_VALUES), messages, total)


def _message_bytes() -> Iterator[tuple[int, Step]]:
    """Readings that say much besides what the mapping takes of them."""
    beside = {f"field{number}": f"what nobody asks for, {number}" for number in range(12)}
    one = len(json.dumps(_reading(0) | beside))
    for size in (4 * 1024, 64 * 1024, 1024 * 1024):
        each = size // one
        count = max(1, 4096 // each)
        messages = [_message(_reading(number) | beside for number in range(each)) for _ in range(count)]
        yield size // 1024, Step(f"{size // 1024:,} KiB", _mapping(_TWO_VALUES), messages, each * count)


def _devices() -> Iterator[tuple[int, Step]]:
    total = 20_000
    for devices in (10, 100, 1_000, 10_000):
        messages = [_message([_reading(number)], f"device-{number % devices}") for number in range(total)]
        yield devices, Step(f"{devices:,}", _mapping(_TWO_VALUES), messages, total)


def _templates(match: Callable[[int], Mapping[str, Any]]) -> Callable[[], Iterator[tuple[int, Step]]]:
    """Messages of one reading each, of the last template and those spread over the mapping."""

    def steps() -> Iterator[tuple[int, Step]]:
        for templates in (1, 10, 100, 1_000):
            count = 200
            messages = [_of_template(number * templates // count) for number in range(count)]
            yield templates, Step(f"{templates:,}", _mapping(*map(match, range(templates))), messages, count)

    return steps


def _of_template(number: int) -> Message:
    name = f"value{number}"
    return {
        "deviceId": "device-1",
        "time": _TIME,
        "type": name,
        name: 72,
        "value": 72,
        "items": [{"kind": name, "reading": 72}],
    }


def _property(number: int) -> Mapping[str, Any]:
    return _template(number, f"$..[?(@value{number})]", "$.matchedToken.value")


def _two_properties(number: int) -> Mapping[str, Any]:
    return _template(number, f"$..[?(@value{number} && @deviceId)]", "$.matchedToken.value")


def _constant(number: int) -> Mapping[str, Any]:
    return _template(number, f"$..[?(@type=='value{number}')]", "$.matchedToken.value")


def _item(number: int) -> Mapping[str, Any]:
    return _template(number, f"$.Body.items[?(@kind=='value{number}')]", "$.matchedToken.reading")


def _path(number: int) -> Mapping[str, Any]:
    return _template(number, f"$.Body.value{number}", "$.Body.value")


def _jmespath(number: int) -> Mapping[str, Any]:
    match = {"value": f"Body.items[?kind=='value{number}']", "language": "JmesPath"}
    return _template(number, match, "$.matchedToken.reading")


def _jmespath_path(number: int) -> Mapping[str, Any]:
    return _template(number, {"value": f"Body.value{number}", "language": "JmesPath"}, "$.Body.value")


_TWO_VALUES: Mapping[str, Any] = {
    "templateType": "CalculatedContent",
    "template": {
        "typeName": "bloodPressure",
        "typeMatchExpression": "$..[?(@systolic && @diastolic)]",
        "deviceIdExpression": "$.Body.deviceId",
        "timestampExpression": "$.matchedToken.date",
        "values": [
            {"valueName": "systolic", "valueExpression": "$.matchedToken.systolic", "required": True},
            {"valueName": "diastolic", "valueExpression": "$.matchedToken.diastolic", "required": True},
        ],
    },
}


def _mapping(*templates: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"templateType": "CollectionContent", "template": list(templates)}


def _template(number: int, match: Any, value: str) -> Mapping[str, Any]:
    return {
        "templateType": "CalculatedContent",
        "template": {
            "typeName": f"type{number}",
            "typeMatchExpression": match,
            "deviceIdExpression": "$.Body.deviceId",
            "timestampExpression": "$.Body.time",
            "values": [{"valueName": "value", "valueExpression": value, "required": True}],
        },
    }


def _reading(number: int) -> Message:
    return {"systolic": str(110 + number % 30), "diastolic": str(70 + number % 20), "date": _TIME}


def _message(readings: Any, device_id: str = "device-1") -> Message:
    return {"deviceId": device_id, "data": list(readings)}


ROWS: dict[str, Callable[[], Iterator[tuple[int, Step]]]] = {
    "readings a message": _readings_a_message,
    "message size": _message_bytes,
    "devices, at ingest": _devices,
    "templates, [?(@name)]": _templates(_property),
    "templates, [?(@name && @other)]": _templates(_two_properties),
    "templates, [?(@type=='x')]": _templates(_constant),
    "templates, $.Body.items[?(@kind=='x')]": _templates(_item),
    "templates, $.Body.name": _templates(_path),
    "templates, JMESPath items[?kind=='x']": _templates(_jmespath),
    "templates, JMESPath name": _templates(_jmespath_path),
}
