"""What the errors of Azure Storage mean to the app.

| the service                                  | what the app does                                                  |
|----------------------------------------------|--------------------------------------------------------------------|
| unreachable, or an answer that is cut off    | StorageUnavailable                                                 |
| 401, 403, or a failed sign-in                | StorageUnavailable: denied, until somebody grants the roles        |
| `TableNotFound`, `…BeingDeleted`             | StorageUnavailable: the next call creates the table or container   |
| 408, 429, 5xx                                | StorageUnavailable                                                 |
| 413, or 400 with a code of `_TOO_LARGE`      | StorageRefused, too large: the caller sends less at once           |
| any other 400                                | StorageRefused                                                     |
| anything else (404, 409, 412 …)              | left as it is, for the caller to judge                             |
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from medtech.errors import StorageRefused, StorageUnavailable

if TYPE_CHECKING:
    from azure.core.exceptions import AzureError

_DENIED = (401, 403)
_BUSY = (408, 429)
# "Table Storage error codes" and "Common REST API error codes" of Azure's documentation.
_TOO_LARGE = {"EntityTooLarge", "PropertyValueTooLarge", "RequestBodyTooLarge"}


@contextmanager
def reaching(what: str) -> Iterator[None]:
    """Raises StorageUnavailable in place of errors that say the service is away or closed to the app.

    `what` names the table, blob, lease or queue in the message.
    """
    from azure.core.exceptions import AzureError

    try:
        yield
    except AzureError as error:
        unavailable = _unavailable(what, error)
        if unavailable is None:
            raise
        # The library's own text and its cause can hold the address with its signature.
        raise unavailable from None


def is_table_missing(error: AzureError) -> bool:
    """Whether the table itself is gone, and not just the entity."""
    return _code(error) == "TableNotFound"


def _code(error: AzureError) -> str:
    code = getattr(error, "error_code", None) or ""
    return str(getattr(code, "value", code))


def _unavailable(what: str, error: AzureError) -> StorageUnavailable | None:
    """The error to raise in place of `error`; None for answers that the caller judges."""
    from azure.core.exceptions import ClientAuthenticationError, DecodeError, HttpResponseError
    from azure.data.tables import RequestTooLargeError

    if not isinstance(error, HttpResponseError) or isinstance(error, DecodeError):
        return StorageUnavailable(
            f"Storage ({what}) cannot be reached ({type(error).__name__}). Data stays where it is and is tried again; "
            "check that the account exists and that its network rules admit the app."
        )
    status, code = error.status_code, _code(error)
    if status is None and isinstance(error, ClientAuthenticationError):
        return StorageUnavailable(
            f"There is no token for storage ({what}): {type(error).__name__}. Assign an identity to the app; if it is "
            "user-assigned, AZURE_CLIENT_ID must be its client id."
        )
    if status in _DENIED or isinstance(error, ClientAuthenticationError):
        return StorageUnavailable(
            f"Storage ({what}) denies access ({status} {code}). Give the app's identity the roles Storage Blob Data "
            "Owner and Storage Table Data Contributor (with FLUSH_FANOUT=queue also Storage Queue Data Contributor) on "
            "the account, or fix the connection string."
        )
    if is_table_missing(error) or "BeingDeleted" in code:
        return StorageUnavailable(
            f"Storage ({what}) is being deleted ({status} {code}). It is created again as soon as the service allows."
        )
    if status is None or status >= 500 or status in _BUSY:
        return StorageUnavailable(
            f"Storage ({what}) is away ({status} {code}). Data stays where it is and is tried again; if this goes on, "
            "look at the account's metrics (availability, throttling) and at Azure's service health."
        )
    # The library raises this one for a part of a transaction, with the status of the whole.
    if status == 413 or isinstance(error, RequestTooLargeError) or code in _TOO_LARGE:
        return StorageRefused(
            f"Storage ({what}) refuses a request as too large ({status} {code}). Check that no gateway or proxy before "
            "it takes less than the 4 MiB that Table storage takes.",
            too_large=True,
        )
    if status == 400:
        return StorageRefused(
            f"Storage ({what}) refuses a request (400 {code}). Report it; the data stays where it is.", too_large=False
        )
    return None
