"""Batches and the checkpoint rules: what the host does around a stand-in for a function, without a worker."""

import asyncio
import json
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from azure.core.exceptions import ServiceRequestError
from azure.storage.blob import ContainerClient

from dev import checkpoints
from dev.checkpoints import CONTAINER, Checkpoint, CheckpointStore, ConsumerGroup
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
    """A hub with one partition and a listener whose function returns the given results, then succeeds.

    `group` is the consumer group of one host; that of the next one knows what is in `store`, and nothing else.
    """

    def __init__(self, folder: Path, storage: str, retention: timedelta | None = None) -> None:
        self.hub = Hub(folder, 1, retention)
        self._container = ContainerClient.from_connection_string(storage, CONTAINER, retry_total=0)
        self.namespace = uuid.uuid4().hex
        self.store = CheckpointStore(self._container, f"{self.namespace}.Local", "Hub", "Group", "host-1")
        self.group = ConsumerGroup(self.hub, self.store)
        self.calls: list[Call] = []

    def blobs(self) -> dict[str, dict[str, str]]:
        """The names of the blobs, without the namespace, with their metadata."""
        prefix = f"{self.namespace}.local/"
        found = self._container.list_blobs(name_starts_with=prefix, include=["metadata"])
        # A list gives an empty text as nothing.
        return {
            blob.name.removeprefix(prefix): {name: text or "" for name, text in blob.metadata.items()} for blob in found
        }

    def close(self) -> None:
        self.hub.close()
        self._container.close()

    def put(self, count: int, **fields: Any) -> None:
        event = NewEvent(b"body", {}, {}, None, "0", None)._replace(**fields)
        self.hub.append([event] * count)

    @property
    def checkpoint(self) -> int:
        return self.group.done("0")

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
        listener = PartitionListener(
            function, self.hub, "0", self.group, "ns.local", options or EventHubOptions(), invoke, 0.01
        )
        running = asyncio.create_task(listener.run())
        async with asyncio.timeout(20):
            while not until():
                await asyncio.sleep(0.005)
        listener.stop()
        await running


@pytest.fixture
def rig(tmp_path: Path, azurite: str) -> Any:
    made = Rig(tmp_path, azurite)
    yield made
    made.close()


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


@pytest.mark.parametrize(
    ("which", "sequence_number", "read"),
    [(None, 1, [2]), (1, 1, [2]), (0, 1, [1, 2]), (None, -1, [0, 1, 2])],
    ids=["sequence number", "both", "the offset counts", "from the start"],
)
def test_a_listener_goes_on_from_the_checkpoint(
    rig: Rig, which: int | None, sequence_number: int, read: list[int]
) -> None:
    rig.put(3)
    offset = "" if which is None else rig.hub.partitions["0"].read(which, 1)[0].offset
    rig.store.write("0", Checkpoint(offset, sequence_number))
    asyncio.run(rig.listen(lambda: rig.checkpoint == 2))
    assert [call.sequence_numbers for call in rig.calls] == [read]


def test_checkpoint_and_ownership_are_the_extensions_blobs(rig: Rig) -> None:
    owner = ""

    def read_and_owned() -> bool:
        nonlocal owner
        owner = rig.blobs()["hub/group/ownership/0"]["ownerid"] if rig.checkpoint == 2 else ""
        return rig.checkpoint == 2

    rig.put(3)
    asyncio.run(rig.listen(read_and_owned))
    last = rig.hub.partitions["0"].read(2, 1)[0]
    assert owner == "host-1"
    assert rig.blobs() == {
        "hub/group/checkpoint/0": {"offset": last.offset, "sequencenumber": "2", "clientidentifier": "host-1"},
        "hub/group/ownership/0": {"ownerid": ""},
    }


def test_ownership_is_renewed_until_it_is_given_up(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "RENEWAL_SECONDS", 0.01)
    owned: list[str] = []

    def own(partition: str, own: Callable[[str], None] = rig.store.own) -> None:
        owned.append(partition)
        own(partition)

    monkeypatch.setattr(rig.store, "own", own)
    asyncio.run(rig.listen(lambda: len(owned) > 3))
    assert rig.blobs()["hub/group/ownership/0"] == {"ownerid": ""}


@pytest.mark.parametrize("number", ["", "x", "1.5", "--1", "9" * 19, "9" * 5000])
def test_a_checkpoint_without_a_position_is_none(rig: Rig, number: Any) -> None:
    rig.put(1)
    rig.store.write("0", Checkpoint("no offset", number))
    asyncio.run(rig.listen(lambda: rig.checkpoint == 0))
    assert [call.sequence_numbers for call in rig.calls] == [[0]]


@pytest.mark.parametrize("offset", ["x", "-2", "9" * 19, "9" * 5000])
def test_an_offset_that_no_event_has_stops_the_partition(
    rig: Rig, offset: str, caplog: pytest.LogCaptureFixture
) -> None:
    rig.put(1)
    rig.store.write("0", Checkpoint(offset, 0))
    asyncio.run(rig.listen(lambda: len(caplog.records) > 2))
    assert rig.calls == []


def test_a_checkpoint_beyond_the_end_stops_the_partition(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """As after a hub was deleted and created anew. Azure's extension says so again and again, and reads nothing."""
    rig.put(1)
    rig.store.write("0", Checkpoint("", 7))
    asyncio.run(rig.listen(lambda: len(caplog.records) > 2))
    assert rig.calls == []
    assert "The supplied sequence number '7' is invalid. The last sequence number in the system is '0'" in caplog.text


def test_a_checkpoint_that_cannot_be_written_brings_the_batch_back(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write, faults = rig.store.write, iter([ServiceRequestError("cut off")])

    def fails_once(partition: str, checkpoint: Checkpoint) -> None:
        for fault in faults:
            raise fault
        write(partition, checkpoint)

    monkeypatch.setattr(rig.store, "write", fails_once)
    rig.put(2)
    asyncio.run(rig.listen(lambda: rig.checkpoint == 1))
    assert [call.sequence_numbers for call in rig.calls] == [[0, 1], [0, 1]]
    assert "Partition 0 of hub: cut off" in caplog.text


def test_expired_events_are_passed_over(tmp_path: Path, azurite: str) -> None:
    rig = Rig(tmp_path, azurite, timedelta(hours=1))
    rig.put(3, enqueued_time=datetime(2026, 3, 2, 8, tzinfo=UTC))
    rig.store.write("0", Checkpoint("", 0))
    rig.put(2, enqueued_time=datetime.now(UTC))
    asyncio.run(rig.listen(lambda: rig.checkpoint == 4))
    assert [call.sequence_numbers for call in rig.calls] == [[3, 4]]
    rig.close()


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
            "x-opt-sequence-number-epoch": -1,
            "x-opt-sequence-number": 0,
            "x-opt-offset": 0,
            "x-opt-enqueued-time": "2026-03-02T08:00:00.25+00:00",
            "x-opt-partition-key": "key",
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
