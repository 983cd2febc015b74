"""Transform: measurements to Observations in JSON, and an hour of one reading a second merged minute by minute."""

from bench import workloads
from bench.frame import HERE, REFERENCE, Workload
from medtech.dotnet.ticks import TICKS_PER_SECOND
from medtech.mapping.fhir import FhirMapping, load_fhir_mapping
from medtech.model import Measurement, MeasurementGroup, ResourceIdentity
from medtech.transform.effective import read_effective
from medtech.transform.fhir_json import dump_resource, parse_resource
from medtech.transform.merge import merge
from medtech.transform.observation import convert, create_text

_IDENTITY = ResourceIdentity("device-1", "patient-1", None)
_ISSUED = read_effective({"effectiveInstant": "2024-02-29T11:00:00Z"}, "the workload").start or 0
_HOUR = _ISSUED - 3600 * TICKS_PER_SECOND

_MARKS = {"quantity": 5, "hourly": 6}


def collect() -> list[Workload]:
    rates = REFERENCE["transform_observations_per_second"]
    merges = REFERENCE["merges_per_second"]
    merge_rate = next(rate for name, rate in merges.items() if name != "calibration")
    calibration = REFERENCE["calibration"]
    groups = _single_groups()
    found = []
    for name, rate in rates.items():
        mapping = _mapping(name.partition(",")[0])
        kind = name.partition(".")[0]
        found.append(
            Workload(f"transform {kind}", "Observations", _Transform(mapping, groups), rate, calibration, _MARKS[kind])
        )
    hot = _Merge(_mapping("hot.fhir.json"))
    found.append(Workload("merge hot", "merges", hot, merge_rate, merges["calibration"], 9))
    return found


class _Transform:
    def __init__(self, mapping: FhirMapping, groups: list[MeasurementGroup]) -> None:
        self._mapping = mapping
        self._groups = groups

    def __call__(self) -> int:
        for group in self._groups:
            for draft in convert(self._mapping, group).drafts:
                create_text(draft, _IDENTITY, _ISSUED)
        return len(self._groups)


class _Merge:
    def __init__(self, mapping: FhirMapping) -> None:
        self._mapping = mapping
        self._groups = [_minute(minute) for minute in range(60)]

    def __call__(self) -> int:
        stored = b""
        for group in self._groups:
            (draft,) = convert(self._mapping, group).drafts
            if stored:
                stored = dump_resource(merge(parse_resource(stored), draft, _IDENTITY, _ISSUED).resource)
            else:
                stored = create_text(draft, _IDENTITY, _ISSUED)
        return len(self._groups)


def _mapping(file: str) -> FhirMapping:
    return load_fhir_mapping((HERE / file).read_text(encoding="utf-8"))


def _single_groups() -> list[MeasurementGroup]:
    """The measurements of the workload `single`, each a group of its own."""
    groups = []
    for message in workloads.single():
        time = read_effective({"effectiveInstant": message["endDate"]}, "the workload").start or 0
        groups.append(_group(message["deviceId"], message["patientId"], [(time, message["heartRate"])]))
    return groups


def _minute(minute: int) -> MeasurementGroup:
    start = _HOUR + minute * 60 * TICKS_PER_SECOND
    return _group(
        "device-1", "p1", [(start + second * TICKS_PER_SECOND, str(60 + second % 40)) for second in range(60)]
    )


def _group(device_id: str, patient_id: str, readings: list[tuple[int, str]]) -> MeasurementGroup:
    measurements = [
        Measurement("heartRate", time, device_id, patient_id, None, None, (("hr", text),), _ISSUED, "0", number, 0, 0)
        for number, (time, text) in enumerate(readings)
    ]
    return MeasurementGroup("heartRate", device_id, patient_id, None, None, measurements)
