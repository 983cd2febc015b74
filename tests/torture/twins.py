"""The twins: the same run with one reading lost, doubled, stuck or leaked on purpose, on the real parts. Each must be
seen."""

import base64
from collections.abc import Callable
from copy import deepcopy
from typing import NamedTuple

import httpx

from tests.torture.checker import State, Verdict, judge
from tests.torture.oracle import Json
from tests.torture.site import Site


class Twin(NamedTuple):
    """`harm` does it; `seen` says whether a verdict tells of it."""

    name: str
    harm: Callable[[Site, State], None]
    seen: Callable[[Verdict], object]


def unseen(site: Site, state: State, *, repeats: bool) -> list[str]:
    """Does the harm of each twin to a site that was found good, one after another, and names those not seen."""
    names = []
    for twin in TWINS:
        twin.harm(site, state)
        state = site.state()
        verdict = judge(state, strangers=site.strangers, repeats=repeats)
        if not twin.seen(verdict):
            names.append(twin.name)
    return names


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
    """A reading is in the host's log, another in the address of a request to the FHIR server."""
    logged, asked_for = site.traffic.messages(2, site.traffic.devices[0])
    with site.stack.host.log_path.open("a") as log:
        log.write(f"DEBUG Function.flush: b'{logged.body.hex()}'\n")
    httpx.get(f"{site.fhir.url}/fhir/R4/Observation", params={"text": base64.b64encode(asked_for.body).decode()})


TWINS = (
    Twin("a lost reading", _lose_a_sample, lambda verdict: len(verdict.lost) == 1),
    Twin("a doubled reading", _double_an_observation, lambda verdict: verdict.doubled),
    Twin("a leaked reading", _leak_readings, lambda verdict: len(verdict.leaked) == 2),
    Twin("a stuck partition", _hold_a_partition, lambda verdict: verdict.stuck),
)


def _current(state: State) -> list[Json]:
    return [versions[-1] for versions in state.versions.values()]


def _samples(observation: Json) -> set[str]:
    return set(observation["valueSampledData"]["data"].split())
