"""The HTTP functions as a browser meets them, over the local host."""

import pytest

from medtech.http_answer import SECURITY_HEADERS
from tests.end_to_end.ward import Ward

ADDRESSES = [
    ("POST", "/api/validate"),
    ("GET", "/api/health"),
    ("GET", "/api/dead-letters"),
    ("POST", "/api/replay"),
    ("GET", "/api/replay/20261121000000-01234567"),
]
ELSEWHERE = {"Origin": "https://elsewhere.example.org", "Access-Control-Request-Method": "POST"}


@pytest.mark.parametrize(("method", "path"), ADDRESSES)
def test_another_site_can_neither_ask_nor_read(ward: Ward, method: str, path: str) -> None:
    """A browser asks first (OPTIONS) where a request has a key, and reads no answer that does not allow it."""
    key = {"x-functions-key": ward.stack.master_key}
    body = {"/api/validate": {}, "/api/replay": {"dryRun": True}}.get(path)
    asked = ward.stack.call(method, path, headers=key | ELSEWHERE, json=body)
    asked_first = ward.stack.call("OPTIONS", path, headers=ELSEWHERE)
    assert asked.status_code in (200, 202, 404, 503)
    assert asked_first.status_code == 405
    for answer in (asked, asked_first):
        assert [name for name in answer.headers if name.startswith("access-control-")] == []
    assert {name: asked.headers[name] for name in SECURITY_HEADERS} == dict(SECURITY_HEADERS)
    assert asked.headers["content-type"].partition(";")[0] == "application/json"


@pytest.mark.parametrize(("method", "path"), ADDRESSES)
def test_without_its_key_a_function_says_nothing(ward: Ward, method: str, path: str) -> None:
    keys = ["", "x"] if path in ("/api/validate", "/api/health") else ["", "x", ward.stack.function_key]
    for key in keys:
        answer = ward.stack.call(method, path, headers={"x-functions-key": key})
        assert (answer.status_code, answer.content) == (401, b"")
