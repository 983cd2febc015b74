"""Stands in for the identity endpoint of App Service and Functions, which only the platform has.

It speaks the protocol that Microsoft documents for `IDENTITY_ENDPOINT` and `IDENTITY_HEADER` (api-version 2019-08-01):
a GET with `resource` and, for a user-assigned identity, `client_id` or `mi_res_id`. Tokens are for the identities that
are assigned to the app, in the form of Microsoft Entra ID, signed by nobody.
"""

import base64
import json
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

SYSTEM_ASSIGNED: dict[str, str] = {}


class IdentityEndpoint:
    """`assigned` are the identities of the app, as requests name them; `asked` is who was asked for, in order."""

    def __init__(self) -> None:
        self.assigned: list[dict[str, str]] = []
        self.asked: list[dict[str, str]] = []
        self.resources: set[str] = set()
        self.failing: tuple[int, str] | None = None
        self.silent = False
        self._closed = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def environment(self) -> dict[str, str]:
        """What the platform sets in the app's process."""
        address = f"http://127.0.0.1:{self._server.server_port}/msi/token"
        return {"IDENTITY_ENDPOINT": address, "IDENTITY_HEADER": "header-of-the-platform"}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closed.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, query: dict[str, str], header: str | None) -> tuple[int, str]:
        resource, version = query.pop("resource"), query.pop("api-version")
        if version != "2019-08-01" or header != "header-of-the-platform":
            return 401, json.dumps({"statusCode": 401, "message": "Unauthorized"})
        self.asked.append(query)
        self.resources.add(resource)
        if self.silent:
            self._closed.wait()
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

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                query = dict(parse_qsl(urlsplit(self.path).query))
                status, body = endpoint._answer(query, self.headers.get("X-IDENTITY-HEADER"))
                self.send_response_only(status)
                self.send_header("Content-Type", "application/json" if body.startswith("{") else "text/html")
                self.end_headers()
                with suppress(OSError):  # who asked has given up, which is what a test of silence is about
                    self.wfile.write(body.encode())

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing is printed: pytest shows what fails."""

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
