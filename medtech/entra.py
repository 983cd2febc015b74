"""The app's identity in Microsoft Entra ID. Storage, mapping blobs and the FHIR server are opened by the same one.

Which one it is, as Functions and azure-identity name it: `AZURE_CLIENT_ID`, else what the storage connection names
(`NAME__clientId`, or `NAME__managedIdentityResourceId`), else the system-assigned identity. On a developer's machine it
is whoever is signed in there.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken, AccessTokenInfo

_PIPELINE = {"connection_timeout": 5, "read_timeout": 10, "retry_total": 2}
"""The package's own are 300 s for each of four attempts: a flush would wait for a token service until the host ends
it."""

_SERVICE_PRINCIPAL = ("AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH")
"""With one of these AZURE_CLIENT_ID is the id of an app registration, which azure-identity opens by itself."""


class Credential:
    """Tokens of azure-identity, whose every failure is an AzureError, as those who ask for tokens expect.

    The package lets a JSONDecodeError through where a gateway answers for the token service with a page of its own.
    """

    def __init__(self, issuer: Any) -> None:
        self.issuer = issuer

    def get_token(self, *scopes: str, **options: Any) -> "AccessToken":
        with _understood():
            token: AccessToken = self.issuer.get_token(*scopes, **options)
        return token

    def get_token_info(self, *scopes: str, **options: Any) -> "AccessTokenInfo":
        with _understood():
            token: AccessTokenInfo = self.issuer.get_token_info(*scopes, **options)
        return token


@contextmanager
def _understood() -> Iterator[None]:
    from azure.core.exceptions import ServiceResponseError

    try:
        yield
    except ValueError:
        raise ServiceResponseError("The token service gave no answer that can be understood.") from None


@dataclass(frozen=True, slots=True)
class AppIdentity:
    """At most one of the ids is set; without one it is the system-assigned identity.

    `managed`: it is a managed identity and nothing else. Otherwise azure-identity looks for what there is, and would
    in the cloud go on to the Azure CLI and the like when the managed identity gives no token.
    """

    client_id: str | None
    resource_id: str | None
    managed: bool

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ, connection: Mapping[str, str] | None = None) -> Self:
        """The identity of the app with this environment.

        `connection` has the settings of its storage connection, by the part of their names after `__` in small letters.
        """
        named = connection or {}
        client_id = environment.get("AZURE_CLIENT_ID", "").strip() or named.get("clientid") or None
        resource_id = None if client_id else named.get("managedidentityresourceid") or None
        in_azure = "IDENTITY_ENDPOINT" in environment and not any(environment.get(key) for key in _SERVICE_PRINCIPAL)
        managed = named.get("credential", "").lower() == "managedidentity"
        return cls(client_id, resource_id, managed or in_azure or resource_id is not None)

    def credential(self) -> "Credential":
        """Gives tokens for any audience; keep it, it keeps them."""
        # Imported late: it takes a third of a second, which an app that is only indexed does not need.
        from azure.identity import DefaultAzureCredential, ManagedIdentityCredential

        if not self.managed:
            return Credential(DefaultAzureCredential(managed_identity_client_id=self.client_id, **_PIPELINE))
        by_resource_id = {"resource_id": self.resource_id} if self.resource_id else None
        return Credential(
            ManagedIdentityCredential(client_id=self.client_id, identity_config=by_resource_id, **_PIPELINE)
        )
