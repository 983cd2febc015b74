"""`GET /api/debugger` and `/api/debugger/{part}`: a page and its parts, the same for everybody.

The page holds nothing of the app. What it shows it asks of /api/validate, /api/mappings, /api/dead-letters and
/api/comparison, each with the key that its user types, so that the page itself needs none. What is served are the files
of `page/`, by their names alone: no path of a request is ever looked up in a folder.

`page/bundle/` is made by `make page`. Without it the page works with plain text areas.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

import azure.functions as func

PAGE = Path(__file__).parent / "page"
INDEX = "index.html"
BUNDLE = "codemirror.js"

_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
}

HEADERS = MappingProxyType(
    {
        # What is not here, `http_answer` adds.
        # Scripts and styles are files of the app, no address but the app's is asked, and what a message says can
        # neither run nor load anything. Images in `data:` are the marks that CodeMirror draws below findings.
        "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
        # Asked for again each time, and answered with 304: a new version of the app has its own page at once.
        "Cache-Control": "no-cache",
    }
)


@dataclass(frozen=True, slots=True)
class Part:
    """A file of the page as it is sent."""

    content: bytes
    media_type: str
    etag: str


def answer(request: func.HttpRequest) -> func.HttpResponse:
    """200 with the page or a part of it, 304 if the browser has it already, 404 for what is no part."""
    name = request.route_params.get("part") or INDEX
    if name == INDEX and request.url.partition("?")[0].endswith("/"):
        # The parts' addresses are relative to the one without a slash at its end.
        return func.HttpResponse(status_code=308, headers={**HEADERS, "Location": "../debugger"})
    part = parts().get(name)
    if part is None:
        return func.HttpResponse("The page has no such part.", status_code=404, headers=dict(HEADERS))
    headers = {**HEADERS, "ETag": part.etag}
    if part.etag in request.headers.get("If-None-Match", ""):
        return func.HttpResponse(status_code=304, headers=headers)
    return func.HttpResponse(part.content, status_code=200, mimetype=part.media_type, headers=headers)


@cache
def parts() -> dict[str, Part]:
    """All parts by name, read once in a process."""
    files = {path.name: path for path in PAGE.rglob("*") if path.suffix in _TYPES}
    read = {name: path.read_bytes() for name, path in files.items()}
    if BUNDLE in read:
        read[INDEX] = read[INDEX].replace(b'data-bundle="absent"', b'data-bundle="present"')
    return {name: _part(files[name].suffix, content) for name, content in read.items()}


def _part(suffix: str, content: bytes) -> Part:
    return Part(content, _TYPES[suffix], f'"{hashlib.sha256(content).hexdigest()[:32]}"')
