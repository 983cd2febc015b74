"""Identities that were resolved lately, and which of them are to be confirmed before anything is written by them."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from threading import Lock
from typing import NamedTuple

from medtech.model import ResourceIdentity

MAX_IDENTITIES = 100_000

RESOLVED_SECONDS = 3600.0
"""An identity is resolved anew after this long, however often it was confirmed: that the Device is still linked to the
Patient does not show a second Device with the same identifier, or an encounter's number on another Encounter."""


class IdentityKey(NamedTuple):
    """Whom a measurement says it is about: the ids of the message, as they are there."""

    device_id: str
    patient_id: str | None
    encounter_id: str | None


class Held(NamedTuple):
    """A cached identity; unless it is `fresh`, its Device is to be read before anything is written by it."""

    identity: ResourceIdentity
    fresh: bool


class _Entry(NamedTuple):
    identity: ResourceIdentity
    resolved: float
    confirmed: float


class IdentityCache:
    """The identities used last; safe to use from several threads.

    An identity is fresh for `seconds` after it was resolved or confirmed, by `clock` (seconds). The key is all three
    ids: with the device alone, a shared device would write to the wrong patient.
    """

    def __init__(
        self, seconds: float, clock: Callable[[], float] = time.monotonic, bound: int = MAX_IDENTITIES
    ) -> None:
        self._seconds = seconds
        self._clock = clock
        self._bound = bound
        self._entries: OrderedDict[IdentityKey, _Entry] = OrderedDict()
        self._lock = Lock()

    def now(self) -> float:
        """To be taken before the server is asked: what it says may change while the answer is on its way."""
        return self._clock()

    def get(self, key: IdentityKey) -> Held | None:
        now = self._clock()
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            if now - entry.resolved >= max(RESOLVED_SECONDS, self._seconds):
                del self._entries[key]
                return None
            self._entries.move_to_end(key)
            return Held(entry.identity, now - entry.confirmed < self._seconds)

    def fresh_until(self, keys: Iterable[IdentityKey]) -> float:
        """When, by the clock, the first of these identities is no longer fresh; at once for one that is not held."""
        with self._lock:
            entries = [self._entries.get(key) for key in keys]
        if None in entries:
            return self._clock()
        return min((entry.confirmed + self._seconds for entry in entries if entry), default=math.inf)

    def put(self, key: IdentityKey, identity: ResourceIdentity, asked: float) -> None:
        """`asked` is what `now` returned before the server was asked."""
        with self._lock:
            self._entries[key] = _Entry(identity, asked, asked)
            self._entries.move_to_end(key)
            if len(self._entries) > self._bound:
                self._entries.popitem(last=False)

    def confirm(self, key: IdentityKey, identity: ResourceIdentity, asked: float) -> None:
        """The Device was read, at `asked` or later, and is still linked to that Patient."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None and entry.identity == identity:
                self._entries[key] = entry._replace(confirmed=max(entry.confirmed, asked))

    def drop(self, key: IdentityKey) -> None:
        with self._lock:
            self._entries.pop(key, None)
