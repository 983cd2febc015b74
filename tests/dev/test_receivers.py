"""Receivers of real hubs against the local namespace: Microsoft's client."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.eventhub import EventData, EventHubConsumerClient, TransportType
from azure.eventhub.exceptions import AuthenticationError, EventHubError

from tests.dev.conftest import SampleHost
from tests.dev.test_event_hubs import HUB, KEY, OTHER_KEY, Namespace, in_front_of
from tests.event_hubs_client import LEAVES_SOCKETS

pytestmark = LEAVES_SOCKETS

GROUP = "$Default"
"""No function of the sample app reads it."""
MORNING = datetime(2026, 3, 2, 8, tzinfo=UTC)


@pytest.fixture(scope="module")
def hubs(host: SampleHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespace]:
    """Partition 0 holds ten events of as many minutes."""
    with in_front_of(host, tmp_path_factory.mktemp("namespace")) as front:
        host.post_events(
            [
                {
                    "body": f"event {n}",
                    "partition": "0",
                    "enqueuedTime": (MORNING + timedelta(minutes=n)).isoformat(),
                    "properties": {"n": n, "real": 0.5, "text": "a", "yes": True, "nothing": None},
                    "systemProperties": {"message-id": f"m-{n}", "content-type": "application/json"},
                    "annotations": {"iothub-connection-device-id": "d1"},
                }
                for n in range(10)
            ]
        )
        yield front


def receive(hubs: Namespace, count: int, position: Any, partition: str = "0", **options: Any) -> list[EventData]:
    """The first `count` events from a position on. Raises what the hub answers in their place."""
    client = EventHubConsumerClient.from_connection_string(
        options.pop("connection", hubs.connection_string),
        options.pop("consumer_group", GROUP),
        eventhub_name=options.pop("hub", HUB),
        retry_total=0,
        transport_type=TransportType.Amqp,
    )
    received: list[EventData] = []
    faults: list[Exception] = []

    def take(_partition: Any, event: EventData) -> None:
        received.append(event)
        if len(received) == count:
            client.close()

    def fail(_partition: Any, fault: Exception) -> None:
        faults.append(fault)
        client.close()

    with client:
        client.receive(take, on_error=fail, partition_id=partition, starting_position=position, **options)
    if faults:
        raise faults[0]
    return received


def bodies(events: list[EventData]) -> list[str]:
    return [event.body_as_str() for event in events]


def test_an_event_says_all_that_the_hub_knows_of_it(hubs: Namespace) -> None:
    [event] = receive(hubs, 1, MORNING, starting_position_inclusive=True)
    assert event.body_as_str() == "event 0"
    assert (event.sequence_number, event.offset, event.enqueued_time) == (0, "0", MORNING)
    assert event.properties == {b"n": 0, b"real": 0.5, b"text": b"a", b"yes": True, b"nothing": None}
    assert (event.message_id, event.content_type) == ("m-0", "application/json")
    assert event.system_properties[b"iothub-connection-device-id"] == b"d1"
    assert event.partition_key is None


def test_a_partition_key_comes_with_it(hubs: Namespace) -> None:
    [position] = hubs.host.post_events([{"body": "keyed", "partitionKey": "device-7"}])
    [event] = receive(hubs, 1, position.sequence_number - 1, position.partition)
    assert (event.partition_key, event.body_as_str()) == (b"device-7", "keyed")


@pytest.mark.parametrize(
    ("position", "inclusive", "first"),
    [
        ("-1", False, 0),
        (-1, False, 0),
        (3, False, 4),
        (3, True, 3),
        (MORNING + timedelta(minutes=3), False, 4),
        (MORNING + timedelta(minutes=3), True, 3),
        (MORNING + timedelta(minutes=3, seconds=1), True, 4),
        (MORNING - timedelta(days=1), False, 0),
    ],
)
def test_positions(hubs: Namespace, position: Any, inclusive: bool, first: int) -> None:
    [event] = receive(hubs, 1, position, starting_position_inclusive=inclusive)
    assert event.sequence_number == first


@pytest.mark.parametrize(("inclusive", "first"), [(False, 6), (True, 5)])
def test_an_offset(hubs: Namespace, inclusive: bool, first: int) -> None:
    [fifth] = receive(hubs, 1, 4)
    [event] = receive(hubs, 1, fifth.offset, starting_position_inclusive=inclusive)
    assert event.sequence_number == first


@pytest.mark.parametrize("prefetch", [1, 3, 300])
def test_all_come_in_their_order_whatever_the_credit(hubs: Namespace, prefetch: int) -> None:
    assert bodies(receive(hubs, 10, "-1", prefetch=prefetch)) == [f"event {n}" for n in range(10)]


def test_events_that_come_later_are_received(hubs: Namespace) -> None:
    last = hubs.host.hub_state(HUB)["1"]["lastSequenceNumber"]
    client = EventHubConsumerClient.from_connection_string(hubs.connection_string, GROUP, eventhub_name=HUB)
    received: list[str] = []

    def take(_partition: Any, event: EventData | None) -> None:
        if event is None:
            hubs.host.post_events([{"body": "later", "partition": "1"}])
            return
        received.append(event.body_as_str())
        client.close()

    with client:
        client.receive(take, partition_id="1", starting_position=last, max_wait_time=0.1)
    assert received == ["later"]


def test_large_events_come_whole(hubs: Namespace) -> None:
    with hubs.producer() as producer:
        producer.send_batch([EventData(b"x" * 900_000)], partition_id="2")
    [event] = receive(hubs, 1, "-1", "2")
    assert b"".join(event.body) == b"x" * 900_000


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"consumer_group": "nobodys"}, "nobodys"),
        ({"hub": "nobody"}, "404"),
        ({"position": 1000}, "invalid"),
        ({"consumer_group": "patient"}, "owner level 0"),
        ({"consumer_group": "patient", "owner_level": 1}, "disable the function"),
    ],
)
def test_refusals_say_why(hubs: Namespace, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(EventHubError, match=reason):
        receive(hubs, 1, **{"position": "-1", **options})


def test_another_key_is_refused(hubs: Namespace) -> None:
    with pytest.raises(AuthenticationError):
        receive(hubs, 1, "-1", connection=hubs.connection_string.replace(KEY, OTHER_KEY))


@pytest.mark.parametrize(("level", "other", "wins"), [(0, None, False), (1, 0, False), (0, 0, True), (None, 5, True)])
def test_owner_levels(hubs: Namespace, level: int | None, other: int | None, wins: bool) -> None:
    """A receiver has the partition; another comes."""
    first = EventHubConsumerClient.from_connection_string(
        hubs.connection_string, GROUP, eventhub_name=HUB, retry_total=0
    )
    seconds: list[Exception | EventData] = []
    faults: list[Exception] = []

    def take(_partition: Any, event: EventData | None) -> None:
        if seconds:
            first.close()
        elif event is not None:
            try:
                seconds.extend(receive(hubs, 1, "-1", owner_level=other))
            except EventHubError as fault:
                seconds.append(fault)

    def fail(_partition: Any, fault: Exception) -> None:
        faults.append(fault)
        first.close()

    with first:
        options = {"owner_level": level, "prefetch": 1, "max_wait_time": 2}
        first.receive(take, on_error=fail, partition_id="0", starting_position="-1", **options)
    assert isinstance(seconds[0], EventData) == wins
    assert bool(faults) == wins


def test_a_receiver_is_told_when_the_host_goes(start: Callable[..., SampleHost], tmp_path: Path) -> None:
    host = start()
    with in_front_of(host, tmp_path / "namespace") as hubs:
        host.post_events([{"body": "one", "partition": "0"}])
        assert bodies(receive(hubs, 1, "-1")) == ["one"]
        host.host.kill()
        with pytest.raises(EventHubError):
            receive(hubs, 1, "-1")
        host.start_host()
        assert bodies(receive(hubs, 1, "-1")) == ["one"]


def test_the_namespaces_log_shows_nothing_of_an_event(hubs: Namespace) -> None:
    hubs.host.post_events([{"body": "sentinel", "properties": {"sentinel": "sentinel"}, "partition": "3"}])
    receive(hubs, 1, "-1", "3")
    assert "sentinel" not in hubs.log()
