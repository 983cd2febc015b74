"""Tokens of an OAuth 2 token endpoint, as the app's credentials for the FHIR server."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import TIMEOUT_MAX, Lock

from medtech import deadline
from medtech.errors import FhirAccessDenied, FhirServerUnavailable, OutOfTime
from medtech.persist.token_endpoint import IssuedToken

LONGEST_MARGIN_SECONDS = 120.0
"""So long before it expires a token is renewed, or in the last quarter of its life if that is shorter: it must still be
valid when the server checks it, and SMART's tokens last five minutes."""

SHORTEST_SECONDS = 5.0
"""A token is used for so long even if it expires at once: the endpoint would otherwise be asked before each request."""

YOUNG_SECONDS = 30.0
"""A token that is refused within this time is refused for what it is, and the next would be too."""

FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 60.0
"""How long an endpoint that gave no token is left alone; it doubles each time. The error is told again meanwhile."""

LONGEST_ASKED_SECONDS = 900.0
"""The longest Retry-After that is kept to: a wrong one would otherwise stop the app until it is restarted."""


class ClientCredentials:
    """A token that all threads share, kept until shortly before it expires. `ask` gives a new one, or raises
    Unavailable; `monotonic` gives seconds."""

    ready = "The token endpoint gives a token for the FHIR server."
    if_refused = (
        "It did not accept the token: check FHIR_SCOPE, and that it trusts the endpoint that FHIR_TOKEN_URL names."
    )
    if_forbidden = (
        "The token does not allow it: check FHIR_SCOPE, and that the client may read and write Observations, Devices "
        "and Patients there."
    )

    def __init__(self, ask: Callable[[], IssuedToken], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._ask = ask
        self._monotonic = monotonic
        self._token: IssuedToken | None = None
        self._asked_at = 0.0
        self._failure: FhirAccessDenied | FhirServerUnavailable | None = None
        self._failures = 0
        self._ask_again_at = 0.0
        self._lock = Lock()

    def authorization(self) -> str | None:
        with self._locked():
            token = self._token
            if token is None or self._age() >= _renewed_after(token):
                try:
                    token = self._token = self._fetch()
                except FhirServerUnavailable:
                    # It is renewed early, so that an endpoint that is away for a minute holds nothing up.
                    if token is None or self._age() >= token.seconds:
                        raise
            return f"Bearer {token.text}"

    def renews(self, refused: str) -> bool:
        with self._locked():
            if self._token is None or refused != f"Bearer {self._token.text}":
                return True
            if self._age() < YOUNG_SECONDS:
                return False
            self._token = None
            return True

    def _age(self) -> float:
        return self._monotonic() - self._asked_at

    def _fetch(self) -> IssuedToken:
        now = self._monotonic()
        if self._failure is not None and now < self._ask_again_at:
            raise self._failure.with_traceback(None)
        try:
            token = self._ask()
        except (FhirAccessDenied, FhirServerUnavailable) as error:
            asked = (error.retry_after_seconds if isinstance(error, FhirServerUnavailable) else None) or 0.0
            wait = min(FIRST_WAIT_SECONDS * 2.0**self._failures, LONGEST_WAIT_SECONDS)
            self._failure, self._failures = error, min(self._failures + 1, 10)
            self._ask_again_at = self._monotonic() + max(wait, min(asked, LONGEST_ASKED_SECONDS))
            raise
        self._failure, self._failures, self._asked_at = None, 0, now
        return token

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One thread asks, the others wait for what it gets, no longer than until the deadline."""
        if not self._lock.acquire(timeout=min(deadline.seconds_left(), TIMEOUT_MAX)):
            raise OutOfTime("there was a token for the FHIR server")
        try:
            yield
        finally:
            self._lock.release()


def _renewed_after(token: IssuedToken) -> float:
    """Seconds from when it was asked for."""
    return max(SHORTEST_SECONDS, token.seconds - min(LONGEST_MARGIN_SECONDS, token.seconds / 4))
