"""What the errors of Azure Storage mean to the app.

| the service                                  | what the app does                                                  |
|----------------------------------------------|--------------------------------------------------------------------|
| unreachable, or an answer that is cut off    | StorageUnavailable                                                 |
| 401, 403, or a failed sign-in                | StorageUnavailable: denied, until somebody grants the roles        |
| `TableNotFound`, `…BeingDeleted`             | StorageUnavailable: the next call creates the table or container   |
| 408, 429, 5xx, or a success that is none     | StorageUnavailable                                                 |
| 413, or 400 with a code of `_TOO_LARGE`      | StorageRefused, too large: the caller sends less at once           |
| any other 400                                | StorageRefused                                                     |
| anything else (404, 409, 412 …)              | left as it is, for the caller to judge: inside of `reaching`, or   |
|                                              | outside; with `judged_inside` what is left is StorageUnavailable   |

Each error of the service has a code. A 404, 409 or 412 without one is a gateway's: it says nothing of a row or a lease.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from medtech.errors import StorageRefused, StorageUnavailable

if TYPE_CHECKING:
    from azure.core.exceptions import AzureError

_DENIED = (401, 403)
_BUSY = (408, 429)
# "Table Storage error codes" and "Common REST API error codes" of Azure's documentation.
_DENIED_CODES = {"AuthenticationFailed", "InvalidAuthenticationInfo"}
_TOO_LARGE = {"EntityTooLarge", "PropertyValueTooLarge", "RequestBodyTooLarge"}


class Fault(Exception):
    """A request to storage that did not do what it was sent for.

    `name` is azure-core's for what happened. `status` is the answer's, None if there was none that can be understood.
    `code` is the service's own. `index` is the operation of a transaction at which it failed, None if it names none.
    Nothing in it holds an address, which can hold a signature.
    """

    def __init__(self, name: str, status: int | None = None, code: str = "", *, index: int | None = None) -> None:
        super().__init__(f"{name} {status} {code}")
        self.name = name
        self.status = status
        self.code = code
        self.index = index

    @classmethod
    def of(cls, error: AzureError) -> Fault:
        """What an error of the Azure packages says."""
        from azure.core.exceptions import ClientAuthenticationError, DecodeError, HttpResponseError

        name = type(error).__name__
        if not isinstance(error, HttpResponseError) or isinstance(error, DecodeError):
            return cls(name)
        signed_in = not isinstance(error, ClientAuthenticationError)
        if error.status_code is None:
            return cls(name) if signed_in else NoToken(name)
        code = getattr(error, "error_code", None) or ""
        fault = cls(name, error.status_code, str(getattr(code, "value", code)))
        return fault if signed_in else Denied(fault.name, fault.status, fault.code)

    @property
    def denied(self) -> bool:
        return self.status in _DENIED or self.code in _DENIED_CODES

    @property
    def is_the_services_own(self) -> bool:
        return bool(self.code)

    @property
    def table_missing(self) -> bool:
        """Whether the table itself is gone, and not just the entity."""
        return self.code == "TableNotFound"

    @property
    def being_deleted(self) -> bool:
        """A table, container or queue of this name can only be made again in half a minute."""
        return "BeingDeleted" in self.code


class Denied(Fault):
    """What azure-core takes for a failed sign-in, whatever its status."""

    @property
    def denied(self) -> bool:
        return True


class NoToken(Fault):
    """There was nothing to sign a request with."""


@contextmanager
def reaching(what: str, *, judged_inside: bool = False) -> Iterator[None]:
    """Raises StorageUnavailable in place of errors that say the service is away or closed to the app.

    They are Faults, and the errors of the Azure packages. `what` names the table, blob, lease or queue in the message.
    With `judged_inside` none of them leaves it.
    """
    try:
        yield
    except Exception as error:
        fault = error if isinstance(error, Fault) else _of_packages(error)
        unavailable = fault and _unavailable(what, fault, judged_inside)
        if unavailable is None:
            raise
        # The packages' own text and its cause can hold the address with its signature.
        raise unavailable from None


def _of_packages(error: Exception) -> Fault | None:
    # An error of a module that nobody has imported cannot have been raised, and importing it takes 0.1 s.
    exceptions = sys.modules.get("azure.core.exceptions")
    return Fault.of(error) if exceptions and isinstance(error, exceptions.AzureError) else None


def _unavailable(what: str, fault: Fault, judged_inside: bool) -> StorageUnavailable | None:
    """The error to raise in place of `fault`; None for answers that the caller is still to judge."""
    status, code = fault.status, fault.code
    if isinstance(fault, NoToken):
        return StorageUnavailable(
            f"There is no token for storage ({what}): {fault.name}. Assign an identity to the app; if it is "
            "user-assigned, AZURE_CLIENT_ID must be its client id."
        )
    if status is None:
        return StorageUnavailable(
            f"Storage ({what}) cannot be reached ({fault.name}). Data stays where it is and is tried again; "
            "check that the account exists and that its network rules admit the app."
        )
    if fault.denied:
        return StorageUnavailable(
            f"Storage ({what}) denies access ({status} {code}). Give the app's identity the roles Storage Blob Data "
            "Owner and Storage Table Data Contributor (with FLUSH_FANOUT=queue also Storage Queue Data Contributor) on "
            "the account, or fix the connection string."
        )
    if fault.table_missing or fault.being_deleted:
        return StorageUnavailable(
            f"Storage ({what}) is being deleted ({status} {code}). It is created again as soon as the service allows."
        )
    if status == 413 or code in _TOO_LARGE:
        return StorageRefused(
            f"Storage ({what}) refuses a request as too large ({status} {code}). Check that no gateway or proxy before "
            "it takes less than the 4 MiB that Table storage takes.",
            too_large=True,
        )
    if status == 400:
        return StorageRefused(
            f"Storage ({what}) refuses a request (400 {code}). Report it; the data stays where it is.", too_large=False
        )
    if judged_inside or status < 400 or status >= 500 or status in _BUSY:
        return StorageUnavailable(
            f"Storage ({what}) is away ({status} {code}). Data stays where it is and is tried again; if this goes on, "
            "look at the account's metrics (availability, throttling), at Azure's service health, and at what gateways "
            "or proxies lie before it."
        )
    return None
