"""A FHIR R4 server of so few rules that it costs next to nothing: `python -m bench.path.fhir_answers PORT`

It holds resources in memory and answers batches of reads, creates and updates as a conforming server does, with
versions, ETags and conditions. It validates nothing. Any Device and Patient that is asked for is there, linked to each
other by their ids. The same requests get the same answers, byte by byte.

`GET /counts` gives the requests, entries and bytes (both ways) since it was last asked.
"""

import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import orjson

BASE = "/fhir/R4"
_WRITTEN = "2026-01-01T00:00:00.000Z"

Resource = dict[str, Any]

METADATA: Resource = {
    "resourceType": "CapabilityStatement",
    "status": "active",
    "date": _WRITTEN,
    "kind": "instance",
    "fhirVersion": "4.0.1",
    "format": ["json"],
    "rest": [
        {
            "mode": "server",
            "interaction": [{"code": "batch"}],
            "resource": [{"type": "Observation", "versioning": "versioned-update", "updateCreate": True}],
        }
    ],
}


class Answer(NamedTuple):
    status: str
    resource: Resource
    etag: str | None = None
    location: str | None = None

    def entry(self) -> Resource:
        response: Resource = {"status": self.status}
        if self.etag is not None:
            response |= {"etag": self.etag, "lastModified": _WRITTEN}
        if self.location is not None:
            response["location"] = self.location
        if self.resource["resourceType"] == "OperationOutcome":
            return {"response": response | {"outcome": self.resource}}
        return {"resource": self.resource, "response": response}


class Resources:
    """What is stored, by `Type/id`: the current version of each, and its number."""

    def __init__(self) -> None:
        self._stored: dict[str, tuple[int, Resource]] = {}

    def answer(self, request: Resource, resource: Resource | None) -> Answer:
        """To one entry of a batch, or a request alone in the same words."""
        url = request["url"]
        if request["method"] == "PUT" and resource is not None:
            return self._put(url, request, resource)
        if request["method"] != "GET":
            return Answer("405 Method Not Allowed", _outcome("not-supported"))
        path, _, query = url.partition("?")
        if query:
            return Answer("200 OK", _found(path, query))
        if path.endswith("/_history"):
            return self._history(path.removesuffix("/_history"))
        return self._read(path)

    def _put(self, url: str, request: Resource, resource: Resource) -> Answer:
        version, _ = self._stored.get(url, (0, {}))
        expected = request.get("ifMatch")
        refused = version and request.get("ifNoneMatch") == "*"
        if refused or (expected is not None and expected != _etag(version)):
            return Answer("412 Precondition Failed", _outcome("conflict"))
        stored = resource | {"meta": {"versionId": str(version + 1), "lastUpdated": _WRITTEN}}
        self._stored[url] = version + 1, stored
        status = "200 OK" if version else "201 Created"
        return Answer(status, stored, _etag(version + 1), f"{url}/_history/{version + 1}")

    def _read(self, path: str) -> Answer:
        if path in self._stored:
            version, resource = self._stored[path]
            return Answer("200 OK", resource, _etag(version))
        resource_type, _, resource_id = path.partition("/")
        if resource_type in ("Device", "Patient"):
            return Answer("200 OK", _person_or_device(resource_type, resource_id), _etag(1))
        return Answer("404 Not Found", _outcome("not-found"))

    def _history(self, path: str) -> Answer:
        if path not in self._stored:
            return Answer("404 Not Found", _outcome("not-found"))
        _, resource = self._stored[path]
        return Answer("200 OK", {"resourceType": "Bundle", "type": "history", "entry": [{"resource": resource}]})


class Counts:
    def __init__(self) -> None:
        self.requests = self.entries = self.bytes = 0

    def to_json(self) -> dict[str, int]:
        return {"requests": self.requests, "entries": self.entries, "bytes": self.bytes}


class FhirAnswers(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self._resources = Resources()
        self._counts = Counts()
        self._one_at_a_time = Lock()

    def counts(self) -> dict[str, int]:
        """Since the last call."""
        with self._one_at_a_time:
            counts, self._counts = self._counts, Counts()
        return counts.to_json()

    def batch(self, body: bytes) -> bytes:
        bundle = orjson.loads(body)
        with self._one_at_a_time:
            answers = [self._resources.answer(each["request"], each.get("resource")) for each in bundle["entry"]]
            answer = orjson.dumps(
                {"resourceType": "Bundle", "type": "batch-response", "entry": [each.entry() for each in answers]}
            )
            self._count(len(body) + len(answer), len(answers))
        return answer

    def single(self, request: Resource, body: bytes) -> tuple[int, bytes]:
        with self._one_at_a_time:
            answer = self._resources.answer(request, orjson.loads(body) if body else None)
            content = orjson.dumps(answer.resource)
            self._count(len(body) + len(content), 1)
        return int(answer.status[:3]), content

    def _count(self, size: int, entries: int) -> None:
        self._counts.requests += 1
        self._counts.entries += entries
        self._counts.bytes += size


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: FhirAnswers

    def do_GET(self) -> None:
        if self.path == "/counts":
            self._send(200, orjson.dumps(self.server.counts()))
        elif self.path == f"{BASE}/metadata":
            self._send(200, orjson.dumps(METADATA))
        else:
            self._single(b"")

    def do_PUT(self) -> None:
        self._single(self._body())

    def do_POST(self) -> None:
        body = self._body()
        path = urlsplit(self.path).path.rstrip("/")
        if path == BASE:
            self._send(200, self.server.batch(body))
        else:
            searched = path.removeprefix(f"{BASE}/").removesuffix("/_search")
            self._send(*self.server.single({"method": "GET", "url": f"{searched}?{body.decode()}"}, b""))

    def _single(self, body: bytes) -> None:
        request = {"method": self.command, "url": self.path.removeprefix(f"{BASE}/")}
        for name, header in (("ifMatch", "If-Match"), ("ifNoneMatch", "If-None-Match")):
            if (value := self.headers.get(header)) is not None:
                request[name] = value
        self._send(*self.server.single(request, body))

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _send(self, status: int, content: bytes) -> None:
        self.send_response_only(status)
        self.send_header("Content-Type", "application/fhir+json; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _found(resource_type: str, query: str) -> Resource:
    """Of a search for a Device or a Patient by identifier: that one."""
    identifier = parse_qs(query)["identifier"][0]
    system, bar, value = identifier.rpartition("|")
    resource = _person_or_device(resource_type, re.sub(r"\W", "-", value), value, system if bar else "")
    return {
        "resourceType": "Bundle",
        "type": "searchset",
        "total": 1,
        "entry": [{"resource": resource, "search": {"mode": "match"}}],
    }


def _person_or_device(resource_type: str, resource_id: str, value: str = "", system: str = "") -> Resource:
    identifier = {"value": value or resource_id} | ({"system": system} if system else {})
    resource = {
        "resourceType": resource_type,
        "id": resource_id,
        "meta": {"versionId": "1", "lastUpdated": _WRITTEN},
        "identifier": [identifier],
    }
    return resource | ({"patient": {"reference": f"Patient/of-{resource_id}"}} if resource_type == "Device" else {})


def _etag(version: int) -> str:
    return f'W/"{version}"'


def _outcome(code: str) -> Resource:
    return {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": code}]}


if __name__ == "__main__":
    FhirAnswers(int(sys.argv[1])).serve_forever()
