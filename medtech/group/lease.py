"""The lease that one instance holds on a shard while it flushes it.

It spares work: two instances would read the same rows and write the same Observations. Safety does not rest on it;
If-Match and ETags hold without it.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING

from medtech.errors import StorageUnavailable
from medtech.storage import Storage, reaching_blobs

if TYPE_CHECKING:
    from azure.storage.blob import BlobLeaseClient, ContainerClient

CONTAINER = "medtech-leases"

LEASE_SECONDS = 60
"""The longest that the service lends; an instance that dies keeps its shards from the others for so long."""
_RENEW_SECONDS = 15.0
# A lease is given up before the server ends it: a write that starts now must also arrive in time.
_MARGIN_SECONDS = 5.0


class ShardLease:
    """A blob lease, renewed in a thread of its own until it is released or lost.

    As a context manager it releases at the end: `with lease: if lease.acquire(): ... while lease.held: ...`.
    """

    def __init__(self, storage: Storage, shard: int) -> None:
        self._storage = storage
        self._blob_name = f"shard-{shard:03d}"
        self._lease: BlobLeaseClient | None = None
        self._held_until = 0.0
        self._ended = threading.Event()
        self._renewer: threading.Thread | None = None

    def acquire(self) -> bool:
        """Whether the shard is ours now; False when another instance has it. Raises StorageUnavailable."""
        from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
        from azure.storage.blob import BlobLeaseClient

        with reaching_blobs(f"lease `{self._blob_name}`"):
            container = self._storage.container(CONTAINER)
            lease = BlobLeaseClient(container.get_blob_client(self._blob_name))
            asked_at = time.monotonic()
            try:
                try:
                    lease.acquire(LEASE_SECONDS)
                except ResourceNotFoundError:
                    _create(container, self._blob_name)
                    asked_at = time.monotonic()
                    lease.acquire(LEASE_SECONDS)
            except HttpResponseError as error:
                if error.status_code in (409, 412):
                    return False
                raise
        self._lease = lease
        self._held_until = asked_at + LEASE_SECONDS - _MARGIN_SECONDS
        self._ended.clear()
        self._renewer = threading.Thread(target=self._renew, name=f"lease-{self._blob_name}", daemon=True)
        self._renewer.start()
        return True

    @property
    def held(self) -> bool:
        """Whether a write that starts now is still covered; asked before each write."""
        return time.monotonic() < self._held_until

    def release(self) -> None:
        """Gives the shard back. A failure does not matter: the lease ends by itself."""
        from azure.core.exceptions import AzureError

        self._ended.set()
        if self._renewer is not None:
            self._renewer.join()
            self._renewer = None
        self._held_until = 0.0
        lease, self._lease = self._lease, None
        if lease is not None:
            with suppress(AzureError):
                lease.release()

    def _renew(self) -> None:
        from azure.core.exceptions import HttpResponseError

        lease = self._lease
        while lease is not None and self.held and not self._ended.wait(_RENEW_SECONDS):
            asked_at = time.monotonic()
            try:
                with reaching_blobs(f"lease `{self._blob_name}`"):
                    lease.renew()
            except StorageUnavailable:
                # Storage is away for a moment: the lease stands until its time is over.
                continue
            except HttpResponseError:
                # Broken, or taken by another instance.
                self._held_until = 0.0
                return
            self._held_until = asked_at + LEASE_SECONDS - _MARGIN_SECONDS

    def __enter__(self) -> ShardLease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _create(container: ContainerClient, blob_name: str) -> None:
    """The blob to lease, and its container, as far as they are missing; another instance may be doing the same."""
    from azure.core.exceptions import ResourceExistsError

    with suppress(ResourceExistsError):
        container.create_container()
    with suppress(ResourceExistsError):
        container.upload_blob(blob_name, b"", overwrite=False)
