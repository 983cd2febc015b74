"""Stands in for the identity endpoint of App Service and Functions, which only the platform has.

It speaks the protocol that Microsoft documents for `IDENTITY_ENDPOINT` and `IDENTITY_HEADER` (api-version 2019-08-01):
a GET with `resource` and, for a user-assigned identity, `client_id` or `mi_res_id`. Tokens are for the identities that
are assigned to the app, in the form of Microsoft Entra ID, signed by nobody.
"""

import base64
import json
import time
from contextlib import suppress
from urllib.parse import parse_qsl, urlsplit

from dev.loopback import LoopbackServer, QuietHandler

SYSTEM_ASSIGNED: dict[str, str] = {}


class IdentityEndpoint(LoopbackServer):
    """`assigned` are the identities of the app, as requests name them; `asked` is who was asked for, in order."""

    def __init__(self) -> None:
        self.assigned: list[dict[str, str]] = []
        self.asked: list[dict[str, str]] = []
        self.resources: set[str] = set()
        self.failing: tuple[int, str] | None = None
        self.silent = False
        super().__init__(self._handler())

    def environment(self) -> dict[str, str]:
        """What the platform sets in the app's process."""
        return {"IDENTITY_ENDPOINT": f"{self.url}/msi/token", "IDENTITY_HEADER": "header-of-the-platform"}

    def _answer(self, query: dict[str, str], header: str | None) -> tuple[int, str]:
        resource, version = query.pop("resource"), query.pop("api-version")
        if version != "2019-08-01" or header != "header-of-the-platform":
            return 401, json.dumps({"statusCode": 401, "message": "Unauthorized"})
        self.asked.append(query)
        self.resources.add(resource)
        if self.silent:
            self.closing.wait()
        if self.failing:
            return self.failing
        if query not in self.assigned:
            message = "No User Assigned or Delegated Managed Identity found for specified ClientId"
            return 400, json.dumps({"statusCode": 400, "message": message})
        expires = int(time.time()) + 86_400
        return 200, json.dumps(
            {
                "access_token": _token(resource, expires),
                "expires_on": str(expires),
                "resource": resource,
                "token_type": "Bearer",
            }
        )

    def _handler(self) -> type[QuietHandler]:
        endpoint = self

        class Handler(QuietHandler):
            def do_GET(self) -> None:
                query = dict(parse_qsl(urlsplit(self.path).query))
                status, body = endpoint._answer(query, self.headers.get("X-IDENTITY-HEADER"))
                self.send_response_only(status)
                self.send_header("Content-Type", "application/json" if body.startswith("{") else "text/html")
                self.end_headers()
                with suppress(OSError):  # who asked has given up, which is what a test of silence is about
                    self.wfile.write(body.encode())

        return Handler


def _token(audience: str, expires: int) -> str:
    """With the claims that Azurite looks at."""
    issued = expires - 2 * 86_400
    tenant = "00000000-0000-0000-0000-000000000001"
    claims = {
        "aud": audience,
        "iss": f"https://sts.windows.net/{tenant}/",
        "tid": tenant,
        "iat": issued,
        "nbf": issued,
        "exp": expires,
    }
    parts = (json.dumps(part).encode() for part in ({"alg": "RS256", "typ": "JWT"}, claims))
    return ".".join([*(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts), "c2lnbmF0dXJl"])
