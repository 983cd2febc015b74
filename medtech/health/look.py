"""A look at every part, side by side, within a time."""

import threading
import time
from collections.abc import Callable, Mapping
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import Any

from medtech.deadline import Deadline, within
from medtech.dotnet import ticks
from medtech.errors import MedTechError, OutOfTime, UnexpectedFault
from medtech.group.buffer import Buffer
from medtech.health import probes
from medtech.health.part import Health, Part, State
from medtech.mapping.in_force import MappingStore
from medtech.persist.client import FhirClient
from medtech.settings import Settings
from medtech.storage.connection import Storage, Timeouts

LOOK_SECONDS = 10.0
"""Whoever asks for health waits for half a minute or so, and a part that takes longer than this is not well."""

STORAGE_TIMEOUTS = Timeouts(connect_seconds=3, read_seconds=8, retries=0)
"""A retry would hide what is looked for."""

_ENDS_LATE_SECONDS = 0.5
"""A probe that asks for the time that is left ends by itself, with a better message than that it did not."""

_RESTS_ON = {
    probes.HUB: probes.STORAGE,
    probes.DEVICE_MAPPING: probes.STORAGE,
    probes.FHIR_MAPPING: probes.STORAGE,
    probes.FHIR_SERVER: probes.IDENTITY,
    probes.OLDEST_WINDOW: probes.STORAGE,
    probes.LAST_FLUSH: probes.STORAGE,
}
"""What a part is seen by. If that is down, it is told once, and the part is unknown."""

_OUTSIDE = (probes.STORAGE, probes.IDENTITY, probes.FHIR_SERVER)
"""If one of these does not answer in time, it is down; of the others, nothing is known then."""

SETTINGS = "settings"
"""The part that is there only if a setting is unusable."""

Probe = Callable[[], Part]


@dataclass(frozen=True, kw_only=True)
class Onlooker:
    """What a look needs; one per process. `clock` gives ticks.

    `storage` creates no tables. `mappings` are stores over it, by the names of their parts. `queue` is the name of
    the queue by which shards are flushed, if they are. The FHIR client is not the flush's, whose requests may all be
    under way; it is asked for at a look, since its settings may be what is wrong.
    """

    storage: Storage
    mappings: Mapping[str, MappingStore[Any]]
    fhir_client: Callable[[], FhirClient]
    settings: Settings
    queue: str | None = None
    clock: Callable[[], int] = ticks.now
    seconds: float = LOOK_SECONDS

    def look(self) -> Health:
        """The health of the app, within `seconds` and half a second."""
        now = self.clock()
        storage, settings = self.storage, self.settings
        found = side_by_side(
            {
                probes.HUB: partial(probes.hub, storage, now),
                probes.STORAGE: partial(probes.storage, storage, self.queue),
                **{name: partial(_mapping, name, store) for name, store in self.mappings.items()},
                probes.IDENTITY: partial(probes.identity, self.fhir_client),
                probes.FHIR_SERVER: lambda: probes.fhir_server(self.fhir_client(), settings),
                probes.OLDEST_WINDOW: lambda: probes.oldest_window(Buffer(storage), settings, now),
                probes.LAST_FLUSH: partial(probes.flush, storage, now),
            },
            self.seconds,
        )
        return Health(tuple(_told_once(part, found) for part in found.values()), now)


def unusable(message: str, now: int) -> Health:
    """The health of an app whose settings let nothing be looked at; `now` is in ticks."""
    return Health((Part(SETTINGS, State.DOWN, message),), now)


def with_settings(message: str, health: Health) -> Health:
    """The health of an app that can be looked at, and whose settings stop its functions."""
    others = tuple(part for part in health.parts if part.name != SETTINGS)
    return Health((Part(SETTINGS, State.DOWN, message), *others), health.checked)


def side_by_side(asked: Mapping[str, Probe], seconds: float) -> dict[str, Part]:
    """The part of each probe, in order. One that has not ended in time is left alone, in a thread that ends with it."""
    found: dict[str, Part] = {}
    with within(Deadline(seconds)):
        threads = {
            name: threading.Thread(
                target=copy_context().run, args=(_ask, name, probe, seconds, found), name=f"health-{name}", daemon=True
            )
            for name, probe in asked.items()
        }
    end = time.monotonic() + seconds + _ENDS_LATE_SECONDS
    for thread in threads.values():
        thread.start()
    for thread in threads.values():
        thread.join(max(0.0, end - time.monotonic()))
    return {name: found.get(name) or _unanswered(name, seconds) for name in asked}


def _ask(name: str, probe: Probe, seconds: float, found: dict[str, Part]) -> None:
    try:
        found[name] = probe()
    except OutOfTime:
        found[name] = _unanswered(name, seconds)
    except MedTechError as error:
        found[name] = Part(name, State.DOWN, error.message)
    except Exception as error:  # noqa: BLE001 - the other parts are told all the same
        fault = UnexpectedFault.of(error, "looking at the app's health", then="Report it.")
        found[name] = Part(name, State.UNKNOWN, fault.message)


def _unanswered(name: str, seconds: float) -> Part:
    if name in _OUTSIDE:
        return Part(name, State.DOWN, f"No answer within {seconds:.0f} s. Check that it runs, and the way to it.")
    return Part(name, State.UNKNOWN, f"Not found out within {seconds:.0f} s. Ask again.")


def _told_once(part: Part, found: Mapping[str, Part]) -> Part:
    below = found.get(_RESTS_ON.get(part.name, ""))
    if below is None or below.state is not State.DOWN or part.state not in (State.DOWN, State.UNKNOWN):
        return part
    return Part(part.name, State.UNKNOWN, f"It cannot be seen without {below.name}.")


def _mapping(name: str, store: MappingStore[Any]) -> Part:
    return probes.mapping(name, store.inspect())
