"""`GET /api/debugger`: what is sent, and with which headers."""

import re
from pathlib import Path

import azure.functions as func
import pytest

from medtech.application import debugger
from medtech.debugger import http


def get(part: str = "", url: str = "/api/debugger", **headers: str) -> func.HttpResponse:
    params = {"part": part} if part else {}
    return debugger(func.HttpRequest(method="GET", url=url, headers=headers, route_params=params, body=b""))


def test_the_page_and_its_parts_are_sent_as_what_they_are() -> None:
    types = {name: get(name).mimetype for name in ("", "index.html", "main.js", "style.css", "words.json", "icon.svg")}
    assert types == {
        "": "text/html",
        "index.html": "text/html",
        "main.js": "text/javascript",
        "style.css": "text/css",
        "words.json": "application/json",
        "icon.svg": "image/svg+xml",
    }
    assert get().get_body().startswith(b"<!doctype html>")


@pytest.mark.parametrize("part", ["", "main.js", "nothing.js"])
def test_every_answer_has_the_policy_of_the_page(part: str) -> None:
    headers = get(part).headers
    directives = dict(each.strip().split(" ", 1) for each in headers["Content-Security-Policy"].split(";"))
    assert directives["default-src"] == "'none'"
    assert directives["script-src"] == directives["style-src"] == directives["connect-src"] == "'self'"
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert "http" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-cache"


def test_what_the_browser_has_is_not_sent_again() -> None:
    first = get("main.js")
    again = get("main.js", **{"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.get_body()) == (304, b"")
    assert get("main.js", **{"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize("part", ["../http.py", "page", "bundle", "http.py", "..", "samples/start.json", "main.js/"])
def test_only_parts_of_the_page_are_sent(part: str) -> None:
    assert get(part).status_code == 404


def test_an_address_with_a_slash_at_its_end_leads_to_the_page() -> None:
    answer = get(url="https://app.example/api/debugger/?x=1")
    assert (answer.status_code, answer.headers["Location"]) == (308, "../debugger")


def test_parts_have_names_of_their_own() -> None:
    files = [path for path in http.PAGE.rglob("*") if path.is_file()]
    assert len(http.parts()) == len(files)


def test_without_the_bundle_the_page_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "index.html").write_bytes((http.PAGE / "index.html").read_bytes())
    monkeypatch.setattr(http, "PAGE", tmp_path)
    http.parts.cache_clear()
    try:
        assert b'data-bundle="absent"' in get().get_body()
        (tmp_path / "codemirror.js").write_bytes(b"")
        http.parts.cache_clear()
        assert b'data-bundle="present"' in get().get_body()
    finally:
        http.parts.cache_clear()


OWN = [path for path in http.PAGE.iterdir() if path.suffix in (".js", ".html", ".css", ".svg")]


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_nothing_of_a_message_can_become_markup(path: Path) -> None:
    written = path.read_text(encoding="utf-8")
    ways = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|DOMParser|setHTML|\beval\b"
    assert not re.search(ways + r"|new Function|srcdoc|javascript:", written)
    # Styles and listeners in markup are what the policy refuses.
    assert not re.search(r"""\s(?:on\w+|style)=["']|<style|<script(?! type="module" src=)""", written)


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_no_other_host_is_named_but_in_names_of_systems(path: Path) -> None:
    hosts = set(re.findall(r"https?://([\w.-]+)", path.read_text(encoding="utf-8")))
    systems = {"loinc.org", "unitsofmeasure.org", "terminology.hl7.org", "azure.microsoft.com"}
    assert hosts <= systems | {"www.w3.org", "example.org"}
