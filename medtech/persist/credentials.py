"""Tokens for the FHIR server, from azure-identity: a managed identity in the cloud, the developer's login at home."""

import threading
import time
from typing import TYPE_CHECKING, Protocol

from medtech.errors import FhirAccessDenied, FhirServerUnavailable

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken, TokenCredential

REFRESH_BEFORE_SECONDS = 300
"""A bundle may take 100 s and more; its token must still be valid when the server checks it."""


class Credentials(Protocol):
    def authorization(self) -> str | None:
        """The value of the Authorization header, None for requests without one. Raises Unavailable."""


class NoCredentials:
    """For a server on this machine, where a token would travel over plain http."""

    def authorization(self) -> str | None:
        return None


class EntraCredentials:
    """Tokens of Microsoft Entra ID for `audience` (a URL), kept until shortly before they expire."""

    def __init__(self, audience: str, credential: "TokenCredential | None" = None) -> None:
        self.scope = f"{audience.rstrip('/')}/.default"
        self._credential = credential
        self._token: AccessToken | None = None
        self._lock = threading.Lock()

    def authorization(self) -> str | None:
        with self._lock:
            if self._token is None or self._token.expires_on - REFRESH_BEFORE_SECONDS <= time.time():
                self._token = self._fetch()
            return f"Bearer {self._token.token}"

    def _fetch(self) -> "AccessToken":
        # Imported late: it takes a third of a second, which an app that is only indexed does not need.
        from azure.core.exceptions import AzureError, ClientAuthenticationError
        from azure.identity import DefaultAzureCredential

        try:
            self._credential = self._credential or DefaultAzureCredential()
            return self._credential.get_token(self.scope)
        except ClientAuthenticationError as error:
            raise FhirAccessDenied(
                f"No token for {self.scope}: {type(error).__name__}. Give the app an identity, and that identity the "
                "role FHIR Data Contributor; FHIR_AUDIENCE must name the FHIR service."
            ) from error
        except AzureError as error:
            raise FhirServerUnavailable(
                f"The token service does not answer ({type(error).__name__}). It is asked again at the next flush; if "
                "this goes on, check the app's managed identity and its way to login.microsoftonline.com."
            ) from error
