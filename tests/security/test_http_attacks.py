"""What a caller with a key, or a page in a browser, may try at the HTTP functions."""

import base64
import json
from collections.abc import Callable
from typing import Any

import azure.functions as func
import pytest

from medtech import application, parts
from medtech.backfill.job import BackfillJobs
from medtech.dead_letter import letter as letters
from medtech.dead_letter.selection import Selection
from medtech.dead_letter.store import DeadLetters
from medtech.dotnet import ticks
from medtech.errors import NotSupported
from medtech.http_answer import SECURITY_HEADERS
from medtech.model import DeviceEvent
from medtech.normalize.batch import failure_of_event
from medtech.replay.job import Jobs
from medtech.storage.connection import Storage
from tests.azurite import Wire
from tests.test_function_app import functions

LETTERS = 3


def user_function(name: str) -> Callable[[func.HttpRequest], func.HttpResponse]:
    return functions()[name].get_user_function()  # type: ignore[no-any-return]


def ask(name: str, *, body: bytes = b"", **parts: Any) -> func.HttpResponse:
    method = "POST" if name in ("replay", "validate") else "GET"
    return user_function(name)(func.HttpRequest(method=method, url=f"https://app/api/{name}", body=body, **parts))


@pytest.fixture
def app(wire: Wire, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> Wire:
    """The app over a table with some dead letters and a job."""
    dead_letters = DeadLetters(storage)
    now = ticks.now()
    events = [DeviceEvent(b"{", {}, {}, now, "0a1b2c3d", "3", number) for number in range(LETTERS)]
    dead_letters.store([letters.of_event(each, [failure_of_event(NotSupported("No JSON."))]) for each in events], now)
    Jobs(storage).create(Selection(), now, relabel_unit=False)
    monkeypatch.setattr(parts, "storage", lambda: wire.storage)
    monkeypatch.setattr(parts, "dead_letters", lambda: DeadLetters(wire.storage))
    monkeypatch.setattr(parts, "replay_jobs", lambda: Jobs(wire.storage))
    monkeypatch.setattr(parts, "backfill_jobs", lambda: BackfillJobs(wire.storage))
    wire.tables.clear()
    return wire


JOB_IDS = [
    "",
    ".",
    "..",
    "../health",
    "..%2fhealth",
    "a/b",
    "a\\b",
    "a#b",
    "a?b",
    "%",
    "%00",
    "\0",
    "\r\nSet-Cookie: a=b",
    "'",
    "x' or PartitionKey ne '",
    "')/$metadata",
    "20261121000000-0123456\N{FULLWIDTH DIGIT ONE}",
    "20261121000000-01234567\n",
    "20261121000000-01234567 ",
    "20261121000000-ABCDEF01",
    "\N{RIGHT-TO-LEFT OVERRIDE}",
    "\ud800",
    "0" * 100_000,
]


@pytest.mark.parametrize("job", JOB_IDS, ids=lambda job: ascii(job)[:30])
def test_what_is_no_id_of_a_job_never_reaches_storage(app: Wire, job: str) -> None:
    answer = ask("replay_status", route_params={"job": job})
    assert answer.status_code == 404
    assert app.tables.requests == []


FILTERS = [
    "' or '1' eq '1",
    "x' or PartitionKey ne '",
    "') or true or ('",
    "%27 or 1 eq 1",
    "\0",
    "\ud800",
    "a" * 100_000,
]


@pytest.mark.parametrize("text", FILTERS, ids=lambda text: ascii(text)[:30])
@pytest.mark.parametrize("name", ["stage", "error", "type", "cause", "from", "to", "id", "continuation", "$filter"])
def test_no_filter_widens_a_query(app: Wire, name: str, text: str) -> None:
    answer = ask("dead_letters", params={name: text})
    assert answer.status_code == 400
    assert app.tables.requests == []


def place(partition_key: Any, row_key: Any, done: Any = 0) -> str:
    following = {"PartitionKey": partition_key, "RowKey": row_key}
    return base64.urlsafe_b64encode(json.dumps([done, following]).encode()).decode().rstrip("=")


CONTINUATIONS = [
    place("1!4!eHg-", "1!4!eHg-", -1),
    place("1!4!eHg-", "1!4!eHg-", 1.5),
    place("1!4!eHg-", "1!4!eHg-", True),
    place(["x"], {}),
    place("a\r\nb: c", ""),
    place("\N{LATIN SMALL LETTER E WITH ACUTE}", ""),
    base64.urlsafe_b64encode(b"[" * 100_000).decode().rstrip("="),
    base64.urlsafe_b64encode(b"9" * 5_000).decode().rstrip("="),
    base64.urlsafe_b64encode(b"[" + b"9" * 5_000 + b",null]").decode().rstrip("="),
]


@pytest.mark.parametrize("continuation", CONTINUATIONS, ids=range(len(CONTINUATIONS)))
def test_a_forged_continuation_is_refused(app: Wire, continuation: str) -> None:
    assert ask("dead_letters", params={"continuation": continuation}).status_code == 400
    assert app.tables.requests == []


def test_a_continuation_goes_on_in_the_letters_alone(app: Wire) -> None:
    """It says from where a selection goes on, and nothing of what is selected."""
    answer = ask("dead_letters", params={"continuation": place(None, None, 10**100), "error": "DeviceNotFound"})
    assert (answer.status_code, json.loads(answer.get_body())["letters"]) == (200, 0)


def body_of(**asked: Any) -> bytes:
    return json.dumps(asked).encode()


LONG_KEY = base64.b32encode(b"a" * 60_000).decode().lower().rstrip("=")

BODIES = {
    "too long": b'{"id": [' + b'"x",' * 100_000 + b'"x"]}',
    "nested": b"[" * 100_000,
    "a huge number": b'{"id": ' + b"9" * 100_000 + b"}",
    "gzip": base64.b64decode("H4sIAAAAAAACA6uuBQBDv6ajAgAAAA=="),
    "half a surrogate": b'{"error": "\\ud800"}',
    "a name of a class": body_of(error="__class__"),
    "a quote": body_of(cause="' or '1' eq '1"),
    "a long id": body_of(id=[f"x.{LONG_KEY}-0123456789ab"]),
    "UTF-16": '{"error": "x"}'.encode("utf-16"),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_hostile_replay_is_refused_and_makes_no_job(app: Wire, name: str) -> None:
    answer = ask("replay", body=BODIES[name])
    assert answer.status_code == (413 if name == "too long" else 400)
    assert app.tables.requests == []
    assert len(list(Jobs(app.storage).all())) == 1


def test_as_many_ids_as_are_taken_can_be_stored(app: Wire) -> None:
    ids = [f"20220312-0a1b2c3d-0003-{10**18 + number}-5f3a9c1be04d" for number in range(1000)]
    answer = ask("replay", body=body_of(id=ids))
    assert answer.status_code == 202
    job = Jobs(app.storage).get(json.loads(answer.get_body())["job"])
    assert job is not None and job.selection.ids == tuple(ids)


def test_the_address_of_a_job_holds_no_key(app: Wire) -> None:
    request = func.HttpRequest(method="POST", url="https://app/api/replay?code=KEY#KEY", body=b"{}")
    answer = user_function("replay")(request)
    assert answer.status_code == 202
    assert b"KEY" not in answer.get_body() and "KEY" not in str(answer.headers)


@pytest.mark.parametrize("name", ["validate", "health", "dead_letters", "replay", "replay_status"])
def test_a_fault_is_an_answer_that_quotes_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object) -> None:
        raise ValueError("patient 4711")

    monkeypatch.setattr(application, "look_at_health", fails)
    for part in ("settings", "dead_letters", "replay_jobs"):
        monkeypatch.setattr(parts, part, fails)
    answer = ask(name, route_params={"job": "20261121000000-01234567"})
    told = json.loads(answer.get_body())["error"]
    assert (answer.status_code, answer.mimetype) == (500, "application/json")
    assert "ValueError" in told and "ValueError" in caplog.text
    assert "4711" not in told + caplog.text
    assert {header: answer.headers[header] for header in SECURITY_HEADERS} == dict(SECURITY_HEADERS)


def test_every_http_function_answers_with_the_headers(app: Wire) -> None:
    http = {name for name, each in functions().items() if type(each.get_trigger()).__name__ == "HttpTrigger"}
    assert {"validate", "dead_letters", "replay", "replay_status", "health"} <= http
    for name in http:
        answer = ask(name)
        missing = [each for each in SECURITY_HEADERS if each not in answer.headers]
        assert (name, missing) == (name, [])
        assert (name, [each for each, _ in answer.headers.items() if each.lower().startswith("access-control")]) == (
            name,
            [],
        )
