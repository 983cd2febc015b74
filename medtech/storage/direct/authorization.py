"""How requests to storage are signed: by the account's key, a shared access signature, or the app's identity."""

from __future__ import annotations

import binascii
import hmac
import random
import re
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qsl, urlsplit

from medtech.entra import Credential

if TYPE_CHECKING:
    from azure.core.credentials import AccessTokenInfo

SCOPE = "https://storage.azure.com/.default"
"""For every cloud's accounts ("Authorize access to tables using Microsoft Entra ID")."""

_REFRESH_SECONDS = 300
_REFRESH_SPREAD_SECONDS = 60
# `Bearer authorization_uri=https://login.microsoftonline.com/TENANT/oauth2/authorize resource_id=…`
_TENANT = re.compile(r'authorization(?:_uri)?="?([^\s",]+)')


class Authorization(Protocol):
    def sign(self, method: str, target: str, headers: dict[str, str]) -> str:
        """Adds to the headers what proves who asks; returns the target to ask for. Raises AzureError."""

    def renewed(self, challenge: str) -> bool:
        """Whether it is worth signing again, after an answer 401 with this `WWW-Authenticate`, "" for none. Raises
        AzureError."""


class TableKey:
    """The account's key, for tables ("Authorize with Shared Key", "Table service")."""

    def __init__(self, account: str, key: str) -> None:
        """Raises ValueError if `key` is not base64."""
        self._account = account
        try:
            self._key = b64decode(key)
        except binascii.Error:
            raise ValueError("an account key that is not base64") from None

    def sign(self, method: str, target: str, headers: dict[str, str]) -> str:
        signed = self._signed(method, target, headers)
        signature = b64encode(hmac.digest(self._key, signed.encode(), "sha256")).decode()
        headers["Authorization"] = f"SharedKey {self._account}:{signature}"
        return target

    def renewed(self, challenge: str) -> bool:
        return False

    def _signed(self, method: str, target: str, headers: Mapping[str, str]) -> str:
        path = target.partition("?")[0]
        return f"{method}\n\n{headers.get('Content-Type', '')}\n{headers['x-ms-date']}\n/{self._account}{path}"


class BlobKey(TableKey):
    """The same, for requests to blobs that have no body ("Blob, Queue, and File Services")."""

    def _signed(self, method: str, target: str, headers: Mapping[str, str]) -> str:
        path, _, query = target.partition("?")
        # None of the eleven standard headers that would be signed is sent, or (Content-Length) it is 0.
        standard = "\n" * 11
        service = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers) if name.startswith("x-ms-"))
        parameters = "".join(f"\n{name}:{value}" for name, value in sorted(parse_qsl(query)))
        return f"{method}\n{standard}{service}/{self._account}{path}{parameters}"


class SharedAccessSignature:
    def __init__(self, signature: str) -> None:
        self._signature = signature.lstrip("?")

    def sign(self, method: str, target: str, headers: dict[str, str]) -> str:
        return f"{target}{'&' if '?' in target else '?'}{self._signature}"

    def renewed(self, challenge: str) -> bool:
        return False


class AccessToken:
    """A token of the app's identity, kept until shortly before it expires."""

    def __init__(self, credential: Callable[[], Credential]) -> None:
        self._credential = credential
        self._token: AccessTokenInfo | None = None
        self._refresh_at = 0.0
        self._renewing = threading.Lock()

    def sign(self, method: str, target: str, headers: dict[str, str]) -> str:
        token = self._token
        if token is None or time.time() >= self._refresh_at:
            with self._renewing:
                token = self._token
                if token is None or time.time() >= self._refresh_at:
                    token = self._renew()
        headers["Authorization"] = f"Bearer {token.token}"
        return target

    def renewed(self, challenge: str) -> bool:
        """The challenge names the account's tenant, which may be another than the identity's."""
        found = _TENANT.search(challenge)
        tenant = urlsplit(found[1]).path.strip("/").partition("/")[0] if found else ""
        with self._renewing:
            self._token = None
            if tenant:
                self._renew(tenant)
        return bool(tenant)

    def _renew(self, tenant: str | None = None) -> AccessTokenInfo:
        token = self._credential().get_token_info(SCOPE, options={"tenant_id": tenant} if tenant else {})
        # Spread out, so that not all instances of an app come at once.
        spread = random.uniform(0, _REFRESH_SPREAD_SECONDS)
        refresh_on = getattr(token, "refresh_on", None)
        at = refresh_on + spread if refresh_on else token.expires_on - _REFRESH_SECONDS + spread
        self._token, self._refresh_at = token, min(at, token.expires_on)
        return token
