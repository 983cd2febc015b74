"""Tokens for the FHIR server, of the app's identity."""

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from medtech.entra import AppIdentity
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
    """Tokens of Microsoft Entra ID for `audience` (a URL), kept until shortly before they expire.

    `credential` is called when the first token is needed; without it the identity is that of the environment alone.
    """

    def __init__(self, audience: str, credential: "Callable[[], TokenCredential] | None" = None) -> None:
        self.scope = f"{audience.rstrip('/')}/.default"
        self._make_credential = credential or AppIdentity.of().credential
        self._credential: TokenCredential | None = None
        self._token: AccessToken | None = None
        self._lock = threading.Lock()

    def authorization(self) -> str | None:
        with self._lock:
            if self._token is None or self._token.expires_on - REFRESH_BEFORE_SECONDS <= time.time():
                self._token = self._fetch()
            return f"Bearer {self._token.token}"

    def _fetch(self) -> "AccessToken":
        from azure.core.exceptions import AzureError, ClientAuthenticationError

        self._credential = self._credential or self._make_credential()
        try:
            return self._credential.get_token(self.scope)
        except ClientAuthenticationError as error:
            raise FhirAccessDenied(
                f"No token for {self.scope}: {type(error).__name__}. Assign an identity to the app (if it is "
                "user-assigned, AZURE_CLIENT_ID must be its client id), and give it the role FHIR Data Writer on the "
                "FHIR service, which FHIR_AUDIENCE must name."
            ) from error
        except AzureError as error:
            raise FhirServerUnavailable(
                f"The token service does not answer ({type(error).__name__}). It is asked again at the next flush; if "
                "this goes on, check the app's managed identity and its way to login.microsoftonline.com."
            ) from error
