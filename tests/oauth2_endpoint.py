"""An OAuth 2 token endpoint on a real socket: client credentials, by secret or by private key JWT.

It checks what such an endpoint must by RFC 6749 (2.3.1, 4.4) and SMART App Launch 2.2 ("Client Authentication:
Asymmetric"). Assertions are verified by PyJWT, so that what Authlib and joserfc sign is read by somebody else's code.
"""

import json
import time
from base64 import b64decode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Any
from urllib.parse import parse_qs

import jwt

from dev.loopback import LoopbackServer, QuietHandler

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@dataclass(slots=True)
class TokenAnswer:
    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    seconds_a_byte: float = 0.0


class Refused(Exception):
    """Holds the error code of RFC 6749, 5.2."""


class OAuth2Endpoint(LoopbackServer):
    """`secrets` and `keys` (JWKs) are the registered clients, `scopes` what they may ask for.

    `asked` holds the form of every request, `issued` the tokens. `answers` are given in place of its own, in order;
    while it is `silent` there are none. Tokens say that they last `seconds` (None: they do not say).
    """

    def __init__(self, tls: SSLContext | None = None) -> None:
        self.secrets: dict[str, str] = {}
        self.keys: dict[str, list[dict[str, str]]] = {}
        self.scopes = {"system/Observation.crus", "system/Device.crus", "system/Patient.crus"}
        self.seconds: Any = 300
        self.asked: list[dict[str, str]] = []
        self.headers: list[Mapping[str, str]] = []
        self.issued: list[str] = []
        self.revoked: set[str] = set()
        self.answers: list[TokenAnswer] = []
        self.silent = False
        self._seen: set[str] = set()
        super().__init__(self._handler(), tls)

    @property
    def token_url(self) -> str:
        return f"{self.url}/token"

    def accepts(self, authorization: str | None) -> bool:
        """Whether a FHIR server that trusts this endpoint lets a request in."""
        kind, _, token = (authorization or "").partition(" ")
        return kind == "Bearer" and token in self.issued and token not in self.revoked

    def _answer(self, path: str, headers: Mapping[str, str], body: bytes) -> TokenAnswer:
        form = {name: values[-1] for name, values in parse_qs(body.decode(), strict_parsing=True).items()}
        self.asked.append(form)
        self.headers.append(dict(headers))
        if self.answers:
            return self.answers.pop(0)
        try:
            if path != "/token" or not headers["Content-Type"].startswith("application/x-www-form-urlencoded"):
                raise Refused("invalid_request")
            if form["grant_type"] != "client_credentials":
                raise Refused("unsupported_grant_type")
            self._authenticate(headers.get("Authorization"), form)
            if not set(form.get("scope", "").split()) <= self.scopes:
                raise Refused("invalid_scope")
        except Refused as refused:
            code = str(refused)
            text = {"error": code, "error_description": 'not "registered" – see the admin'}
            return TokenAnswer(401 if code == "invalid_client" else 400, json.dumps(text).encode())
        self.issued.append(f"token-{len(self.issued) + 1}")
        answer = {"access_token": self.issued[-1], "token_type": "bearer", "scope": form.get("scope", "")}
        if self.seconds is not None:
            answer["expires_in"] = self.seconds
        return TokenAnswer(200, json.dumps(answer).encode())

    def _authenticate(self, authorization: str | None, form: Mapping[str, str]) -> None:
        if authorization is not None:
            client, _, secret = b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
            if self.secrets.get(client) != secret:
                raise Refused("invalid_client")
            return
        if form.get("client_assertion_type") != ASSERTION_TYPE:
            raise Refused("invalid_client")
        try:
            self._verify(form["client_assertion"])
        except (jwt.PyJWTError, KeyError, StopIteration) as error:
            raise Refused("invalid_client") from error

    def _verify(self, assertion: str) -> None:
        header = jwt.get_unverified_header(assertion)
        client = jwt.decode(assertion, options={"verify_signature": False})["sub"]
        registered = next(each for each in self.keys[client] if each["kid"] == header["kid"])
        if header["typ"] != "JWT" or header["alg"] != {"RSA": "RS384", "EC": "ES384"}[registered["kty"]]:
            raise Refused("invalid_client")
        claims = jwt.decode(
            assertion,
            jwt.PyJWK(registered).key,
            algorithms=[header["alg"]],
            audience=self.token_url,
            issuer=client,
            options={"require": ["iss", "sub", "aud", "exp", "jti"]},
        )
        if claims["exp"] > time.time() + 300 or claims["jti"] in self._seen:
            raise Refused("invalid_client")
        self._seen.add(claims["jti"])

    def _handler(self) -> type[QuietHandler]:
        endpoint = self

        class Handler(QuietHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                answer = endpoint._answer(self.path, self.headers, body)
                if endpoint.silent:
                    endpoint.closing.wait()
                with suppress(OSError):  # who asked has given up, which is what a test of silence is about
                    self.send_response_only(answer.status)
                    for name, value in {"Content-Type": "application/json", **answer.headers}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    if not answer.seconds_a_byte:
                        self.wfile.write(answer.body)
                        return
                    for n in range(len(answer.body)):
                        self.wfile.write(answer.body[n : n + 1])
                        if endpoint.closing.wait(answer.seconds_a_byte):
                            return

        return Handler
