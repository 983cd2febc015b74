"""A blob lease: while one instance holds it, no other does the same work.

It spares work, and nothing rests on it for safety: writers that overlap are kept apart by ETags and If-Match.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self
from uuid import uuid4

from medtech.errors import MedTechError, StorageUnavailable
from medtech.side_counts import counting
from medtech.storage.connection import Storage, Timeouts
from medtech.storage.faults import Fault, reaching

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

CONTAINER = "medtech-leases"

LEASE_SECONDS = 60
"""The longest that the service lends; an instance that dies keeps its work from the others for that long."""
RENEW_SECONDS = 10.0

# A lease is given up before the server ends it: a write that starts now must also arrive in time.
_MARGIN_SECONDS = 5.0
# Short: a renewal that fails is soon tried again, and a release that fails does no harm.
_TIMEOUTS = Timeouts(connect_seconds=5, read_seconds=5, retries=0)
# An idle renewer ends at once. One that waits for an answer is left alone, and ends with its timeout.
_JOIN_SECONDS = 1.0


class LeasedBlob(NamedTuple):
    """A blob, and the id under which one holder asks for the lease on it."""

    container: str
    name: str
    lease_id: str


class Leases(Protocol):
    """The leases on an account's blobs. All raise Fault for what was not done, and AzureError if there is no token."""

    def acquire(self, blob: LeasedBlob, seconds: int) -> None: ...

    def renew(self, blob: LeasedBlob, timeouts: Timeouts) -> None: ...

    def release(self, blob: LeasedBlob, timeouts: Timeouts) -> None: ...

    def close(self) -> None: ...


def acquire(
    storage: Storage,
    name: str,
    *,
    monotonic: Callable[[], float] = time.monotonic,
    renew_seconds: float = RENEW_SECONDS,
) -> Lease | None:
    """The lease on the blob `name`, to be used as a context manager; None when another instance holds it.

    `monotonic` gives seconds. Raises StorageUnavailable.
    """
    blob = LeasedBlob(CONTAINER, name, str(uuid4()))
    with reaching(f"lease `{name}`", judged_inside=True):
        leases = storage.leases()
        asked_at = monotonic()
        try:
            try:
                leases.acquire(blob, LEASE_SECONDS)
            except Fault as fault:
                if fault.status != 404:
                    raise
                _create(storage.container(CONTAINER), name)
                asked_at = monotonic()
                leases.acquire(blob, LEASE_SECONDS)
        except Fault as fault:
            if fault.status in (409, 412) and fault.is_the_services_own and not fault.being_deleted:
                return None
            raise
    return Lease(blob, leases, asked_at, monotonic, renew_seconds)


class Lease:
    """A lease that is held, and renewed in a thread of its own until it is released or lost."""

    def __init__(
        self,
        blob: LeasedBlob,
        leases: Leases,
        asked_at: float,
        monotonic: Callable[[], float],
        renew_seconds: float,
    ) -> None:
        """`asked_at` is when the lease was asked for: the server counts from no earlier."""
        self._blob = blob
        self._leases = leases
        self._monotonic = monotonic
        self._renew_seconds = renew_seconds
        self._held_until = _end(asked_at)
        self._released = threading.Event()
        self._renewer = threading.Thread(target=counting(self._renew), name=f"lease-{blob.name}", daemon=True)
        self._renewer.start()

    @property
    def held(self) -> bool:
        """Whether a write that starts now is still covered.

        By the clock alone: it asks nobody, so that it can be asked often, and is right while storage is away.
        """
        return not self._released.is_set() and self._monotonic() < self._held_until

    def release(self) -> None:
        """Gives the lease back, within seconds. A failure does not matter: the lease ends by itself."""
        self._released.set()
        # A renewal still on its way does no harm: once the lease is released, the server refuses it.
        self._renewer.join(_JOIN_SECONDS)
        with suppress(Fault, MedTechError), reaching(f"lease `{self._blob.name}`"):
            self._leases.release(self._blob, _TIMEOUTS)

    def _renew(self) -> None:
        while self.held and not self._released.wait(self._renew_seconds):
            asked_at = self._monotonic()
            try:
                with reaching(f"lease `{self._blob.name}`"):
                    self._leases.renew(self._blob, _TIMEOUTS)
            except StorageUnavailable:
                # Storage is away for a moment: the lease stands until its time is over.
                continue
            except Fault:
                # Broken, or taken by another instance.
                self._held_until = float("-inf")
                return
            self._held_until = _end(asked_at)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _end(asked_at: float) -> float:
    return asked_at + LEASE_SECONDS - _MARGIN_SECONDS


def _create(container: ContainerClient, name: str) -> None:
    """The blob to lease, and its container, as far as they are missing; another instance may be doing the same."""
    from azure.core.exceptions import ResourceExistsError

    try:
        container.create_container()
    except ResourceExistsError as error:
        if Fault.of(error).being_deleted:
            raise
    with suppress(ResourceExistsError):
        container.upload_blob(name, b"", overwrite=False)
