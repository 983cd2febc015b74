"""`GET /api/dead-letters` against a real Azurite."""

import json
from typing import Any

import azure.functions as func
import pytest

from medtech import application, parts
from medtech.dead_letter import letter as letters
from medtech.dead_letter.http import answer, answer_letter
from medtech.dead_letter.letter import Letter
from medtech.dead_letter.selection import Selection
from medtech.dead_letter.store import DeadLetters
from medtech.deadline import Deadline, within
from medtech.dotnet import ticks
from medtech.errors import DeviceNotFound, MedTechError, NotSupported, SettingInvalid
from medtech.model import DeviceEvent
from medtech.normalize.batch import failure_of_event
from medtech.storage.connection import Storage
from tests.azurite import Wire, nobody
from tests.faults import Answer, Forward, ProxiedRequest

_NOON = 637_826_832_000_000_000  # 2022-03-12T12:00:00Z


def _letter(number: int, error: MedTechError) -> Letter:
    event = DeviceEvent(b"SECRET", {}, {}, _NOON, "0a1b2c3d", "3", number)
    return letters.of_event(event, [failure_of_event(error)])


@pytest.fixture
def dead_letters(storage: Storage) -> DeadLetters:
    """Eight letters of two causes."""
    dead_letters = DeadLetters(storage)
    written = [_letter(number, DeviceNotFound(f"No Device has the identifier 'd{number}'.")) for number in range(5)]
    dead_letters.store([*written, *(_letter(number, NotSupported("No JSON.")) for number in range(5, 8))], _NOON)
    return dead_letters


def _request(**parameters: str) -> func.HttpRequest:
    return func.HttpRequest(method="GET", url="/api/dead-letters", params=parameters, body=b"")


def _ask(dead_letters: DeadLetters, max_letters: int = 100, **parameters: str) -> tuple[int, Any]:
    response = answer(_request(**parameters), lambda: dead_letters, _NOON, max_letters)
    return response.status_code, json.loads(response.get_body())


def test_causes_come_with_counts_times_and_an_example(dead_letters: DeadLetters) -> None:
    status, document = _ask(dead_letters, code="key")
    assert (status, document["letters"], document["truncated"]) == (200, 8, False)
    moment = ticks.format_iso(_NOON)
    first, second = document["causes"]
    example = first.pop("example")
    assert first == {
        "cause": first["cause"],
        "stage": "Normalization",
        "error": "DeviceNotFound",
        "type": "DeviceMessageError",
        "message": "No Device has the identifier '…'.",
        "letters": 5,
        "written": 5,
        "inReplay": 0,
        "firstTime": moment,
        "lastTime": moment,
    }
    assert example == {
        "id": example["id"],
        "message": "No Device has the identifier 'd0'.",
        "hub": "0a1b2c3d",
        "partition": "3",
        "sequenceNumber": 0,
        "enqueuedTime": moment,
    }
    assert (second["error"], second["letters"]) == ("NotSupported", 3)


def test_filters_select(dead_letters: DeadLetters) -> None:
    _, document = _ask(dead_letters)
    cause, other = (each["cause"] for each in document["causes"])
    ids = ",".join(each["example"]["id"] for each in document["causes"])
    for parameters, count in (
        ({"error": "notsupported"}, 3),
        ({"stage": "FHIRConversion"}, 0),
        ({"cause": cause}, 5),
        ({"cause": other, "error": "DeviceNotFound"}, 0),
        ({"id": ids}, 2),
        ({"from": "2022-03-12", "to": "2022-03-12"}, 8),
        ({"from": "2022-03-13"}, 0),
    ):
        assert _ask(dead_letters, **parameters)[1]["letters"] == count, parameters


def test_more_letters_than_one_answer_folds_are_got_by_its_continuation(dead_letters: DeadLetters) -> None:
    _, document = _ask(dead_letters, max_letters=3)
    counts = [document["letters"]]
    while document["truncated"]:
        _, document = _ask(dead_letters, max_letters=3, continuation=document["continuation"])
        counts.append(document["letters"])
    assert counts == [3, 3, 2]
    assert "continuation" not in document


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"stage": "x"}, "stage"),
        ({"eror": "DeviceNotFound"}, "eror"),
        ({"from": "soon"}, "from"),
        ({"id": "1,2"}, "id"),
        ({"cause": "xyz"}, "cause"),
        ({"continuation": "!"}, "continuation"),
        ({"continuation": "YQ"}, "continuation"),
        ({"continuation": "WzEsIHsiYSI6IDF9XQ"}, "continuation"),
        ({"continuation": "Wy0xLCBudWxsXQ"}, "continuation"),
    ],
)
def test_a_bad_parameter_is_refused_with_a_reason(
    dead_letters: DeadLetters, parameters: dict[str, str], named: str
) -> None:
    status, document = _ask(dead_letters, **parameters)
    assert (status, document["parameter"]) == (400, named)
    assert document["error"]


