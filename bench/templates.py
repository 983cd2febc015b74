"""What a message costs over the number of templates, by kind of match, and over its readings and its size.

    python -m bench.templates

CPU time in us, the best of several. The tables should be flat from left to right: a mapping of a thousand templates
costs a message as much as one of seventeen, and a reading as much in a large message as in a small one.
"""

import gc
import json
import time
from collections.abc import Callable
from typing import Any

from bench.normalize import events
from medtech.mapping.device import DeviceMapping, load_device_mapping

TEMPLATES = (1, 17, 100, 1000)
MATCHES: dict[str, tuple[str, Callable[[int], str]]] = {
    "$..[?(@t7)]": ("JsonPath", lambda n: f"$..[?(@t{n})]"),
    "$..[?(@telemetry.t7)]": ("JsonPath", lambda n: f"$..[?(@telemetry.t{n})]"),
    "$..[?(@type == 't7')]": ("JsonPath", lambda n: f"$..[?(@type == 't{n}')]"),
    "$..[?(@code == 7)]": ("JsonPath", lambda n: f"$..[?(@code == {n})]"),
    "$..[?(@value && @type == 't7')]": ("JsonPath", lambda n: f"$..[?(@value && @type == 't{n}')]"),
    "$..[?(@value && @t7)]": ("JsonPath", lambda n: f"$..[?(@value && @t{n})]"),
    "$.Body.data[?(@type == 't7')]": ("JsonPath", lambda n: f"$.Body.data[?(@type == 't{n}')]"),
    "$.Body.named.t7": ("JsonPath", lambda n: f"$.Body.named.t{n}"),
    "Body.data[?t7]": ("JmesPath", lambda n: f"Body.data[?t{n}]"),
    "Body.data[?type == 't7']": ("JmesPath", lambda n: f"Body.data[?type == 't{n}']"),
    "Body.data[?value && code == `7`]": ("JmesPath", lambda n: f"Body.data[?value && code == `{n}`]"),
    "to_array(Body) | [?id].data[] | [?type == 't7']": (
        "JmesPath",
        lambda n: f"to_array(Body) | [?id].data[] | [?type == 't{n}']",
    ),
    "Body.named.t7": ("JmesPath", lambda n: f"Body.named.t{n}"),
    "$..[?(@type =~ /^t7$/)], which is tried": ("JsonPath", lambda n: f"$..[?(@type =~ /^t{n}$/)]"),
}

READINGS = (1, 10, 100, 1_000, 10_000)
PADDING_KIB = (0, 64, 256, 1_000)
BATCHES = {
    "$..[?(@value)]": ("JsonPath", "$.matchedToken.value"),
    "Body.data[?value]": ("JmesPath", "matchedToken.value"),
    "Body.data[?value], multiply(…)": ("JmesPath", "multiply(to_number(matchedToken.value), `1.5`)"),
}

_SECONDS = 0.02
_SLICES = 7


def mapping_of(language: str, matches: list[str], value: str | None = None) -> DeviceMapping:
    """One template for each match; readings are under `value` unless an expression says else."""
    templates = [
        {
            "templateType": "CalculatedContent",
            "template": {
                "typeName": f"type{number}",
                "typeMatchExpression": {"value": match, "language": language},
                "deviceIdExpression": "$.Body.id",
                "timestampExpression": "$.Body.time",
                "values": [
                    {
                        "valueName": "value",
                        "valueExpression": {
                            "value": value or "$.Body.id",
                            "language": language if value else "JsonPath",
                        },
                    }
                ],
            },
        }
        for number, match in enumerate(matches)
    ]
    return load_device_mapping(json.dumps({"templateType": "CollectionContent", "template": templates}))


def message_of(readings: int, padding_bytes: int = 0) -> dict[str, Any]:
    """Readings of type 0, and texts of so many bytes beside them."""
    reading = {"type": "t0", "code": 0, "t0": 1, "telemetry": {"t0": 1}, "value": "36.6"}
    beside = [{"note": "x" * 80, "at": number} for number in range(padding_bytes // 110)]
    return {
        "id": "device-1",
        "time": "2024-02-29T10:00:00.250Z",
        "data": [reading] * readings,
        "named": {"t0": 1},
        "beside": beside,
    }


def cost_us(mapping: DeviceMapping, message: Any) -> float:
    """CPU time of one message."""
    [event] = events([message])
    assert mapping.normalize(event).measurements
    best = float("inf")
    gc.collect()
    for _ in range(_SLICES):
        runs, start = 0, time.process_time()
        while (spent := time.process_time() - start) < _SECONDS:
            mapping.normalize(event)
            runs += 1
        best = min(best, spent / runs)
    return best * 1e6


def _row(name: str, figures: list[float]) -> str:
    return f"{name:50}" + "".join(f"{figure:10.2f}" for figure in figures)


def main() -> None:
    print(f"{'us a message of one reading; templates:':50}" + "".join(f"{number:10,d}" for number in TEMPLATES))
    for name, (language, match) in MATCHES.items():
        mappings = [mapping_of(language, [match(number) for number in range(count)]) for count in TEMPLATES]
        print(_row(name, [cost_us(mapping, message_of(1)) for mapping in mappings]))
    print(f"\n{'us a reading; readings a message:':50}" + "".join(f"{number:10,d}" for number in READINGS))
    for name, (language, value) in BATCHES.items():
        mapping = mapping_of(language, [name.partition(",")[0]], value)
        print(_row(name, [cost_us(mapping, message_of(count)) / count for count in READINGS]))
    print(f"\n{'us a KiB beside 10 readings; KiB:':50}" + "".join(f"{number:10,d}" for number in PADDING_KIB))
    for name, (language, value) in BATCHES.items():
        mapping = mapping_of(language, [name.partition(",")[0]], value)
        messages = [message_of(10, kib * 1024) for kib in PADDING_KIB]
        print(_row(name, [cost_us(mapping, each) / (len(json.dumps(each)) / 1024) for each in messages]))


if __name__ == "__main__":
    main()
