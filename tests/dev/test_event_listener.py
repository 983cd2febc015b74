"""Batches and the checkpoint rules: what the host does around a stand-in for a function, without a worker."""

import asyncio
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from dev.event_listener import PartitionListener
from dev.functions import EventHubTrigger, Function, RetryPolicy
from dev.host_config import EventHubOptions
from dev.hub import Hub, NewEvent
from dev.worker_process import Failure, InvocationResult

FAILED = InvocationResult(None, Failure("failed", ""))
SUCCEEDED = InvocationResult(None, None)


class Call(NamedTuple):
    value: Any
    metadata: dict[str, Any]
    retry: tuple[int, int]

    @property
    def sequence_numbers(self) -> list[int]:
        return self.json("SequenceNumberArray")

    def json(self, name: str) -> Any:
        return json.loads(self.metadata[name].json)


class Rig:
    """A hub with one partition and a listener whose function returns the given results, then succeeds."""

    def __init__(self, folder: Path) -> None:
        self.hub = Hub(folder, 1)
        self.calls: list[Call] = []

    def put(self, count: int, **fields: Any) -> None:
        event = NewEvent(b"body", {}, {}, None, "0", None)._replace(**fields)
        self.hub.append([event] * count)

    @property
    def checkpoint(self) -> int:
        return self.hub.checkpoints("group").get("0")

    async def listen(
        self,
        until: Callable[[], bool],
        *,
        results: Sequence[InvocationResult] = (),
        policy: RetryPolicy | None = None,
        options: EventHubOptions | None = None,
        binary: bool = True,
    ) -> None:
        answers = iter(results)

        async def invoke(value: Any, metadata: dict[str, Any], retry: tuple[int, int]) -> InvocationResult:
            self.calls.append(Call(value, metadata, retry))
            return next(answers, SUCCEEDED)

        trigger = EventHubTrigger("events", "hub", "group", "Connection", binary)
        function = Function("f", "1", trigger, policy, False, None)
        listener = PartitionListener(function, self.hub, "0", "ns.local", options or EventHubOptions(), invoke)
        running = asyncio.create_task(listener.run())
        async with asyncio.timeout(20):
            while not until():
                await asyncio.sleep(0.005)
        listener.stop()
        await running


@pytest.fixture
def rig(tmp_path: Path) -> Any:
    made = Rig(tmp_path)
    yield made
    made.hub.close()


def test_a_batch_holds_at_most_the_maximum(rig: Rig) -> None:
    rig.put(7)
    asyncio.run(rig.listen(lambda: rig.checkpoint == 6, options=EventHubOptions(max_event_batch_size=3)))
    assert [call.sequence_numbers for call in rig.calls] == [[0, 1, 2], [3, 4, 5], [6]]


def test_a_batch_waits_for_the_minimum(rig: Rig) -> None:
    rig.put(2)

    async def run() -> None:
        options = EventHubOptions(min_event_batch_size=3, max_wait_seconds=3600)
        listening = asyncio.create_task(rig.listen(lambda: rig.checkpoint == 2, options=options))
        await asyncio.sleep(0.1)
        rig.put(1)
        await listening

    asyncio.run(run())
    assert [call.sequence_numbers for call in rig.calls] == [[0, 1, 2]]


def test_the_wait_for_the_minimum_ends(rig: Rig) -> None:
    rig.put(2)
    options = EventHubOptions(min_event_batch_size=3, max_wait_seconds=0.05)
    asyncio.run(rig.listen(lambda: rig.checkpoint == 1, options=options))
    assert [call.sequence_numbers for call in rig.calls] == [[0, 1]]


