"""Where messages go, and in which order and when."""

import json
import sys
from typing import Any

import httpx
import pytest

from medtech.command import traffic
from medtech.command.destination import EventHub, LocalHost, SimulationFailed, send_at_once, send_in_time
from medtech.command.traffic import Message
from medtech.dotnet import ticks
from tests.event_hubs_client import LEAVES_SOCKETS

pytestmark = LEAVES_SOCKETS

START = ticks.from_unix_seconds(1_772_438_400)  # 2026-03-02T08:00:00Z


def sample(devices: int = 3) -> list[Message]:
    return list(traffic.messages(devices, 6, 300, START, seed=1))


class Recorder:
    def __init__(self) -> None:
        self.batches: list[list[Message]] = []

    def send(self, messages: Any) -> None:
        self.batches.append(list(messages))


def test_at_once_sends_in_batches() -> None:
    recorder, counts = Recorder(), []
    messages = sample(devices=10)
    send_at_once(messages, recorder, lambda batch: counts.append(len(batch)))
    assert counts == [100, 100, 100]
    assert [message for batch in recorder.batches for message in batch] == messages


def test_in_time_sends_none_before_its_time() -> None:
    recorder, moments = Recorder(), []
    now = ticks.now()
    messages = [message._replace(time=now + n * 200_000) for n, message in enumerate(sample(devices=1)[:3])]
    send_in_time(messages, recorder, lambda _: moments.append(ticks.now()))
    assert recorder.batches == [[message] for message in messages]
    assert all(moment >= message.time for moment, message in zip(moments, messages, strict=True))


def test_the_local_host_is_given_bodies_by_device(monkeypatch: pytest.MonkeyPatch) -> None:
    posted: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        posted.extend(json.loads(request.content))
        return httpx.Response(200, json={"events": []})

    transport = httpx.MockTransport(answer)
    make_client = httpx.Client
    monkeypatch.setattr(httpx, "Client", lambda **options: make_client(transport=transport, **options))
    messages = sample()[:2]
    with LocalHost("http://host.local") as host:
        host.send(messages)
    assert posted == [{"body": m.body.decode(), "partitionKey": m.device_id} for m in messages]


def test_a_host_that_is_not_there_says_how_to_start_it() -> None:
    with LocalHost("http://127.0.0.1:1") as host, pytest.raises(SimulationFailed) as failed:
        host.send(sample()[:1])
    assert failed.value.message.startswith("Nothing answers at http://127.0.0.1:1 ")
    assert "make run" in failed.value.message


def test_without_the_optional_package_a_hub_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "azure.eventhub", None)
    with pytest.raises(SimulationFailed) as failed:
        EventHub("devicedata", None)
    assert f"{sys.executable} -m pip install azure-eventhub" in failed.value.message
    assert f"uv pip install --python {sys.executable} azure-eventhub" in failed.value.message


@pytest.mark.parametrize(
    ("value", "sentence"), [("", "namespace is not given"), ("secret", "is not an Event Hubs connection string")]
)
def test_a_hub_needs_a_namespace(monkeypatch: pytest.MonkeyPatch, value: str, sentence: str) -> None:
    monkeypatch.setenv("EVENT_HUB_CONNECTION_STRING", value)
    with pytest.raises(SimulationFailed) as failed:
        EventHub("devicedata", None)
    assert sentence in failed.value.message
    assert "secret" not in failed.value.message
