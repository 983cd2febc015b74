"""Leases by azure-storage-blob."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from azure.core.exceptions import AzureError
from azure.storage.blob import BlobLeaseClient

from medtech.storage.faults import Fault
from medtech.storage.lease import LeasedBlob

if TYPE_CHECKING:
    from azure.storage.blob import BlobServiceClient

    from medtech.storage.connection import Timeouts


class LibraryLeases:
    """The leases on an account's blobs, as `Leases` has them."""

    def __init__(self, service: BlobServiceClient) -> None:
        self._service = service

    def acquire(self, blob: LeasedBlob, seconds: int) -> None:
        with _translated():
            self._client(blob).acquire(seconds)

    def renew(self, blob: LeasedBlob, timeouts: Timeouts) -> None:
        with _translated():
            self._client(blob).renew(**timeouts.options())

    def release(self, blob: LeasedBlob, timeouts: Timeouts) -> None:
        with _translated():
            self._client(blob).release(**timeouts.options())

    def close(self) -> None:
        self._service.close()

    def _client(self, blob: LeasedBlob) -> BlobLeaseClient:
        return BlobLeaseClient(self._service.get_blob_client(blob.container, blob.name), blob.lease_id)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except AzureError as error:
        raise Fault.of(error) from None
