"""The whole host around Microsoft's runtime: indexing, metadata, HTTP, keys, logs."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from dev.running_host import RunningHost
from tests.dev.conftest import APP, SampleHost
from tests.dev.waiting import wait_until


@pytest.fixture(scope="module")
def http(host: SampleHost) -> Any:
    with httpx.Client(base_url=host.host_url) as client:
        yield client


def test_a_batch_reaches_the_function_with_its_metadata(host: SampleHost) -> None:
    events = [
        {
            "bodyBase64": "/w==",
            "properties": {"p": n},
            "systemProperties": {"iothub-connection-device-id": "d1"},
            "partitionKey": "key",
            "enqueuedTime": "2026-03-02T08:00:00.250Z",
        }
        for n in range(2)
    ]
    first, second = host.post_events(events)
    host.wait_until_read()
    batch = next(each for each in host.seen("unprotected") if each["partition_keys"] == ["key", "key"])
    assert first.partition == second.partition == batch["partition_context"]["PartitionId"]
    assert batch["sequence_numbers"] == [first.sequence_number, second.sequence_number]
    assert batch["bodies"] == ["\xff", "\xff"]
    assert batch["enqueued_times"] == ["2026-03-02T08:00:00.250000"] * 2  # naive: the real host writes no zone
    assert batch["iothub"] == [{"connection-device-id": "d1"}] * 2
    assert batch["properties"] == [{"p": 0}, {"p": 1}]
    assert batch["partition_context"]["FullyQualifiedNamespace"] == host.namespace


def test_every_consumer_group_gets_every_event(host: SampleHost) -> None:
    host.post_events([{"body": "for all", "partition": "0"}])
    host.wait_until_read()
    for function in ("unprotected", "patient", "twice"):
        assert "for all" in [body for batch in host.seen(function) for body in batch["bodies"]]


def test_a_refused_event_is_explained(host: SampleHost) -> None:
    with pytest.raises(ValueError, match="partitions 0 to 3"):
        host.post_events([{"body": "", "partition": "9"}])


def test_events_that_are_not_json_are_refused(http: httpx.Client) -> None:
    answer = http.post("/dev/events", content=b"{secret reading", headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()) == (400, {"error": "The request is not valid JSON."})


@pytest.mark.parametrize("path", ["/dev/events", "/dev/hub/steal", "/dev/timers/tick"])
@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_what_a_page_of_another_origin_could_send_is_refused(
    host: SampleHost, http: httpx.Client, path: str, content_type: str
) -> None:
    before = host.hub_state(), host.invocations("tick")
    answer = http.post(path, content=b'{"body": "1", "partition": "0"}', headers={"content-type": content_type})
    assert answer.status_code == 415
    assert (host.hub_state(), host.invocations("tick")) == before


@pytest.mark.parametrize(
    "wanted", [{}, [], {"partition": 0}, {"partition": "9"}, {"partition": "0", "sequenceNumber": -1}]
)
def test_a_partition_that_cannot_be_stolen_is_refused(http: httpx.Client, wanted: Any) -> None:
    assert http.post("/dev/hub/steal", json=wanted).status_code == 400


def test_a_route_hands_over_parameters_query_and_headers(http: httpx.Client) -> None:
    answer = http.get("/api/items/7", params={"q": "b"}, headers={"x-a": "1"})
    assert answer.status_code == 200
    assert answer.json() == {"id": "7", "q": "b", "header": "1"}
    assert (answer.headers["content-type"], answer.headers["x-b"]) == ("application/json", "2")


def test_a_method_that_a_route_has_not_is_refused(http: httpx.Client) -> None:
    assert http.post("/api/items/7").status_code == 405


def test_a_body_is_bytes_both_ways(host: SampleHost) -> None:
    answer = host.call("POST", "/api/echo", content=b"\xff\x00")
    assert (answer.status_code, answer.content) == (201, b"\xff\x00")


@pytest.mark.parametrize(
    ("method", "path", "key", "status"),
    [
        ("POST", "/api/echo", None, 401),
        ("POST", "/api/echo", "wrong", 401),
        ("POST", "/api/echo", "function", 201),
        ("POST", "/api/echo", "master", 201),
        ("GET", "/api/secret", "function", 401),
        ("GET", "/api/secret", "master", 200),
        ("GET", "/admin/host/status", "function", 401),
        ("GET", "/admin/host/status", "master", 200),
        ("GET", "/admin/host/ping", None, 200),
        ("POST", "/admin/functions/tick", "function", 401),
        ("POST", "/admin/functions/tick", "master", 202),
        ("POST", "/admin/functions/patient", "master", 400),
        ("POST", "/admin/functions/none", "master", 404),
    ],
)
def test_keys(host: SampleHost, http: httpx.Client, method: str, path: str, key: str | None, status: int) -> None:
    keys = {"master": host.master_key, "function": host.function_key, "wrong": "wrong", None: ""}
    body = {} if method == "GET" else {"json": {}}
    assert http.request(method, path, headers={"x-functions-key": keys[key]}, **body).status_code == status
    assert http.request(method, path, params={"code": keys[key]}, **body).status_code == status


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/json", "{}", 202),
        ("application/json; charset=utf-8", '{"input": null}', 202),
        ("application/json", '{"input": "text"}', 202),
        ("text/json", "{}", 202),
        ("application/problem+json", "{}", 202),
        ("application/json", "", 400),
        ("application/json", "{", 400),
        ("application/json", "[]", 400),
        ("application/json", "null", 400),
        ("application/json", '{"Input": {"a": 1}}', 400),
        ("text/plain", "{}", 415),
        ("application/x-www-form-urlencoded", "", 415),
        (None, "", 415),
    ],
)
def test_a_function_is_started_only_with_a_body_that_azure_takes(
    host: SampleHost, content_type: str | None, body: str, status: int
) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    answer = host.call("POST", "/admin/functions/nightly", content=body, headers=headers)
    assert answer.status_code == status


def test_keys_are_for_their_owner_only(host: SampleHost) -> None:
    assert (host.data_folder / "keys.json").stat().st_mode & 0o077 == 0


def test_status_says_running(host: SampleHost) -> None:
    assert host.call("GET", "/admin/host/status").json()["state"] == "Running"


def test_a_function_that_raises_is_a_500_and_in_the_log(host: SampleHost, http: httpx.Client) -> None:
    answer = http.post("/api/talk")
    assert (answer.status_code, answer.content) == (500, b"")
    logs = host.logs
    assert "Executed 'Functions.talk' (Failed" in logs
    assert "KeyError: 'uncaught fault'" in logs


def test_what_the_app_logs_and_prints_is_in_the_log_at_the_hosts_level(host: SampleHost, http: httpx.Client) -> None:
    http.post("/api/talk")
    wait_until(lambda: "Host.Function.Console: line after a long one" in host.logs)
    lines = host.logs.splitlines()
    assert any("WARNING Function.talk.User" in line and "warning line" in line for line in lines)
    assert any("Host.Function.Console: printed line" in line for line in lines)
    assert "ValueError: caught fault" in lines  # the traceback of log.exception
    assert not any("debug line" in line for line in lines)


def test_the_hosts_own_log_shows_nothing_of_an_event_or_a_request(host: SampleHost) -> None:
    host.post_events([{"body": "sentinel-body", "properties": {"p": "sentinel-property"}}])
    host.call("POST", "/api/echo", content="sentinel-request", params={"q": "sentinel-query"})
    host.wait_until_read()
    assert "sentinel" not in host.logs


def test_debug_shows_what_is_logged_at_debug(tmp_path: Path, azurite: str) -> None:
    with SampleHost(tmp_path, azurite, AzureFunctionsJobHost__logging__logLevel__default="Debug") as loud:
        loud.call("POST", "/api/talk")
        assert "DEBUG Function.talk.User" in loud.logs


def test_an_environment_variable_is_a_setting_unless_the_run_has_it(
    tmp_path: Path, azurite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AzureFunctionsJobHost__logging__logLevel__default", "Debug")
    monkeypatch.setenv("SCHEDULE", "not a schedule")
    with SampleHost(tmp_path, azurite) as loud:
        loud.call("POST", "/api/talk")
        assert "DEBUG Function.talk.User" in loud.logs


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({}, "add the setting HubConnection"),
        ({"HubConnection": "Endpoint=sb://ns.local/"}, "set AzureWebJobsStorage"),
    ],
)
def test_an_app_that_does_not_load_says_why(tmp_path: Path, settings: dict[str, str], reason: str) -> None:
    from dev.processes import LocalRunFailed

    common = {"OBSERVED": str(tmp_path), "HUB": "h", "SCHEDULE": "0 0 0 1 1 *", "QUEUE": "q"}
    with pytest.raises(LocalRunFailed, match=reason):
        RunningHost(tmp_path / "data", app_directory=APP, settings=common | settings).__enter__()
