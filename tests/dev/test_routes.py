"""Route templates of Functions, and what functions return as HTTP responses."""

import pytest

from dev.functions import FunctionInvalid
from dev.routes import http_response, route_paths
from dev.rpc import messages


@pytest.mark.parametrize(
    ("prefix", "route", "paths"),
    [
        ("api", "validate", ["/api/validate"]),
        ("", "validate", ["/validate"]),
        ("api", "items/{id}", ["/api/items/{id}"]),
        ("api", "items/{id:int}", ["/api/items/{id:int}"]),
        ("api", "items/{name:alpha}", ["/api/items/{name}"]),
        ("api", "items/{id:int?}", ["/api/items/{id:int}", "/api/items"]),
        ("api", "files/{*path}", ["/api/files/{path:path}"]),
    ],
)
def test_route_templates(prefix: str, route: str, paths: list[str]) -> None:
    assert route_paths("f", prefix, route) == paths


def test_a_constraint_that_is_not_known_is_named() -> None:
    with pytest.raises(FunctionInvalid, match=r"Function f: .*constraint 'datetime'"):
        route_paths("f", "api", "items/{when:datetime}")


def test_nothing_returned_is_no_content() -> None:
    assert http_response(messages.TypedData()).status_code == 204


def test_a_text_is_the_body() -> None:
    answer = http_response(messages.TypedData(string="text"))
    assert (answer.status_code, answer.body, answer.media_type) == (200, b"text", "text/plain")


def test_status_headers_and_cookies_are_kept() -> None:
    cookie = messages.RpcHttpCookie(name="a", value="b", same_site="Strict")
    cookie.path.value = "/p"
    cookie.max_age.value = 60
    cookie.http_only.value = True
    body = messages.TypedData(bytes=b"{}")
    http = messages.RpcHttp(status_code="202", headers={"location": "/jobs/1"}, body=body, cookies=[cookie])
    answer = http_response(messages.TypedData(http=http))
    assert (answer.status_code, answer.body, answer.headers["location"]) == (202, b"{}", "/jobs/1")
    assert answer.headers["set-cookie"] == "a=b; HttpOnly; Max-Age=60; Path=/p; SameSite=strict"