@pytest.mark.parametrize(
    ("results", "policy", "retries"),
    [
        ([SUCCEEDED], None, [(0, 0)]),
        ([FAILED], None, [(0, 0)]),
        ([FAILED, FAILED, SUCCEEDED], RetryPolicy(-1, 0, 0), [(0, -1), (1, -1), (2, -1)]),
        ([FAILED, SUCCEEDED], RetryPolicy(2, 0, 0), [(0, 2), (1, 2)]),
        ([FAILED] * 3, RetryPolicy(2, 0, 0), [(0, 2), (1, 2), (2, 2)]),
    ],
    ids=["success", "failure without policy loses", "retried for ever", "retried", "retries run out"],
)
def test_when_the_checkpoint_advances(
    rig: Rig, results: list[InvocationResult], policy: RetryPolicy | None, retries: list[tuple[int, int]]
) -> None:
    rig.put(1)
    asyncio.run(rig.listen(lambda: rig.checkpoint == 0, results=results, policy=policy))
    assert [call.retry for call in rig.calls] == retries
    assert {tuple(call.sequence_numbers) for call in rig.calls} == {(0,)}


def test_a_stop_during_the_wait_for_a_retry_leaves_the_checkpoint(rig: Rig) -> None:
    rig.put(1)
    asyncio.run(rig.listen(lambda: len(rig.calls) == 1, results=[FAILED], policy=RetryPolicy(-1, 3600, 3600)))
    assert rig.checkpoint == -1


def test_a_listener_goes_on_from_the_checkpoint(rig: Rig) -> None:
    rig.put(3)
    rig.hub.checkpoints("group").advance("0", 1)
    asyncio.run(rig.listen(lambda: rig.checkpoint == 2))
    assert [call.sequence_numbers for call in rig.calls] == [[2]]


def test_a_lower_checkpoint_frequency_checkpoints_every_so_many_batches(rig: Rig) -> None:
    rig.put(5)
    options = EventHubOptions(max_event_batch_size=1, batch_checkpoint_frequency=2)
    asyncio.run(rig.listen(lambda: len(rig.calls) == 5, options=options))
    assert rig.checkpoint == 3
    flags = [call.json("TriggerPartitionContext")["IsCheckpointingAfterInvocation"] for call in rig.calls]
    assert flags == [False, True, False, True, False]


def test_metadata_is_the_real_hosts(rig: Rig) -> None:
    rig.put(
        1,
        properties={"p": 1},
        system_properties={"iothub-connection-device-id": "d1"},
        partition_key="key",
        enqueued_time=datetime(2026, 3, 2, 8, 0, 0, 250000, tzinfo=UTC),
    )
    asyncio.run(rig.listen(lambda: rig.checkpoint == 0))
    call = rig.calls[0]
    context = {
        "FullyQualifiedNamespace": "ns.local",
        "EventHubName": "hub",
        "ConsumerGroup": "group",
        "PartitionId": "0",
    }
    assert call.json("PartitionContext") == context
    assert call.json("TriggerPartitionContext") == context | {"IsCheckpointingAfterInvocation": True}
    assert call.json("PropertiesArray") == [{"p": 1}]
    assert call.json("EnqueuedTimeUtcArray") == ["2026-03-02T08:00:00.25"]
    assert call.json("PartitionKeyArray") == ["key"]
    assert call.json("OffsetArray") == call.json("OffsetStringArray") == ["0"]
    assert call.json("SystemPropertiesArray") == [
        {
            "iothub-connection-device-id": "d1",
            "SequenceNumber": 0,
            "Offset": 0,
            "OffsetString": "0",
            "PartitionKey": "key",
            "EnqueuedTimeUtc": "2026-03-02T08:00:00.25",
        }
    ]


@pytest.mark.parametrize(("binary", "body"), [(True, b"\xff"), (False, "\N{REPLACEMENT CHARACTER}")])
def test_bodies_are_spoiled_unless_the_trigger_is_binary(rig: Rig, binary: bool, body: bytes | str) -> None:
    rig.put(1, body=b"\xff")
    asyncio.run(rig.listen(lambda: rig.checkpoint == 0, binary=binary))
    value = rig.calls[0].value
    assert list(value.collection_bytes.bytes if binary else value.collection_string.string) == [body]
