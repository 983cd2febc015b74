"""Merging a minute of readings into the Observation of a day with one sample a second, behind what it holds."""

import json
import time
from typing import Any

_SAMPLES = 86_400
_NEW = 60
_TEMPLATE = {
    "templateType": "CodeValueFhir",
    "template": {
        "typeName": "heartRate",
        "periodInterval": 1440,
        "codes": [{"code": "8867-4", "system": "http://loinc.org", "display": "Heart rate"}],
        "value": {"valueName": "hr", "valueType": "SampledData", "defaultPeriod": 1000, "unit": "/min"},
    },
}


def run(*, rounds: int, samples: int = _SAMPLES) -> dict[str, Any]:
    """Milliseconds of the processor, the best of `rounds`: the merge alone, and with reading and writing the JSON."""
    from medtech.mapping.fhir import load_fhir_mapping
    from medtech.model import ResourceIdentity
    from medtech.transform.fhir_json import dump_resource, parse_resource
    from medtech.transform.merge import merge
    from medtech.transform.observation import convert, create

    mapping = load_fhir_mapping(json.dumps({"templateType": "CollectionFhir", "template": [_TEMPLATE]}))
    identity = ResourceIdentity("device-1", "patient-1", None)
    [old] = convert(mapping, _group(0, samples - _NEW)).drafts
    [new] = convert(mapping, _group(samples - _NEW, samples)).drafts
    stored = dump_resource(create(old, identity, _ISSUED))
    alone: list[float] = []
    whole: list[float] = []
    for _ in range(rounds):
        started = time.process_time()
        resource = parse_resource(stored)
        read = time.process_time()
        merged = merge(resource, new, identity, _ISSUED)
        done = time.process_time()
        dump_resource(merged.resource)
        alone.append(done - read)
        whole.append(time.process_time() - started)
    if not merged.changed:
        raise RuntimeError("the merge changed nothing")
    return {"merge_ms": min(alone) * 1000, "with_json_ms": min(whole) * 1000}


_ISSUED = 638_500_000_000_000_000
_DAY = 638_447_616_000_000_000
"""2024-02-29T00:00:00Z in ticks."""
_SECOND = 10_000_000


def _group(first: int, stop: int) -> Any:
    from medtech.model import Measurement, MeasurementGroup

    measurements = [
        Measurement(
            *("heartRate", _DAY + slot * _SECOND, "device-1", "patient-1", None, None, (("hr", str(60 + slot % 40)),)),
            *(_ISSUED, "0", slot, 0, 0),
        )
        for slot in range(first, stop)
    ]
    return MeasurementGroup("heartRate", "device-1", "patient-1", None, None, measurements)
