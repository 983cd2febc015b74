"""The OAuth 2 token endpoint that gives the app its tokens for the FHIR server (`FHIR_TOKEN_URL`).

The grant is client credentials (RFC 6749, 4.4). The client shows its secret as user and password (RFC 6749, 2.3.1), or
signs an assertion with its private key (RFC 7523, as SMART App Launch 2.2 narrows it down in "Backend Services").

    200 with a bearer token                      a token
    no answer, an answer that is none            FhirServerUnavailable: asked again later
    408, 429, 5xx                                FhirServerUnavailable, with the Retry-After of the answer
    3xx, every other 4xx, an `error`             FhirAccessDenied: somebody must fix a setting, or the registration

Nothing that the endpoint says is repeated, but for the error codes of RFC 6749: it may repeat a secret.
"""

import time
from collections.abc import Mapping
from concurrent.futures import Future
from datetime import UTC, datetime
from threading import Thread
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import httpx

from medtech import __version__, deadline
from medtech.client_key import ClientKey, UnusableKey
from medtech.errors import FhirAccessDenied, FhirServerUnavailable, OutOfTime, SettingInvalid, Unavailable
from medtech.persist.answers import retry_after_seconds

if TYPE_CHECKING:
    from medtech.declared_settings import SecretStr
    from medtech.settings import Settings

ASKING_SECONDS = 20.0
"""How long one request may take. An endpoint that sends a byte now and then would otherwise never be given up."""

TIMEOUT = httpx.Timeout(10.0, connect=5.0)

SHORTEST_SECONDS = 2.0
"""With less time than this until the deadline no token is asked for."""

MAX_ANSWER_BYTES = 256 * 1024
"""Tokens travel in a header, of which servers take 8 to 64 KiB."""

ASSERTED_SECONDS = 240
"""How long an assertion holds. SMART allows 300, and the endpoint's clock may be behind."""

CLOCK_SKEW_SECONDS = 30
"""By so much an assertion is dated back: an endpoint whose clock is behind would see one from the future."""

DEFAULT_SECONDS = 300.0
"""How long a token is taken to last whose endpoint does not say: what SMART recommends."""

LONGEST_SECONDS = 86_400.0

_ADVICE = {
    "invalid_client": "It does not know the client, or not by this proof: check FHIR_CLIENT_ID and {proof}.",
    "invalid_scope": "It does not give these scopes to the client: check FHIR_SCOPE.",
    "invalid_request": "Check FHIR_SCOPE and {proof}.",
    "invalid_grant": "Check that the client is registered for the grant `client_credentials`.",
    "unauthorized_client": "Register the client for the grant `client_credentials`.",
    "unsupported_grant_type": "Let it serve the grant `client_credentials`, or set FHIR_TOKEN_URL to one that does.",
    "access_denied": "Check what the client is allowed to there, and FHIR_SCOPE.",
}
"""What to do about the error codes of RFC 6749, 5.2 (and 4.1.2.1, which some endpoints use here too)."""

_KEY_PROOF = (
    "that the public key of FHIR_CLIENT_KEY is registered (`python -m medtech jwks` prints it), and that "
    "FHIR_TOKEN_URL is to the letter what the server names"
)
"""The assertion is for the endpoint at just this address (`aud`)."""


class IssuedToken(NamedTuple):
    """A bearer token, and for how many seconds from when it was asked for it is valid."""

    text: str
    seconds: float


