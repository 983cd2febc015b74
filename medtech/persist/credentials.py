"""What the FHIR server knows the app by: one class for each `FHIR_AUTHENTICATION`.

    entra                EntraCredentials        tokens of the app's identity; over plain http to this machine none
    none                 NoCredentials
    basic                BasicCredentials        a user name and a password (RFC 7617)
    client_credentials   ClientCredentials       tokens of an OAuth 2 token endpoint, see client_credentials.py

Readings may cross a network by plain http if `FHIR_ALLOW_PLAIN_HTTP` says so; what is a secret never does.
"""

import threading
import time
from base64 import b64encode
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from medtech.entra import AppIdentity
from medtech.errors import FhirAccessDenied, FhirServerUnavailable
from medtech.settings import FhirAuthentication, Settings

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken, TokenCredential

    from medtech.declared_settings import SecretStr

REFRESH_BEFORE_SECONDS = 300
"""A bundle may take 100 s and more; its token must still be valid when the server checks it."""


class Credentials(Protocol):
    """`ready` is what health says when there are credentials; `if_refused` and `if_forbidden` are what somebody should
    do when the server answers 401 or 403 to them."""

    ready: str
    if_refused: str
    if_forbidden: str

    def authorization(self) -> str | None:
        """The value of the Authorization header, None for requests without one. Raises Unavailable."""

    def renews(self, refused: str) -> bool:
        """Whether `authorization` now gives, or asks for, another than this one, which the server answered with 401."""


class NoCredentials:
    """For a server on this machine, where a token would travel over plain http, and for one that asks for none."""

    ready = "No token is needed: the FHIR server is asked without one."
    if_refused = "It is asked without credentials: set FHIR_AUTHENTICATION to what it wants."
    if_forbidden = if_refused

    def authorization(self) -> str | None:
        return None

    def renews(self, refused: str) -> bool:
        return False


class BasicCredentials:
    """A user of the FHIR server. Neither has a control character, and `username` no colon, as RFC 7617 has it."""

    ready = "FHIR_USERNAME and FHIR_PASSWORD are set. Whether the FHIR server takes them, its own part says."
    if_refused = "It did not accept FHIR_USERNAME and FHIR_PASSWORD."
    if_forbidden = "Let the user that FHIR_USERNAME names read and write Observations, Devices and Patients there."

    def __init__(self, username: str, password: "SecretStr") -> None:
        self._username = username
        self._password = password

    def authorization(self) -> str | None:
        return f"Basic {b64encode(f'{self._username}:{self._password.get_secret_value()}'.encode()).decode()}"

    def renews(self, refused: str) -> bool:
        return False


class EntraCredentials:
    """Tokens of Microsoft Entra ID for `audience` (a URL), kept until shortly before they expire.

    `credential` is called when the first token is needed; without it the identity is that of the environment alone.
    """

    ready = "The app's identity has a token for the FHIR server."
    if_refused = "It did not accept the token: check FHIR_AUDIENCE."
    if_forbidden = "Give the app's identity the role FHIR Data Writer on the FHIR service."

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

    def renews(self, refused: str) -> bool:
        """Never: azure-identity keeps the token too, and would give the same one again."""
        return False

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


def credentials_of(
    settings: Settings, origin: str, *, on_this_machine: bool, credential: "Callable[[], TokenCredential] | None" = None
) -> Credentials:
    """Those that the settings choose, for the FHIR server at `origin`; `credential` is the app's identity.

    `on_this_machine`: it is reached by plain http that does not leave the machine. Raises SettingInvalid.
    """
    match settings.fhir_authentication:
        case FhirAuthentication.NONE:
            return NoCredentials()
        case FhirAuthentication.BASIC:
            return BasicCredentials(settings.fhir_username, settings.fhir_password)
        case FhirAuthentication.CLIENT_CREDENTIALS:
            # Imported late: few apps have a use for it.
            from medtech.persist.client_credentials import ClientCredentials
            from medtech.persist.token_endpoint import TokenEndpoint

            return ClientCredentials(TokenEndpoint.of(settings).ask)
        case FhirAuthentication.ENTRA:
            # A FHIR server on this machine is one for development, which knows no Entra ID.
            return (
                NoCredentials() if on_this_machine else EntraCredentials(settings.fhir_audience or origin, credential)
            )