def test_storage_that_is_away_is_503_with_its_reason() -> None:
    status, document = _ask(DeadLetters(nobody()))
    assert status == 503
    assert document["error"].startswith("Storage (table `deadletters`) cannot be reached")


def test_a_list_out_of_time_is_503(wire: Wire) -> None:
    with within(Deadline(0)):
        status, document = _ask(DeadLetters(wire.storage))
    assert status == 503
    assert "in time" in document["error"]


def test_a_filter_that_finds_nothing_in_time_is_gone_on_with(dead_letters: DeadLetters, wire: Wire) -> None:
    """Storage looks at a table for some seconds a page, and says where it goes on when it has found nothing."""
    place = next(dead_letters.pages(Selection(), 3)).following
    assert place is not None and place[1] is not None
    continuation = {f"x-ms-continuation-Next{name}": key or "" for name, key in place[1].items()}
    seconds = 0.0

    def take_all_the_time(request: ProxiedRequest, forward: Forward) -> Answer:
        nonlocal seconds
        seconds += 20
        return Answer(200, [("Content-Type", "application/json"), *continuation.items()], b'{"value": []}')

    wire.tables.rule(take_all_the_time, when=lambda request: request.method == "GET")
    with within(Deadline(15, lambda: seconds)):
        status, document = _ask(DeadLetters(wire.storage))
    assert (status, document["letters"], document["truncated"]) == (200, 0, True)
    _, document = _ask(dead_letters, continuation=document["continuation"])
    assert (document["letters"], document["truncated"]) == (5, False)


def test_ids_of_several_messages_are_got_by_the_continuation(dead_letters: DeadLetters) -> None:
    ids = ",".join(letter.id for letter in dead_letters.select())
    _, document = _ask(dead_letters, max_letters=3, id=ids)
    assert (document["letters"], document["truncated"]) == (3, True)
    _, document = _ask(dead_letters, id=ids, continuation=document["continuation"])
    assert (document["letters"], document["truncated"]) == (5, False)


def test_the_function_answers_from_the_storage_of_the_settings(
    dead_letters: DeadLetters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "dead_letters", lambda: dead_letters)
    response = application.list_dead_letters(_request(error="NotSupported"))
    assert (response.status_code, json.loads(response.get_body())["letters"]) == (200, 3)
    assert response.mimetype == "application/json"
    assert b"SECRET" not in response.get_body()


def test_without_a_storage_setting_the_answer_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def unset() -> DeadLetters:
        raise SettingInvalid("No storage is set.")

    monkeypatch.setattr(parts, "dead_letters", unset)
    response = application.list_dead_letters(_request())
    assert (response.status_code, json.loads(response.get_body())) == (503, {"error": "No storage is set."})


def _show(dead_letters: DeadLetters, letter_id: str) -> tuple[int, Any]:
    request = func.HttpRequest(method="GET", url="/api/dead-letters/x", route_params={"id": letter_id}, body=b"")
    response = answer_letter(request, lambda: dead_letters, _NOON)
    return response.status_code, json.loads(response.get_body())


def test_a_letter_comes_with_its_content_by_its_id_alone(dead_letters: DeadLetters) -> None:
    _, listed = _ask(dead_letters)
    [cause] = [each for each in listed["causes"] if each["error"] == "NotSupported"]
    wanted = cause["example"]["id"]
    status, letter = _show(dead_letters, wanted)
    assert (status, letter["id"]) == (200, wanted)
    assert letter["event"] == {"body": "SECRET", "properties": {}, "systemProperties": {}}


def test_a_letter_that_is_not_there_is_not_found(dead_letters: DeadLetters) -> None:
    missing = next(dead_letters.select()).id[:-12] + 12 * "0"
    status, document = _show(dead_letters, missing)
    assert (status, "List the letters" in document["error"]) == (404, True)


def test_what_is_no_id_of_a_letter_is_refused(dead_letters: DeadLetters) -> None:
    status, document = _show(dead_letters, "nonsense")
    assert (status, document["parameter"]) == (400, "id")
