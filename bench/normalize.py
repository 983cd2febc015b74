"""Normalization: message bodies as bytes through a loaded device mapping. `python -m bench.normalize`"""

import json
from collections.abc import Callable, Iterable
from typing import Any

from bench import workloads
from bench.frame import HERE, REFERENCE, Workload, measure, report
from medtech.dotnet import ticks
from medtech.mapping.device import DeviceMapping, load_device_mapping
from medtech.model import DeviceEvent

_ENQUEUED = ticks.from_unix_seconds(1_709_200_900)


def events(messages: Iterable[Any]) -> list[DeviceEvent]:
    """The messages as events of one hub partition."""
    return [
        DeviceEvent(
            body=json.dumps(message).encode(),
            properties={},
            system_properties={
                "x-opt-sequence-number": number,
                "x-opt-offset": str(number * 512),
                "x-opt-enqueued-time": "2024-02-29T10:01:40.123Z",
            },
            enqueued_time=_ENQUEUED,
            hub="00000000",
            partition="0",
            sequence_number=number,
        )
        for number, message in enumerate(messages)
    ]


def load(name: str) -> DeviceMapping:
    return load_device_mapping((HERE / f"{name}.device.json").read_text(encoding="utf-8"))


def _workload(name: str, reference: str, mapping: str, messages: Iterable[Any], mark: float) -> Workload:
    rate = REFERENCE["normalize_messages_per_second"][reference]
    run = _pass(load(mapping), events(messages))
    return Workload(f"normalize {name}", "messages", run, rate, REFERENCE["calibration"], mark)


def _pass(mapping: DeviceMapping, batch: list[DeviceEvent]) -> Callable[[], int]:
    def run() -> int:
        normalize = mapping.normalize
        for event in batch:
            normalize(event)
        return len(batch)

    return run


def collect() -> list[Workload]:
    """The workloads of this file, for `bench/__main__.py`."""
    over_batch = "jmespath (jmespath.device.json over batch)"
    return [
        _workload("single", "single", "single", workloads.single(), 2.6),
        _workload("seventeen", "seventeen", "seventeen", workloads.seventeen(), 8),
        _workload("batch", "batch", "batch", workloads.batch(), 4),
        _workload("jmespath over batch", over_batch, "jmespath", workloads.batch(), 18),
    ]


if __name__ == "__main__":
    report(measure(collect()))
