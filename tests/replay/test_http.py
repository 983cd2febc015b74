"""`POST /api/replay` and `GET /api/replay/{job}`, through the app's functions, against a real Azurite."""

import json
from collections.abc import Callable
from typing import Any

import azure.functions as func
import pytest

from medtech import parts
from medtech.backfill.job import BackfillJobs
from medtech.replay.job import Jobs
from tests.azurite import nobody
from tests.flush.samples import known
from tests.persist.samples import Server, identity
from tests.replay.samples import BROKEN, TYPES, Ward, mapping_document, message
from tests.test_function_app import functions

ADDRESS = "https://app.azurewebsites.net/api/replay"


@pytest.fixture
def app(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> Ward:
    monkeypatch.setattr(parts, "storage", lambda: ward.run.storage)
    monkeypatch.setattr(parts, "dead_letters", lambda: ward.run.dead_letters)
    monkeypatch.setattr(parts, "replay_jobs", lambda: ward.jobs)
    # An id may be that of a job of either kind; made once in a process, they would be those of another test's storage.
    monkeypatch.setattr(parts, "backfill_jobs", lambda: BackfillJobs(ward.run.storage))
    monkeypatch.setattr(parts, "settings", lambda: ward.run.settings)
    return ward


def user_function(name: str) -> Callable[[func.HttpRequest], func.HttpResponse]:
    return functions()[name].get_user_function()  # type: ignore[no-any-return]


def post(asked: Any) -> tuple[int, dict[str, Any], dict[str, str]]:
    body = asked if isinstance(asked, bytes) else json.dumps(asked).encode()
    answer = user_function("replay")(func.HttpRequest(method="POST", url=f"{ADDRESS}?code=k", body=body))
    return answer.status_code, json.loads(answer.get_body()), dict(answer.headers)


def get(job: str) -> tuple[int, dict[str, Any]]:
    request = func.HttpRequest(method="GET", url=f"{ADDRESS}/{job}", body=b"", route_params={"job": job})
    answer = user_function("replay_status")(request)
    return answer.status_code, json.loads(answer.get_body())


def test_a_job_is_accepted_and_its_state_is_at_the_address_given(app: Ward, server: Server) -> None:
    app.ingest([app.event(message(known(server).device, series=60))], BROKEN)
    status, accepted, headers = post({"error": "IncompatibleData"})
    assert (status, accepted["state"]) == (202, "queued")
    assert headers["Location"] == accepted["status"] == f"{ADDRESS}/{accepted['job']}"
    app.replay_over(app.run.storage, clock=lambda: app.clock() + 10**15).run()
    status, state = get(accepted["job"])
    expected = {"state": "done", "selected": 1, "taken": 1, "putThrough": 1, "failedAgain": 0, "left": {}}
    assert (status, {name: state[name] for name in expected}) == (200, expected)
    assert state["inBuffer"] == 1
    app.flush()
    assert get(accepted["job"])[1]["inBuffer"] == 0


def test_an_empty_body_takes_every_letter(app: Ward) -> None:
    status, accepted, _ = post(b"")
    job = app.jobs.get(accepted["job"])
    assert job is not None
    assert (status, job.selection.error, job.relabel_unit) == (202, None, False)


def test_a_unit_is_relabelled_if_the_request_says_so(app: Ward) -> None:
    job = app.jobs.get(post({"relabelUnit": True, "id": []})[1]["job"])
    assert job is not None
    assert job.relabel_unit


@pytest.mark.parametrize(
    ("asked", "parameter"),
    [
        ({"error": "NoSuchError"}, "error"),
        ({"errors": "NotSupported"}, "errors"),
        ({"from": "yesterday"}, "from"),
        ({"stage": 7}, "stage"),
        ({"id": "20220312-0a1b2c3d-0003-17-5f3a9c1be04d"}, "id"),
        ({"dryRun": "yes"}, "dryRun"),
        ([], "body"),
        (b"{", "body"),
    ],
)
def test_a_bad_request_is_told_what_is_wrong(app: Ward, asked: Any, parameter: str) -> None:
    status, refused, _ = post(asked)
    assert (status, refused["parameter"]) == (400, parameter)
    assert refused["error"]
    assert list(app.jobs.all()) == []


def test_a_dry_run_tells_what_would_be_done_and_stores_nothing(
    app: Ward, server: Server, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medtech.mapping.device import load_device_mapping
    from medtech.mapping.in_force import MappingStore

    text = tmp_path / "device.json"
    text.write_text(json.dumps(mapping_document(*TYPES, spot="$.matchedToken.absent")))
    store = MappingStore("device", str(text), load_device_mapping, app.run.storage)
    monkeypatch.setattr(parts, "device_mapping", lambda: store)
    app.ingest([app.event(message(identity().device, series=60)) for _ in range(3)], BROKEN)
    app.ingest([app.event(message(identity().device, spot=1))], None)
    before = app.letters()
    assert post({"dryRun": True})[1]["sample"] is None
    assert store.in_force() is not None
    status, told, _ = post({"dryRun": True})
    assert status == 200
    assert {cause["error"]: cause["letters"] for cause in told["causes"]} == {
        "IncompatibleData": 3,
        "TemplateNotFound": 1,
    }
    failing = [{"error": "IncompatibleData", "stage": "Normalization", "messages": 1}]
    assert told["sample"] == {"messages": 4, "putThrough": 3, "failAgain": failing}
    assert (app.letters(), app.run.left(), list(app.jobs.all())) == (before, [], [])


def test_an_unknown_job_is_404(app: Ward) -> None:
    status, told = get("20220312000000-01234567")
    assert (status, "no such job" in told["error"]) == (404, True), told


def test_storage_that_is_away_is_503(app: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "replay_jobs", lambda: Jobs(nobody()))
    assert post({})[0] == 503
    assert get("20220312000000-01234567")[0] == 503
