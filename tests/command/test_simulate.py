"""Device traffic: deterministic, true to the start mapping, and known reading by reading."""

import json
import sys
import types
from decimal import Decimal
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from medtech.command import simulate
from medtech.command.line import app
from medtech.dotnet import ticks

START = ticks.from_unix_seconds(1_772_438_400)  # 2026-03-02T08:00:00Z


def traffic(devices: int = 3, rate: int = 6, duration: int = 300, seed: int = 1) -> list[simulate.Message]:
    return list(simulate.traffic(devices, rate, duration, START, seed))


def test_the_same_seed_makes_the_same_messages() -> None:
    assert traffic(seed=5) == traffic(seed=5)
    assert traffic(seed=5) != traffic(seed=6)


def test_a_device_sends_the_same_whatever_other_devices_there_are() -> None:
    alone = [message.body for message in traffic(devices=1)]
    assert alone == [message.body for message in traffic(devices=4) if message.device_id == "device-01"]


@pytest.mark.parametrize(("devices", "rate", "duration"), [(10, 6, 120), (1, 60, 61), (3, 1, 30), (7, 7, 60)])
def test_the_count_is_known_beforehand(devices: int, rate: int, duration: int) -> None:
    assert len(traffic(devices, rate, duration)) == simulate.message_count(devices, rate, duration)


def test_messages_come_in_order_of_time_and_span_the_duration() -> None:
    times = [message.time for message in traffic()]
    assert times == sorted(times)
    assert times[0] >= START
    assert times[-1] < START + 300 * ticks.TICKS_PER_SECOND