class TokenEndpoint:
    """Exactly one of `secret` and `key` proves that the client is `client_id`."""

    def __init__(
        self,
        url: str,
        client_id: str,
        scope: str = "",
        *,
        secret: "SecretStr | None" = None,
        key: ClientKey | None = None,
    ) -> None:
        self._url = url
        self._client_id = client_id
        self._scope = scope
        self._secret = secret
        self._key = key

    @classmethod
    def of(cls, settings: "Settings") -> Self:
        """Raises SettingInvalid for a FHIR_CLIENT_KEY that is none."""
        try:
            key = ClientKey.read(settings.fhir_client_key.get_secret_value()) if settings.fhir_client_key else None
        except UnusableKey as error:
            raise SettingInvalid(f"FHIR_CLIENT_KEY is unusable. {error}") from None
        return cls(
            settings.fhir_token_url,
            settings.fhir_client_id,
            settings.fhir_scope,
            secret=settings.fhir_client_secret or None,
            key=key,
        )

    def ask(self) -> IssuedToken:
        """A new token, within ASKING_SECONDS and the deadline. Raises Unavailable."""
        left = deadline.seconds_left()
        if left < SHORTEST_SECONDS:
            raise OutOfTime("a token for the FHIR server was asked for")
        asked: Future[IssuedToken] = Future()
        # No timeout of httpx bounds the whole of a request: it is made in a thread, and ends when the client is closed.
        with httpx.Client(timeout=TIMEOUT) as client:
            Thread(target=self._settle, args=(asked, client), name="fhir-token", daemon=True).start()
            try:
                return asked.result(min(left, ASKING_SECONDS))
            except TimeoutError:
                if left < ASKING_SECONDS:
                    raise OutOfTime("the token endpoint had answered") from None
                raise _away("did not answer in time") from None

    def _settle(self, asked: "Future[IssuedToken]", client: httpx.Client) -> None:
        try:
            asked.set_result(self._request(client))
        except BaseException as error:  # noqa: BLE001 - it is raised where the answer is waited for
            asked.set_exception(error)

    def _request(self, http: httpx.Client) -> IssuedToken:
        # Imported late: it takes a while, and only this way of authentication needs it.
        from authlib.oauth2 import OAuth2Error
        from authlib.oauth2.client import OAuth2Client
        from authlib.oauth2.rfc7523 import PrivateKeyJWT

        method = "client_secret_basic" if self._key is None else PrivateKeyJWT.name
        secret = self._secret.get_secret_value() if self._secret else None
        client = OAuth2Client(
            session=_Wire(http),
            client_id=self._client_id,
            client_secret=secret if self._key is None else self._key.key,
            token_endpoint_auth_method=method,
            scope=self._scope or None,
        )
        if self._key is not None:
            # Made anew for each assertion: the id that must not come twice (`jti`) is put among these claims.
            now = int(time.time())
            claims = {"iat": now - CLOCK_SKEW_SECONDS, "exp": now + ASSERTED_SECONDS}
            header = {"kid": self._key.key_id}
            client.register_client_auth_method(
                PrivateKeyJWT(self._url, claims=claims, headers=header, alg=self._key.algorithm)
            )
        try:
            return _issued(client.fetch_token(self._url, grant_type="client_credentials"))
        except OAuth2Error as error:
            raise self._denied(str(error.error)) from None
        except httpx.HTTPStatusError as error:
            raise self._denied(str(error.response.status_code)) from None
        except (httpx.RequestError, httpx.InvalidURL) as error:
            raise _away(f"does not answer ({type(error).__name__})") from None
        except (ValueError, TypeError, OverflowError, RecursionError):
            raise _not_understood() from None

    def _denied(self, answer: str) -> FhirAccessDenied:
        """`answer` is a status or an error code."""
        proof = "FHIR_CLIENT_SECRET" if self._key is None else _KEY_PROOF
        if answer in _ADVICE:
            return FhirAccessDenied(f"The token endpoint answered {answer}. {_ADVICE[answer].format(proof=proof)}")
        said = answer if answer.isdecimal() else "an error that OAuth 2 does not have"
        if answer.startswith("3"):
            return FhirAccessDenied(
                f"The token endpoint answered {said}, a redirect, and no secret is sent elsewhere: set FHIR_TOKEN_URL "
                "to the address that it leads to."
            )
        return FhirAccessDenied(
            f"The token endpoint answered {said}. Check FHIR_TOKEN_URL, FHIR_CLIENT_ID and {proof}."
        )


class _Wire:
    """What Authlib sends its request by: one POST, without redirects, whose answer is bounded."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def post(self, url: str, data: Mapping[str, str], headers: Mapping[str, str], auth: Any) -> httpx.Response:
        """Raises FhirServerUnavailable, and httpx.HTTPStatusError for a refusal without an error code."""
        form = str(httpx.QueryParams(dict(data)))
        own = {"User-Agent": f"medtech/{__version__}", "Accept-Encoding": "identity"}
        # A copy of the headers: Authlib would write the secret into those that all its clients share.
        url, headers, form = auth.prepare("POST", url, {**headers, **own}, form)
        with self._http.stream("POST", url, content=form.encode(), headers=headers) as answer:
            body = _read(answer)
        status = answer.status_code
        if status in (408, 429) or status >= 500:
            asked = retry_after_seconds(answer.headers, datetime.now(UTC))
            raise _away(f"answered {status}", retry_after_seconds=asked)
        whole = httpx.Response(status, content=body, request=answer.request)
        if status < 300:
            return whole
        code = _error_code(whole) if status >= 400 else None
        if code is None:
            raise httpx.HTTPStatusError("refused", request=answer.request, response=whole)
        # Without its description: Authlib gives up on one with quotation marks or anything but ASCII.
        return httpx.Response(status, json={"error": code}, request=answer.request)


def _read(answer: httpx.Response) -> bytes:
    body = b""
    for chunk in answer.iter_raw():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise _not_understood()
    return body


def _error_code(answer: httpx.Response) -> str | None:
    try:
        body = answer.json()
    except (ValueError, RecursionError):
        return None
    code = body.get("error") if isinstance(body, dict) else None
    return code if isinstance(code, str) else None


def _issued(answer: Mapping[str, Any]) -> IssuedToken:
    text, kind, seconds = (answer.get(name) for name in ("access_token", "token_type", "expires_in"))
    if not isinstance(text, str) or not text or not text.isascii() or not text.isprintable() or " " in text:
        raise _not_understood()
    if str(kind or "bearer").lower() != "bearer":
        raise FhirAccessDenied(
            "The token endpoint gives tokens of another type than Bearer (`token_type`). Register the client for those."
        )
    lasting = DEFAULT_SECONDS if seconds is None else float(seconds)
    return IssuedToken(text, max(0.0, min(lasting, LONGEST_SECONDS)))


def _away(what: str, *, retry_after_seconds: float | None = None) -> FhirServerUnavailable:
    return FhirServerUnavailable(
        f"The token endpoint {what}. It is asked again later; if this goes on, check that it runs, that FHIR_TOKEN_URL "
        "is its address, and the way to it.",
        retry_after_seconds=retry_after_seconds,
    )


def _not_understood() -> Unavailable:
    return _away("gave no answer that can be understood")
