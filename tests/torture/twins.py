"""The twins: the same run with one reading lost, doubled, stuck or leaked on purpose, on the real parts. Each must be
seen."""

import base64
from collections.abc import Callable
from copy import deepcopy
from typing import NamedTuple

import httpx
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from tests.torture.checker import State, Verdict, judge
from tests.torture.oracle import Json
from tests.torture.site import Site
from tests.torture.traffic import FIRST_VALUE


class Twin(NamedTuple):
    """`harm` does it; `seen` says whether a verdict tells of it."""

    name: str
    harm: Callable[[Site, State], None]
    seen: Callable[[Verdict], object]


def unseen(site: Site, state: State, *, repeats: bool) -> list[str]:
    """Does the harm of each twin to a site that was found good, one after another, and names those not seen."""
    names = [] if _exported(site) else ["telemetry, as none came"]
    for twin in TWINS:
        twin.harm(site, state)
        state = site.state()
        verdict = judge(state, strangers=site.strangers, repeats=repeats)
        if not twin.seen(verdict):
            names.append(twin.name)
    return names


def _exported(site: Site) -> bool:
    """Whether metrics, spans and log lines came: what is not there leaks nothing."""
    return bool(site.telemetry.points() and site.telemetry.spans() and site.telemetry.lines())


def _lose_a_sample(site: Site, state: State) -> None:
    """One slot of a series becomes empty, as a write over a newer version would leave it."""
    series = site.chance.choice(
        [each for each in _current(state) if "valueSampledData" in each and _samples(each) != {"E"}]
    )
    changed = deepcopy(series)
    slots = changed["valueSampledData"]["data"].split()
    slot = site.chance.choice([n for n, sample in enumerate(slots) if sample != "E"])
    slots[slot] = "E"
    changed["valueSampledData"]["data"] = " ".join(slots)
    site.put(changed)


def _double_an_observation(site: Site, state: State) -> None:
    """The readings of an Observation are in another one, too."""
    site.put(site.chance.choice(_current(state)) | {"id": "twin", "meta": {}})


def _hold_a_partition(site: Site, state: State) -> None:
    """A message lies in a partition, and the app does not run any more."""
    site.send_to_nobody(site.traffic.messages(1))


def _leak_readings(site: Site, state: State) -> None:
    """A reading is in the host's log, another in the address of a request to the FHIR server, others in telemetry."""
    logged, asked_for, told = site.traffic.messages(3, site.traffic.devices[0])
    with site.stack.host.log_path.open("a") as log:
        log.write(f"DEBUG Function.flush: b'{logged.body.hex()}'\n")
    httpx.get(f"{site.fhir.url}/fhir/R4/Observation", params={"text": base64.b64encode(asked_for.body).decode()})
    lines, metrics = ExportLogsServiceRequest(), ExportMetricsServiceRequest()
    lines.resource_logs.add().scope_logs.add().log_records.add().body.string_value = told.body.decode()
    metric = metrics.resource_metrics.add().scope_metrics.add().metrics.add(name="leak")
    metric.gauge.data_points.add().as_double = FIRST_VALUE
    for signal, request in (("logs", lines), ("metrics", metrics)):
        httpx.post(f"{site.telemetry.endpoint}/v1/{signal}", content=request.SerializeToString()).raise_for_status()


TWINS = (
    Twin("a lost reading", _lose_a_sample, lambda verdict: len(verdict.lost) == 1),
    Twin("a doubled reading", _double_an_observation, lambda verdict: verdict.doubled),
    Twin("a leaked reading", _leak_readings, lambda verdict: len(verdict.leaked) == 4),
    Twin("a stuck partition", _hold_a_partition, lambda verdict: verdict.stuck),
)


def _current(state: State) -> list[Json]:
    return [versions[-1] for versions in state.versions.values()]


def _samples(observation: Json) -> set[str]:
    return set(observation["valueSampledData"]["data"].split())