def test_no_two_readings_of_a_type_meet_in_one_second() -> None:
    seconds = [
        (reading.device_id, reading.type, reading.time // ticks.TICKS_PER_SECOND)
        for message in traffic(rate=simulate.HIGHEST_RATE)
        for reading in message.readings
    ]
    assert len(seconds) == len(set(seconds))


def test_steps_are_sent_once_a_minute() -> None:
    minutes = [
        (reading.device_id, reading.time // ticks.TICKS_PER_MINUTE)
        for message in traffic()
        for reading in message.readings
        if reading.type == "steps"
    ]
    assert len(minutes) == len(set(minutes)) >= 15


def test_the_readings_are_what_the_body_says() -> None:
    types = set()
    for message in traffic(duration=1200):
        body = json.loads(message.body, parse_int=Decimal, parse_float=Decimal)
        assert (body.pop("deviceId"), body.pop("patientId")) == (message.device_id, message.patient_id)
        assert body.pop("endDate") == f"{ticks.format_iso(message.time)[:-5]}Z"
        assert body == {name: value for reading in message.readings for name, value in reading.values}
        types.update(reading.type for reading in message.readings)
    assert types == {"heartRate", "bloodPressure", "oxygenSaturation", "bodyTemperature", "steps"}


class Recorder:
    def __init__(self) -> None:
        self.batches: list[list[simulate.Message]] = []

    def send(self, messages: Any) -> None:
        self.batches.append(list(messages))


def test_at_once_sends_in_batches() -> None:
    recorder, counts = Recorder(), []
    messages = traffic(devices=10)
    simulate.send_at_once(messages, recorder, lambda batch: counts.append(len(batch)))
    assert counts == [100, 100, 100]
    assert [message for batch in recorder.batches for message in batch] == messages


def test_in_time_sends_none_before_its_time() -> None:
    recorder, moments = Recorder(), []
    now = ticks.now()
    messages = [message._replace(time=now + n * 200_000) for n, message in enumerate(traffic(devices=1)[:3])]
    simulate.send_in_time(messages, recorder, lambda _: moments.append(ticks.now()))
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
    messages = traffic()[:2]
    with simulate.LocalHost("http://host.local") as host:
        host.send(messages)
    assert posted == [{"body": m.body.decode(), "partitionKey": m.device_id} for m in messages]


def test_a_host_that_is_not_there_is_one_clear_sentence() -> None:
    result = CliRunner().invoke(app, ["simulate", "--at-once", "--host", "http://127.0.0.1:1"])
    assert result.exit_code == 1
    assert result.stderr.startswith("Nothing answers at http://127.0.0.1:1")
    assert "make run" in result.stderr


def test_a_hub_without_the_optional_package_is_one_clear_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "azure.eventhub", None)
    result = CliRunner().invoke(app, ["simulate", "--event-hub", "devicedata"])
    assert result.exit_code == 1
    assert f"{sys.executable} -m pip install azure-eventhub" in result.stderr
    assert f"uv pip install --python {sys.executable} azure-eventhub" in result.stderr


def test_a_namespace_without_a_hub_is_refused() -> None:
    """It would else send to the local host, to which nobody meant to send."""
    result = CliRunner().invoke(app, ["simulate", "--fully-qualified-namespace", "ns.servicebus.windows.net"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "--event-hub" in result.stderr


def test_a_duration_without_a_message_is_refused() -> None:
    result = CliRunner().invoke(app, ["simulate", "--at-once", "--rate", "2", "--duration", "29"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "--duration" in result.stderr


class Producer:
    """Stands for azure-eventhub's client: keeps what is sent, or refuses it."""

    sent: list[tuple[str, list[bytes]]]
    refuses = False

    @classmethod
    def from_connection_string(cls, text: str, *, eventhub_name: str) -> "Producer":
        if not text.startswith("Endpoint="):
            raise ValueError(text)
        cls.sent = []
        return cls()

    def send_batch(self, batch: list[bytes], *, partition_key: str) -> None:
        if self.refuses:
            raise HubError
        self.sent.append((partition_key, batch))

    def close(self) -> None:
        pass


class HubError(Exception):
    pass


@pytest.fixture
def producer(monkeypatch: pytest.MonkeyPatch) -> type[Producer]:
    package, errors = types.ModuleType("azure.eventhub"), types.ModuleType("azure.eventhub.exceptions")
    vars(package).update(EventHubProducerClient=Producer, EventData=bytes)
    vars(errors).update(EventHubError=HubError)
    monkeypatch.setitem(sys.modules, "azure.eventhub", package)
    monkeypatch.setitem(sys.modules, "azure.eventhub.exceptions", errors)
    monkeypatch.setenv("EVENT_HUB_CONNECTION_STRING", "Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKey=k")
    monkeypatch.setattr(Producer, "refuses", False)
    return Producer


def test_a_hub_gets_each_device_as_a_partition_key(producer: type[Producer]) -> None:
    messages = traffic()
    with simulate.EventHub("devicedata", None) as hub:
        hub.send(messages)
    for device, bodies in producer.sent:
        assert bodies == [message.body for message in messages if message.device_id == device]
    assert [device for device, _ in producer.sent] == list(dict.fromkeys(m.device_id for m in messages))


def test_a_hub_that_refuses_is_one_clear_sentence(producer: type[Producer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(producer, "refuses", True)
    result = CliRunner().invoke(app, ["simulate", "--at-once", "--event-hub", "devicedata"])
    assert result.exit_code == 1
    assert result.stderr.startswith("The hub did not take the events (HubError)")


@pytest.mark.parametrize(("value", "sentence"), [("", "Say which namespace"), ("secret", "is no connection string")])
def test_a_hub_needs_a_namespace(
    producer: type[Producer], monkeypatch: pytest.MonkeyPatch, value: str, sentence: str
) -> None:
    monkeypatch.setenv("EVENT_HUB_CONNECTION_STRING", value)
    result = CliRunner().invoke(app, ["simulate", "--event-hub", "devicedata"])
    assert result.exit_code == 1
    assert sentence in result.stderr
    assert "secret" not in result.stderr


def test_json_says_what_was_sent(producer: type[Producer]) -> None:
    arguments = ["simulate", "--at-once", "--devices", "2", "--duration", "60", "--event-hub", "devicedata", "--json"]
    result = CliRunner().invoke(app, arguments)
    sent = json.loads(result.stdout)
    assert (sent["messages"], sent["destination"]) == (12, "devicedata")
    assert sent["readings"] >= 12
    assert sum(len(bodies) for _, bodies in producer.sent) == 12
