"""Senders of real hubs against the local namespace: Microsoft's client, a device without it, the REST call."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import httpx
import pytest
from azure.eventhub import EventData, EventDataBatch, EventHubProducerClient
from azure.eventhub.exceptions import AuthenticationError, EventHubError
from typer.testing import CliRunner

from dev.hub import MAX_EVENT_BYTES
from dev.namespace import KEY, KEY_NAME, connection_string, namespace, token
from dev.ports import choose_ports
from dev.processes import ROOT, node_command
from medtech.command import traffic
from medtech.command.line import app
from tests.dev.conftest import SampleHost
from tests.dev.waiting import wait_until
from tests.docs.markdown import read
from tests.event_hubs_client import LEAVES_SOCKETS

pytestmark = LEAVES_SOCKETS

HUB = "devicedata"
OTHER_KEY = "b3BlbnMgbm90aGluZyBhdCBhbGw="


class Namespace(NamedTuple):
    """The namespace in front of a host."""

    host: SampleHost
    amqp_port: int
    url: str
    log: Callable[[], str]

    @property
    def connection_string(self) -> str:
        return connection_string(self.amqp_port)

    def producer(self, hub: str = HUB, connection: str | None = None) -> EventHubProducerClient:
        return EventHubProducerClient.from_connection_string(
            connection or self.connection_string, eventhub_name=hub, retry_total=0
        )

    def post(
        self, path: str = f"{HUB}/messages", *, authorization: str | None = None, **request: Any
    ) -> httpx.Response:
        headers = {"Authorization": authorization or token(HUB), **request.pop("headers", {})}
        return httpx.post(f"{self.url}/{path}", headers=headers, **request)

    def read(self, count: int, function: str = "patient") -> list[dict[str, Any]]:
        """The last `count` events that a function was given, one by one, in the order in which it got them."""
        self.host.wait_until_read()
        events = [
            {
                "partition": batch["partition_context"]["PartitionId"],
                "body": batch["bodies"][n],
                "key": batch["partition_keys"][n],
                "properties": batch["properties"][n],
                "system": {k: v for k, v in batch["system_properties"][n].items() if not _is_of_the_hub(k)},
            }
            for batch in self.host.seen(function)
            for n in range(len(batch["bodies"]))
        ]
        return events[-count:]


def _is_of_the_hub(name: str) -> bool:
    return name.startswith("x-opt-") or name[0].isupper()


@contextmanager
def in_front_of(host: SampleHost, folder: Path) -> Iterator[Namespace]:
    amqp, rest = choose_ports({"--amqp-port": None, "--rest-port": None})
    server = namespace(folder, amqp, rest, host.host_url)
    server.start()
    try:
        server.wait_until_ready()
        yield Namespace(host, amqp, f"http://127.0.0.1:{rest}", lambda: server.log)
    finally:
        server.stop()


@pytest.fixture(scope="module")
def hubs(host: SampleHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespace]:
    with in_front_of(host, tmp_path_factory.mktemp("namespace")) as front:
        yield front


def test_one_event(hubs: Namespace) -> None:
    with hubs.producer() as producer:
        producer.send_event(EventData(b"\xff one"))
    assert hubs.read(1)[0]["body"] == "\xff one"


def test_a_batch_is_in_one_partition_in_its_order(hubs: Namespace) -> None:
    with hubs.producer() as producer:
        batch = producer.create_batch()
        for n in range(20):
            batch.add(EventData(f"batch {n}"))
        producer.send_batch(batch)
    events = hubs.read(20)
    assert [event["body"] for event in events] == [f"batch {n}" for n in range(20)]
    assert len({event["partition"] for event in events}) == 1


def test_a_partition_key_is_one_partition_however_it_is_sent(hubs: Namespace) -> None:
    [position] = hubs.host.post_events([{"body": "by the host", "partitionKey": "device-1"}])
    with hubs.producer() as producer:
        producer.send_batch([EventData("by a batch")], partition_key="device-1")
        producer.send_event(EventData("by itself"), partition_key="device-1")
    answer = hubs.post(content="by HTTP", headers={"BrokerProperties": '{"PartitionKey": "device-1"}'})
    assert answer.status_code == 201
    events = hubs.read(4)
    assert {event["partition"] for event in events} == {position.partition}
    assert {event["key"] for event in events} == {"device-1"}
    assert {event["body"] for event in events} == {"by the host", "by a batch", "by itself", "by HTTP"}


def test_a_partition_can_be_named(hubs: Namespace) -> None:
    with hubs.producer() as producer:
        producer.send_batch([EventData("to 2")], partition_id="2")
    assert hubs.post(f"{HUB}/partitions/2/messages", content="to 2 as well").status_code == 201
    assert [(event["partition"], event["body"]) for event in hubs.read(2)] == [("2", "to 2"), ("2", "to 2 as well")]


def test_those_without_a_key_take_turns(hubs: Namespace) -> None:
    with hubs.producer() as producer:
        for n in range(4):
            producer.send_batch([EventData(f"turn {n}")])
    assert sorted(event["partition"] for event in hubs.read(4)) == ["0", "1", "2", "3"]


def test_an_event_by_amqp_reaches_the_function_as_one_by_the_hosts_own_endpoint(hubs: Namespace) -> None:
    properties = {"text": "a", "number": 5, "real": 72.0, "yes": True, "nothing": None, "list": "[1]"}
    with hubs.producer() as producer:
        event = EventData('{"a": 1}')
        event.properties = properties
        event.content_type, event.message_id, event.correlation_id = "application/json", "m-1", "c-1"
        producer.send_batch([event], partition_key="same")
    [by_amqp] = hubs.read(1)
    system = {"content-type": "application/json", "message-id": "m-1", "correlation-id": "c-1"}
    hubs.host.post_events(
        [{"body": '{"a": 1}', "properties": properties, "systemProperties": system, "partitionKey": "same"}]
    )
    assert [by_amqp] == hubs.read(1)
    assert repr(by_amqp["properties"]["real"]) == "72.0"


def test_what_json_has_not_is_as_azure_writes_it(hubs: Namespace) -> None:
    moment = datetime(2026, 3, 2, 8, 0, 0, 250000, tzinfo=UTC)
    with hubs.producer() as producer:
        event = EventData("")
        event.properties = {"bytes": b"\xff\x00", "uuid": UUID(int=1), "time": moment}
        producer.send_batch([event])
    assert hubs.read(1)[0]["properties"] == {
        "bytes": "/wA=",
        "uuid": str(UUID(int=1)),
        "time": "2026-03-02T08:00:00.25Z",
    }


def device(hubs: Namespace, address: str = HUB, key: str = KEY) -> str:
    script = Path(__file__).with_name("device.mjs")
    command = node_command(script, str(hubs.amqp_port), KEY_NAME, key, address)
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return ended.stdout.strip()


def test_a_device_without_microsofts_client(hubs: Namespace) -> None:
    assert device(hubs) == "accepted"
    [event] = hubs.read(1)
    assert event["body"] == '{"a":1}'
    assert event["properties"] == {
        "long": 2**60 - 1,
        "ulong": 2**64 - 1,
        "negative": -5,
        "whole": 72.0,
        "half": 0.5,
        "single": 0.1,
        "none": "Infinity",
        "yes": True,
        "nothing": None,
        "symbol": "s",
        "char": "\N{DEGREE CELSIUS}",
        "uuid": "00112233-4455-6677-8899-aabbccddeeff",
        "bytes": "ABEiM0RVZneImaq7zN3u/w==",
        "time": "2026-03-02T08:00:00.25Z",
        "offset": "2026-03-02T08:00:00.123+00:00",
    }
    assert event["system"] == {
        "message-id": "m-1",
        "content-type": "application/json",
        "creation-time": "2026-03-02T08:00:00.25+00:00",
        "group-sequence": 7,
        "iothub-connection-device-id": "d1",
        "my-own": "a",
    }
    assert event["key"] is None


@pytest.mark.parametrize(
    ("address", "condition"),
    [
        ("nobody", "amqp:not-found"),
        (f"{HUB}/Partitions/9", "amqp:argument-out-of-range"),
        (f"{HUB}/Publishers/d1", "amqp:not-found"),
    ],
)
def test_a_device_is_told_what_is_not_there(hubs: Namespace, address: str, condition: str) -> None:
    assert device(hubs, address) == condition


def test_a_device_with_another_key_is_not_let_in(hubs: Namespace) -> None:
    assert device(hubs, key=OTHER_KEY) == "amqp:unauthorized-access"


def test_properties_of_hub_and_partition(hubs: Namespace) -> None:
    with hubs.producer() as producer:
        assert producer.get_eventhub_properties()["partition_ids"] == ["0", "1", "2", "3"]
        before = producer.get_partition_properties("3")
        producer.send_batch([EventData("a"), EventData("b")], partition_id="3")
        after = producer.get_partition_properties("3")
    assert after["last_enqueued_sequence_number"] == before["last_enqueued_sequence_number"] + 2
    assert after["beginning_sequence_number"] == 0
    assert int(after["last_enqueued_offset"]) > int(before["last_enqueued_offset"])
    assert not after["is_empty"]


def test_more_than_a_mebibyte_is_refused(hubs: Namespace) -> None:
    with hubs.producer() as producer:
        assert producer.create_batch().max_size_in_bytes == MAX_EVENT_BYTES
        too_large = EventDataBatch(max_size_in_bytes=2 * MAX_EVENT_BYTES)
        too_large.add(EventData(b"x" * MAX_EVENT_BYTES))
        with pytest.raises(EventHubError, match="at most 1048576"):
            producer.send_batch(too_large)
    assert hubs.post(content=b"x" * (MAX_EVENT_BYTES + 1)).status_code == 413


def test_another_key_is_refused(hubs: Namespace) -> None:
    connection = hubs.connection_string.replace(KEY, OTHER_KEY)
    with hubs.producer(connection=connection) as producer, pytest.raises(AuthenticationError, match="401"):
        producer.send_batch([EventData("a")])


def test_another_hub_is_not_found(hubs: Namespace) -> None:
    with hubs.producer("nobody") as producer, pytest.raises(EventHubError, match="404"):
        producer.send_batch([EventData("a")])


def test_names_of_hubs_are_not_case_sensitive(hubs: Namespace) -> None:
    with hubs.producer("DeviceData") as producer:
        producer.send_batch([EventData("in capitals")])
    assert hubs.read(1)[0]["body"] == "in capitals"


def test_what_was_accepted_survives_the_host(start: Callable[..., SampleHost], tmp_path: Path) -> None:
    host = start()
    with in_front_of(host, tmp_path / "namespace") as hubs, hubs.producer() as producer:
        producer.send_batch([EventData("before")])
        host.host.kill()
        with pytest.raises(EventHubError):
            producer.send_batch([EventData("refused")])
        assert hubs.post(content="refused").status_code == 503
        host.start_host()
        with hubs.producer() as second:
            second.send_batch([EventData("after")])
        assert sorted(event["body"] for event in hubs.read(3)) == ["after", "before"]


def test_rest_headers_are_properties(hubs: Namespace) -> None:
    headers = {"Alert": '"Strong Wind"', "Level": "3", "Content-Type": "application/atom+xml;type=entry;charset=utf-8"}
    answer = hubs.post(content=b'{"a": 1}\xff', headers=headers)
    assert (answer.status_code, answer.content) == (201, b"")
    [event] = hubs.read(1)
    assert event["body"] == '{"a": 1}\xff'
    assert {name.lower(): value for name, value in event["properties"].items()} == {
        "alert": "Strong Wind",
        "level": "3",
    }


BATCH = {"Content-Type": "application/vnd.microsoft.servicebus.json"}


def test_a_rest_batch(hubs: Namespace) -> None:
    messages = [{"Body": '{"a": 1}', "UserProperties": {"n": 1, "t": "x"}}, {"Body": "\N{DEGREE CELSIUS}"}]
    assert hubs.post(content=json.dumps(messages), headers=BATCH).status_code == 201
    first, second = hubs.read(2)
    assert (first["body"], first["properties"]) == ('{"a": 1}', {"n": 1, "t": "x"})
    assert second["body"].encode("latin-1").decode() == "\N{DEGREE CELSIUS}"
    assert first["partition"] == second["partition"]


@pytest.mark.parametrize(
    ("authorization", "reason"),
    [
        ("Bearer secret", "MalformedToken"),
        (token(HUB, key=OTHER_KEY), "InvalidSignature"),
        (token(HUB, valid_seconds=-1), "ExpiredToken"),
        (token("other"), "InvalidToken"),
        (token(HUB).replace(KEY_NAME, "root"), "InvalidSignature"),
    ],
)
def test_rest_wants_a_token(hubs: Namespace, authorization: str, reason: str) -> None:
    answer = hubs.post(authorization=authorization, content="a")
    assert answer.status_code == 401
    assert reason in answer.text
    assert "secret" not in answer.text


def test_rest_without_a_token_is_refused(hubs: Namespace) -> None:
    answer = httpx.post(f"{hubs.url}/{HUB}/messages", content="a")
    assert answer.status_code == 401
    assert "MissingToken" in answer.text


@pytest.mark.parametrize(
    ("path", "content", "headers", "status", "reason"),
    [
        (f"{HUB}/partitions/9/messages", "a", {}, 400, "between 0 and 3"),
        (f"{HUB}/messages", "secret", BATCH, 400, "not valid JSON"),
        (f"{HUB}/messages", '["secret"]', BATCH, 400, "a text as its Body"),
        (f"{HUB}/messages", "[]", BATCH, 400, "a text as its Body"),
        (f"{HUB}/messages", "a", {"BrokerProperties": "secret"}, 400, "not valid JSON"),
        (f"{HUB}/messages", "a", {"BrokerProperties": '{"PartitionKey": 1}'}, 400, "must be a text"),
        (HUB, "a", {}, 404, "/HUB/messages"),
    ],
)
def test_rest_refusals_say_why_and_show_no_content(
    hubs: Namespace, path: str, content: str, headers: dict[str, str], status: int, reason: str
) -> None:
    answer = hubs.post(path, content=content, headers=headers)
    assert answer.status_code == status
    assert reason in answer.text
    assert "secret" not in answer.text


def test_rest_does_not_know_another_hub(hubs: Namespace) -> None:
    assert hubs.post("nobody/messages", authorization=token("nobody"), content="a").status_code == 404


def test_a_client_that_speaks_no_amqp_does_no_harm(hubs: Namespace) -> None:
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"http://127.0.0.1:{hubs.amqp_port}/")
    with hubs.producer() as producer:
        producer.send_batch([EventData("still up")])
    assert hubs.read(1)[0]["body"] == "still up"


def test_the_namespaces_log_shows_nothing_of_an_event(hubs: Namespace) -> None:
    with hubs.producer() as producer:
        event = EventData("sentinel-body")
        event.properties = {"sentinel-name": "sentinel-value"}
        producer.send_batch([event])
    hubs.post(content="sentinel-rest", headers=BATCH)
    hubs.host.wait_until_read()
    assert "sentinel" not in hubs.log()


SIMULATE = ["simulate", "--at-once", "--devices", "3", "--duration", "60", "--event-hub", HUB]


def test_simulated_devices_each_keep_to_a_partition(hubs: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENT_HUB_CONNECTION_STRING", hubs.connection_string)
    result = CliRunner().invoke(app, [*SIMULATE, "--json"])
    assert result.exit_code == 0, result.stderr
    sent = json.loads(result.stdout)
    assert (sent["messages"], sent["destination"]) == (18, HUB)
    events = hubs.read(18)
    partitions = {(event["key"], event["partition"]) for event in events}
    assert sorted(key for key, _ in partitions) == [traffic.device_id(n) for n in (1, 2, 3)]
    for device_id in {key for key, _ in partitions}:
        times = [json.loads(event["body"]) for event in events if event["key"] == device_id]
        assert len(times) == 6


def test_simulate_says_what_to_check_when_the_hub_refuses(hubs: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENT_HUB_CONNECTION_STRING", hubs.connection_string.replace(KEY, OTHER_KEY))
    result = CliRunner().invoke(app, SIMULATE)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "The hub did not take the events (AuthenticationError): check" in result.stderr
    assert OTHER_KEY not in result.stderr


def example(language: str) -> str:
    """The block of a language in the section of docs/develop.md about sending that names the hub by the environment."""
    blocks = read(ROOT / "docs" / "develop.md").code(language, "send-from-a-device-or-an-sdk")
    [block] = [each for each in blocks if "EVENT_HUB_" in each]
    return block


@pytest.mark.parametrize("command", [[sys.executable, "-c", example("python")], ["sh", "-c", example("sh")]])
def test_the_examples_of_the_documentation_send(hubs: Namespace, command: list[str]) -> None:
    addresses = {
        "EVENT_HUB_CONNECTION_STRING": f"{hubs.connection_string};EntityPath={HUB}",
        "EVENT_HUB_URL": f"{hubs.url}/{HUB}/messages",
    }
    ended = subprocess.run(command, cwd=ROOT, env=os.environ | addresses, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    [event] = hubs.read(1)
    assert (event["key"], json.loads(event["body"])["heartRate"]) == ("device-01", 71)


def test_both_servers_end_with_the_namespace(host: SampleHost, tmp_path: Path) -> None:
    with in_front_of(host, tmp_path) as hubs:
        url = hubs.url
    wait_until(lambda: _is_gone(url))


def _is_gone(url: str) -> bool:
    try:
        httpx.get(url)
    except httpx.ConnectError:
        return True
    return False
