"""Putting right what a create that was carried out late has gone over.

Such a create is the older word, whatever its place in the history: somebody else has read, merged and written since.
So the version before it is taken up again, and the create only adds what that one lacks. Nothing here compares clocks:
a late create is known by what was sent (`Watch`), and by the place of the versions in the history.

A history ends at a deletion, so a resource that was deleted, and that a late create makes anew, is left as it is.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from medtech.dotnet import ticks
from medtech.dotnet.ticks import TICKS_PER_MILLISECOND
from medtech.errors import ConversionError, MedTechError
from medtech.persist.answers import Resource, version_from
from medtech.persist.client import FhirClient
from medtech.persist.history import absorb
from medtech.persist.identity.create import may_hide_another, own_identifier, put_back
from medtech.persist.settle import Attempt, Failed, SavedAs, settle
from medtech.persist.watch import Watch
from medtech.transform.effective import read_moment
from medtech.transform.merge import WITHDRAWN

_CREATED = frozenset(
    (
        *("resourceType", "id", "identifier", "status", "category", "code", "subject", "encounter", "issued", "device"),
        *("effectiveDateTime", "effectivePeriod", "component"),
        *("valueSampledData", "valueQuantity", "valueString", "valueCodeableConcept"),
    )
)
"""All that an Observation can have that the app has created, and nobody has changed since."""

_SERVERS_OWN = frozenset({"meta", "text"})
_OF_THE_VERSION = _SERVERS_OWN | {"status", "issued"}


class Looked(NamedTuple):
    """A watch after a look at its resource, with the version that is current; `restored`: something was put right.

    With an `error` it could not be looked at, or not be put right. `server_away` as in Failed.
    """

    watch: Watch
    restored: bool = False
    error: MedTechError | None = None
    server_away: bool = False


def look(
    client: FhirClient,
    watches: Iterable[Watch],
    before_writes: Callable[[], object],
    *,
    now: Callable[[], int] = ticks.now,
    pause: Callable[[float], object] = time.sleep,
) -> Iterator[Looked]:
    """Reads what is watched, with its history where it has changed, and puts right what a late create went over.

    In any order, round by round. `before_writes` is called each time before bundles that write are sent; what it raises
    ends the iteration, and nothing is sent after that.
    """
    attempts = (
        _LateObservation(watch, now) if watch.resource_type == "Observation" else _LateStub(watch) for watch in watches
    )
    for attempt, result in settle(client, attempts, lambda creates: before_writes(), pause=pause):
        match result:
            case Failed(error, server_away):
                yield Looked(attempt.watch, error=error, server_away=server_away)
            case _:
                watch = attempt.watch._replace(version=attempt.version)
                yield Looked(watch, restored=result.saved_as is not SavedAs.NO_OPERATION)


def take_back(current: Resource, earlier: Sequence[Resource], watch: Watch) -> Resource:
    """An Observation with what late creates have gone over; `current` itself if that is nothing.

    `earlier` are its other versions, newest first as far as the server keeps that order. If the current version is a
    late create, the one that it went over stands, with everything that people have added to it, and even if it is
    withdrawn; if somebody has written since, that stands. Raises as `absorb`.
    """
    versions = [current, *_newest_first(earlier)]
    late = [_is_late(version, versions[place:], watch.issued) for place, version in enumerate(versions, 1)]
    seen = next(
        (place for place, each in enumerate(versions) if watch.version and _version(each) == watch.version),
        len(versions),
    )
    base, missing = current, list[Resource]()
    for place in range(min(seen, len(earlier))):
        if not late[place]:
            continue
        # Of creates that follow each other, each has its own readings.
        before = next((older for older in range(place + 1, len(versions)) if not late[older]), place + 1)
        if place == 0:
            base = versions[before]
        missing += (versions[before], versions[place])
    if not missing or base.get("status") in WITHDRAWN:
        return base
    restored = absorb(base, missing)
    return current if _without(restored, _OF_THE_VERSION) == _without(current, _OF_THE_VERSION) else restored


def _newest_first(versions: Sequence[Resource]) -> Sequence[Resource]:
    """By the one clock of the server; those that it wrote within one tick of that by their numbers, if they have any.

    Each version stays in its place if one of them does not say when it was written.
    """
    try:
        return sorted(versions, key=_written, reverse=True)
    except ConversionError:
        return versions


def _written(version: Resource) -> tuple[int, int]:
    number = _version(version) or ""
    moment, _ = read_moment((version.get("meta") or {}).get("lastUpdated"), "A version")
    return moment, int(number) if number.isdecimal() else 0


def amended(observation: Resource, issued: int) -> Resource:
    """As it is written after a change, at `issued` (ticks)."""
    status = "corrected" if observation.get("status") == "corrected" else "amended"
    return {**observation, "status": status, "issued": ticks.format_iso(issued)}


def _is_late(version: Resource, older: Sequence[Resource], issued: tuple[int, int]) -> bool:
    """Whether a version is one of the creates that were sent without an answer, by what it says."""
    content = _without(version, _SERVERS_OWN)
    if content.get("status") != "final" or not content.keys() <= _CREATED:
        return False
    try:
        first, last = read_moment(content.get("issued"), f"Observation/{content.get('id')}")
    except ConversionError:
        return False
    # Servers may cut or round it to milliseconds.
    if last < issued[0] - TICKS_PER_MILLISECOND or first > issued[1] + TICKS_PER_MILLISECOND:
        return False
    # Somebody who edits a created one may keep its `issued`.
    same_issue = [_without(each, _SERVERS_OWN) for each in older if each.get("issued") == content["issued"]]
    return not same_issue or content in same_issue


def _version(resource: Resource) -> str | None:
    return version_from(resource, None, None)


def _without(resource: Resource, names: frozenset[str]) -> Resource:
    return {name: value for name, value in resource.items() if name not in names}


class _Watched(Attempt):
    """A resource that is watched; `version` is the current one, as far as the server says."""

    def __init__(self, watch: Watch) -> None:
        super().__init__(watch.resource_type, watch.resource_id)
        self.watch = watch
        self.version: str | None = None

    def decide(self, current: Resource | None, earlier: Sequence[Resource]) -> Resource | None:
        if current is None:
            return None
        self.version = _version(current)
        restored = self._restored(current, earlier) if earlier else current
        return None if restored is current else restored

    def _restored(self, current: Resource, earlier: Sequence[Resource]) -> Resource:
        raise NotImplementedError


class _LateObservation(_Watched):
    def __init__(self, watch: Watch, now: Callable[[], int]) -> None:
        super().__init__(watch)
        self._now = now

    def doubts(self, current: Resource) -> bool:
        version = _version(current)
        # A first version has gone over nothing.
        return version is None or version not in ("1", self.watch.version)

    def _restored(self, current: Resource, earlier: Sequence[Resource]) -> Resource:
        restored = take_back(current, earlier, self.watch)
        if restored is current or restored.get("status") in WITHDRAWN:
            return restored
        return amended(restored, self._now())


class _LateStub(_Watched):
    """A Patient or Device: a late create is bare, as all that the app creates."""

    def doubts(self, current: Resource) -> bool:
        identifier = own_identifier(current)
        return (
            identifier is not None
            and may_hide_another(current, identifier)
            and (self.watch.version is None or _version(current) != self.watch.version)
        )

    def _restored(self, current: Resource, earlier: Sequence[Resource]) -> Resource:
        identifier = own_identifier(current)
        if identifier is None:
            return current
        restored = put_back(current, _newest_first(earlier), identifier, self.watch.patient)
        link = current.get("patient")
        return {**restored, "patient": link} if link and not restored.get("patient") else restored
