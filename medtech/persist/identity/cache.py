"""Identities that were resolved lately."""

import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import NamedTuple

from medtech.model import ResourceIdentity

MAX_IDENTITIES = 100_000


class IdentityKey(NamedTuple):
    """Who a measurement says it is about: the ids of the message, as they are there."""

    device_id: str
    patient_id: str | None
    encounter_id: str | None


class IdentityCache:
    """The last used identities, each at most `seconds` old; safe to use from several threads.

    The key is all three ids: by the device alone a shared device would write to the wrong patient.
    """

    def __init__(
        self, seconds: float, clock: Callable[[], float] = time.monotonic, bound: int = MAX_IDENTITIES
    ) -> None:
        self._seconds = seconds
        self._clock = clock
        self._bound = bound
        self._entries: OrderedDict[IdentityKey, tuple[float, ResourceIdentity]] = OrderedDict()
        self._lock = Lock()

    def get(self, key: IdentityKey) -> ResourceIdentity | None:
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            resolved, identity = entry
            if self._clock() - resolved >= self._seconds:
                del self._entries[key]
                return None
            self._entries.move_to_end(key)
            return identity

    def put(self, key: IdentityKey, identity: ResourceIdentity) -> None:
        with self._lock:
            self._entries[key] = (self._clock(), identity)
            self._entries.move_to_end(key)
            if len(self._entries) > self._bound:
                self._entries.popitem(last=False)

    def drop(self, key: IdentityKey) -> None:
        with self._lock:
            self._entries.pop(key, None)
