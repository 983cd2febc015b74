"""Leases on blobs, by requests of the app's own ("Lease Blob" of Azure's documentation)."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

from medtech.storage.direct import transaction
from medtech.storage.direct.authorization import Authorization
from medtech.storage.direct.sender import Sender, Timeouts
from medtech.storage.lease import LeasedBlob

_COMMON = {"x-ms-version": "2019-02-02", "User-Agent": "medtech"}


class DirectLeases:
    """The leases on an account's blobs, as `Leases` has them."""

    def __init__(self, endpoint: str, authorization: Authorization, timeouts: Timeouts) -> None:
        """`endpoint` is the account's address for blobs, without a query; in Azurite's, the account is its path."""
        address = urlsplit(endpoint)
        self._path = address.path.rstrip("/")
        self._sender = Sender(f"{address.scheme}://{address.netloc}", authorization, timeouts)

    def acquire(self, blob: LeasedBlob, seconds: int) -> None:
        # With an id of ours it may be sent again: who holds the lease by this id is given it once more.
        wanted = {"x-ms-lease-duration": str(seconds), "x-ms-proposed-lease-id": blob.lease_id}
        self._ask("acquire", blob, wanted, 201, None)

    def renew(self, blob: LeasedBlob, timeouts: Timeouts) -> None:
        self._ask("renew", blob, {"x-ms-lease-id": blob.lease_id}, 200, timeouts)

    def release(self, blob: LeasedBlob, timeouts: Timeouts) -> None:
        self._ask("release", blob, {"x-ms-lease-id": blob.lease_id}, 200, timeouts)

    def close(self) -> None:
        self._sender.close()

    def _ask(self, action: str, blob: LeasedBlob, wanted: dict[str, str], done: int, timeouts: Timeouts | None) -> None:
        target = f"{self._path}/{quote(blob.container)}/{quote(blob.name)}?comp=lease"
        headers = {**_COMMON, "x-ms-lease-action": action, **wanted}
        answer = self._sender.send("PUT", target, headers, timeouts=timeouts)
        if answer.status != done:
            raise transaction.refusal(answer.status, answer.body, answer.headers.get("x-ms-error-code", ""))
