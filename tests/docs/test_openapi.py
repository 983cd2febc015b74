"""docs/openapi.json against the functions, and against what they really answer."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import azure.functions as func
import pytest
from jsonschema import Draft202012Validator

from medtech.backfill.document import of_backfill
from medtech.backfill.job import BackfillJobs, Fault, Request
from medtech.backfill.path_format import DEFAULT_FORMAT
from medtech.comparison import http as comparison_http
from medtech.comparison.store import Comparisons, Judged
from medtech.dead_letter import http as dead_letters_http
from medtech.dead_letter.selection import Selection
from medtech.dead_letter.store import DeadLetters
from medtech.debugger import mappings as mappings_http
from medtech.errors import StorageUnavailable
from medtech.health import http as health_http
from medtech.health.part import Health, Part, State
from medtech.jobs import State as JobState
from medtech.mapping.device import DeviceMapping, load_device_mapping
from medtech.mapping.fhir import DEFAULT_OPTIONS, load_fhir_mapping
from medtech.mapping.in_force import MappingStore
from medtech.replay import http as replay_http
from medtech.replay.document import of_job
from medtech.replay.dry_run import DryRun, dry_run
from medtech.replay.job import Jobs
from medtech.replay.today import Places
from medtech.storage.connection import Storage
from medtech.validation import http as validation_http
from tests.command.test_waiting import NOW, fill
from tests.test_function_app import functions
from tests.validation.test_page import EXAMPLES

ROOT = Path(__file__).parents[2]
DOCUMENT = json.loads((ROOT / "docs" / "openapi.json").read_text(encoding="utf-8"))
OPERATIONS = {
    operation["operationId"]: (path, method, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}


def routes() -> dict[str, tuple[str, str, str]]:
    """Path, method and kind of key of each HTTP function, as Functions reads them; the page without a key is no API."""
    found: dict[str, tuple[str, str, str]] = {}
    for name, function in functions().items():
        trigger = json.loads(function.get_function_json())["bindings"][0]
        if trigger["type"] == "httpTrigger":
            [method] = trigger["methods"]
            level = trigger["authLevel"].lower()
            if level != "anonymous":
                found[name] = (f"/api/{trigger['route']}", method.lower(), level)
    return found


def test_every_http_function_is_described_with_its_route_method_and_key() -> None:
    described = {
        name: (path, method, next(iter(operation["security"][0])).removesuffix("KeyHeader"))
        for name, (path, method, operation) in OPERATIONS.items()
    }
    assert described == routes()


def test_the_document_is_whole() -> None:
    text = json.dumps(DOCUMENT)
    schemas = DOCUMENT["components"]["schemas"]
    assert set(re.findall(r"#/components/schemas/(\w+)", text)) == schemas.keys()
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    for path, _, operation in OPERATIONS.values():
        for each in operation["security"]:
            assert each.keys() <= DOCUMENT["components"]["securitySchemes"].keys()
        in_path = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "path"}
        assert in_path == set(re.findall(r"\{(\w+)\}", path))


def check(schema: dict[str, Any], document: object) -> None:
    whole = {**schema, "components": DOCUMENT["components"]}
    faults = [error.message for error in Draft202012Validator(whole).iter_errors(document)]
    assert not faults


def check_answer(name: str, response: func.HttpResponse) -> dict[str, Any]:
    answer = OPERATIONS[name][2]["responses"][str(response.status_code)]
    document: dict[str, Any] = json.loads(response.get_body())
    check(answer["content"]["application/json"]["schema"], document)
    return document


def request_of(name: str, body: object = None, **parameters: str) -> func.HttpRequest:
    path, method, operation = OPERATIONS[name]
    known = {each["name"] for each in operation.get("parameters", ())}
    assert parameters.keys() <= known
    in_path = {key: value for key, value in parameters.items() if f"{{{key}}}" in path}
    return func.HttpRequest(
        method=method.upper(),
        url=path,
        params={key: value for key, value in parameters.items() if key not in in_path},
        route_params=in_path,
        body=b"" if body is None else json.dumps(body).encode(),
    )


def _request_schema(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = OPERATIONS[name][2]["requestBody"]["content"]["application/json"]["schema"]
    return schema


@pytest.mark.parametrize("name", [name for name, each in OPERATIONS.items() if "requestBody" in each[2]])
def test_the_example_of_a_request_is_one(name: str) -> None:
    check(_request_schema(name), OPERATIONS[name][2]["requestBody"]["content"]["application/json"]["example"])


def validated(storage: Storage, request: func.HttpRequest, max_bytes: int = 1 << 20) -> func.HttpResponse:
    return validation_http.answer(
        request,
        max_bytes,
        MappingStore("device", "mappings/deviceMapping.json", load_device_mapping, storage),
        MappingStore("fhir", "mappings/fhirDestinationMapping.json", load_fhir_mapping, storage),
        DEFAULT_OPTIONS,
    )


@pytest.mark.parametrize("text", [asked for asked, _ in EXAMPLES.values()], ids=EXAMPLES)
def test_validate_asks_and_answers_as_described(storage: Storage, text: str) -> None:
    asked = json.loads(text)
    check(_request_schema("validate"), asked)
    document = check_answer("validate", validated(storage, request_of("validate", asked)))
    assert "templateResult" in document


def test_validate_tells_the_mappings_in_force_and_what_it_refuses(storage: Storage) -> None:
    document = check_answer("validate", validated(storage, request_of("validate", {})))
    assert len(document["mappingsInForce"]) == 2
    for asked, max_bytes, status in (({"x": 1}, 1 << 20, 400), ({}, 1, 413)):
        response = validated(storage, request_of("validate", asked), max_bytes)
        assert response.status_code == status
        check_answer("validate", response)


def test_a_letter_and_the_mappings_in_force_are_answered_as_described(storage: Storage) -> None:
    fill(storage)
    letters = DeadLetters(storage)
    stored = next(letters.select()).id
    for letter_id, status in ((stored, 200), ("nonsense", 400), (f"{stored[:-12]}{12 * '0'}", 404)):
        request = request_of("dead_letter", id=letter_id)
        response = dead_letters_http.answer_letter(request, lambda: letters, NOW)
        assert response.status_code == status
        check_answer("dead_letter", response)
    device = MappingStore("device", "mappings/deviceMapping.json", load_device_mapping, storage)
    device.in_force()
    fhir = MappingStore("fhir", "mappings/fhirDestinationMapping.json", load_fhir_mapping, storage)
    document = check_answer("mappings", mappings_http.answer(device, fhir))
    assert (document["deviceMapping"] is None, document["fhirMapping"]) == (False, None)


@pytest.mark.parametrize("state", State)
def test_health_answers_as_described(state: State) -> None:
    health = Health((Part("hub", state, "So it is.", {"partitions": 2, "lastEventRead": None}),), NOW)
    check_answer("health", health_http.answer(lambda: health))


def _away() -> Any:
    raise StorageUnavailable("Storage is away.")


def test_dead_letters_answers_as_described(storage: Storage) -> None:
    fill(storage)
    letters = DeadLetters(storage)

    def ask(opened: Callable[[], DeadLetters] = lambda: letters, **parameters: str) -> dict[str, Any]:
        request = request_of("dead_letters", **parameters)
        return check_answer("dead_letters", dead_letters_http.answer(request, opened, NOW, 1))

    assert ask()["truncated"]
    assert ask(stage="Normalization")["letters"] == 1
    assert "error" in ask(stage="Nowhere")
    assert "error" in ask(_away)


def test_a_comparison_answers_as_described(storage: Storage) -> None:
    comparisons = Comparisons(storage)
    ours, stored = b'{"resourceType":"Observation"}', b'{"resourceType":"Observation","id":"x"}'
    judged = [
        Judged(64 * "a", "hr", "same"),
        Judged(64 * "b", "hr", "absent", sides=(ours, None)),
        Judged(64 * "c", "hr", "different", ("subject",), "ObservationMismatch", "x", (ours, stored)),
    ]
    comparisons.of(0, NOW).add(judged, NOW)

    def ask(opened: Callable[[], Comparisons] = lambda: comparisons, **parameters: str) -> dict[str, Any]:
        request = request_of("comparison", **parameters)
        return check_answer("comparison", comparison_http.answer(request, opened, NOW, lambda: True))

    document = ask()
    assert document["comparing"]
    assert (document["compared"], document["same"], len(document["differences"])) == (3, 1, 2)
    assert ask(type="none", since="2h")["types"] == []
    assert ask(since="never")["parameter"] == "since"
    assert "error" in ask(_away)
    first = document["differences"][0]["id"]
    for difference_id, opened, status in (
        (first, lambda: comparisons, 200),
        (document["differences"][1]["id"], lambda: comparisons, 200),
        ("nonsense", lambda: comparisons, 400),
        (f"{first[:-1]}0", lambda: comparisons, 404),
        (first, _away, 503),
    ):
        response = comparison_http.answer_difference(request_of("difference", id=difference_id), opened)
        assert response.status_code == status
        check_answer("difference", response)


def test_replay_answers_as_described(storage: Storage) -> None:
    fill(storage)
    jobs = Jobs(storage)
    mapping: DeviceMapping = load_device_mapping((ROOT / "mappings" / "deviceMapping.json").read_text(encoding="utf-8"))

    def tried(selection: Selection) -> DryRun:
        return dry_run(DeadLetters(storage), selection, mapping, Places(300, 4))

    def ask(body: object, opened: Callable[[], Jobs] = lambda: jobs) -> dict[str, Any]:
        if opened is not _away and body != {"dryRun": 1}:
            check(_request_schema("replay"), body)
        return check_answer("replay", replay_http.answer_post(request_of("replay", body), opened, tried, NOW))

    assert ask({"dryRun": True})["letters"] == 2
    assert "error" in ask({"dryRun": 1})
    assert "error" in ask({}, _away)
    job = ask({"error": "NotSupported"})["job"]
    backfills = BackfillJobs(storage)
    backfill = backfills.create(Request("capture", DEFAULT_FORMAT, NOW, NOW + 1), NOW).with_fault(
        Fault("a.avro", "cut")
    )

    def document(job_id: str) -> dict[str, Any] | None:
        found = jobs.get(job_id)
        return of_job(found, 1) if found else of_backfill(backfill) if job_id == backfill.id else None

    for opened, found in ((document, job), (document, backfill.id), (document, "none"), (lambda _: _away(), job)):
        check_answer("replay_status", replay_http.answer_get(request_of("replay_status", job=found), opened))


def test_the_states_of_a_job_are_those_of_the_code() -> None:
    for name in ("ReplayStarted", "ReplayJob", "BackfillJob"):
        states = DOCUMENT["components"]["schemas"][name]["properties"]["state"]["enum"]
        assert states == [str(state) for state in JobState]
