"""Event Hubs trigger: the events of a partition become batches, and batches move the checkpoint.

The rules of Functions (extension bundle 4.28 and later) that the product's durability rests on:

- one batch at a time per partition; it waits until `minEventBatchSize` events are there or `maxWaitTime` has passed
- the checkpoint advances when the function succeeds, and also when it fails, **unless** it has a retry policy
- with a retry policy the same batch is invoked again, and the checkpoint waits until it succeeds or its retries run out
- a worker that dies is a failure like any other; a host that stops leaves the checkpoint where it was
- a listener that loses its partition to another finishes the batch in hand, and its checkpoint stays where it was
- a checkpoint that cannot be read or written ends the listener; the next one begins at the checkpoint that is stored
- events that have expired are passed over without a word, also those that the checkpoint has not reached
"""

import asyncio
import json
import logging
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from math import inf
from typing import Any

from azure.core.exceptions import AzureError

from dev.checkpoints import ConsumerGroup
from dev.functions import EventHubTrigger, Function
from dev.host_config import EventHubOptions
from dev.hub import Hub, PositionInvalid, StoredEvent
from dev.rpc import messages
from dev.worker_process import InvocationResult

log = logging.getLogger("Host.EventHubs")

RESTART_SECONDS = 10.0
"""How long a partition whose listener has ended with an error waits for the next one: the extension looks for such
partitions every so often (loadBalancingUpdateInterval)."""

Invoke = Callable[[Any, dict[str, Any], tuple[int, int]], Coroutine[Any, Any, InvocationResult]]
"""Runs the function once. Arguments: value, trigger metadata, (number of this retry, maximum of retries)."""


class PartitionListener:
    """Delivers one partition to one function until it is stopped."""

    def __init__(
        self,
        function: Function,
        hub: Hub,
        partition: str,
        consumer_group: ConsumerGroup,
        namespace: str,
        options: EventHubOptions,
        invoke: Invoke,
        longest_wait_seconds: float = inf,
    ) -> None:
        assert isinstance(function.trigger, EventHubTrigger)
        self._function = function
        self._trigger = function.trigger
        self._hub = hub
        self._partition = hub.partitions[partition]
        self._partition_id = partition
        self._consumer_group = consumer_group
        self._namespace = namespace
        self._options = options
        self._invoke = invoke
        self._longest_wait_seconds = longest_wait_seconds
        self._stopping = asyncio.Event()
        self._lost = False

    def reads(self, hub: Hub, partition: str) -> bool:
        return hub.partitions.get(partition) is self._partition

    async def run(self, first: int | None = None) -> None:
        """Delivers, from the checkpoint or from an earlier sequence number `first` on, until `stop` or `lose`: a
        running batch is finished first, a batch that waits for its retry is abandoned."""
        while not self._stopping.is_set():
            try:
                position = await self._consumer_group.begin(self._partition_id, first)
                over = asyncio.Event()
                holding = asyncio.create_task(self._consumer_group.hold(self._partition_id, over))
                try:
                    await self._deliver_from(position)
                finally:
                    over.set()
                    await holding  # a renewal on its way must not come after the partition is given up
                if not self._lost:
                    await self._consumer_group.end(self._partition_id)
            except (AzureError, PositionInvalid) as error:
                first = None
                log.error("Partition %s of %s: %s", self._partition_id, self._trigger.event_hub, error)
                seconds = min(RESTART_SECONDS, self._longest_wait_seconds)
                await self._unless_stopped(asyncio.Event().wait(), seconds)

    async def _deliver_from(self, position: int) -> None:
        """Returns after `stop` or `lose`. Raises AzureError if a checkpoint cannot be written."""
        batches = 0
        while (events := await self._next_batch(position)) is not None:
            batches += 1
            checkpointing = batches >= self._options.batch_checkpoint_frequency
            if not await self._deliver(events, checkpointing) or self._lost:
                return
            position = events[-1].sequence_number + 1
            if checkpointing:
                await self._consumer_group.advance(self._partition_id, events[-1])
                batches = 0

    def stop(self) -> None:
        self._stopping.set()

    def lose(self) -> None:
        """Another listener owns the partition: the batch in hand is finished, but no longer moves the checkpoint."""
        self._lost = True
        self._stopping.set()

    def successor(self, first: int | None = None) -> "PartitionListener":
        """A listener of the same partition for the same function, which is to run from `first`."""
        if first is not None:
            # At once: who waits until all is read must not find that it is, before the listener has begun.
            self._consumer_group.begins_at(self._partition_id, first)
        return PartitionListener(
            self._function,
            self._hub,
            self._partition_id,
            self._consumer_group,
            self._namespace,
            self._options,
            self._invoke,
            self._longest_wait_seconds,
        )

    async def _next_batch(self, position: int) -> list[StoredEvent] | None:
        """The next events from a sequence number on; None once the listener is told to stop."""
        while not self._stopping.is_set():
            position = max(position, self._partition.first_sequence_number)
            await self._unless_stopped(self._partition.wait_for(position))
            enough = self._partition.wait_for(position + self._options.min_event_batch_size - 1)
            await self._unless_stopped(enough, self._options.max_wait_seconds)
            if not self._stopping.is_set() and (
                events := self._partition.read(position, self._options.max_event_batch_size)
            ):
                return events
        return None

    async def _deliver(self, events: Sequence[StoredEvent], checkpointing: bool) -> bool:
        """Invokes the function as often as its retry policy allows; returns whether the checkpoint may advance."""
        policy = self._function.retry
        value, metadata = self._value(events), self._metadata(events, checkpointing)
        retry = 0
        while True:
            most = 0 if policy is None else policy.max_retry_count
            result = await self._invoke(value, metadata, (retry, most))
            if result.failure is None or policy is None or not policy.allows(retry + 1):
                return True
            retry += 1
            delay_seconds = min(policy.delay_seconds(retry), self._longest_wait_seconds)
            await self._unless_stopped(asyncio.Event().wait(), delay_seconds)
            if self._stopping.is_set():
                return False

    async def _unless_stopped(self, awaited: Coroutine[Any, Any, Any], timeout_seconds: float | None = None) -> None:
        """Returns at the first of three events: the awaitable is done, the time is over, `stop` is called."""
        stop = asyncio.create_task(self._stopping.wait())
        task = asyncio.create_task(awaited)
        await asyncio.wait({stop, task}, timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
        for each in (stop, task):
            each.cancel()
            with suppress(asyncio.CancelledError):
                await each

    def _value(self, events: Sequence[StoredEvent]) -> Any:
        if self._trigger.binary:
            return messages.TypedData(collection_bytes=messages.CollectionBytes(bytes=[e.body for e in events]))
        # Without dataType binary Azure's host decodes bodies to text, which damages what is not UTF-8.
        texts = [event.body.decode(errors="replace") for event in events]
        return messages.TypedData(collection_string=messages.CollectionString(string=texts))

    def _metadata(self, events: Sequence[StoredEvent], checkpointing: bool) -> dict[str, Any]:
        context = {
            "FullyQualifiedNamespace": self._namespace,
            "EventHubName": self._trigger.event_hub,
            "ConsumerGroup": self._trigger.consumer_group,
            "PartitionId": self._partition_id,
        }
        times = [_enqueued_time(event) for event in events]
        fields: dict[str, Any] = {
            "PartitionContext": context,
            "TriggerPartitionContext": context | {"IsCheckpointingAfterInvocation": checkpointing},
            "PartitionKeyArray": [event.partition_key for event in events],
            "OffsetArray": [event.offset for event in events],
            "OffsetStringArray": [event.offset for event in events],
            "SequenceNumberArray": [event.sequence_number for event in events],
            "EnqueuedTimeUtcArray": times,
            "PropertiesArray": [event.properties for event in events],
            "SystemPropertiesArray": [
                _system_properties(event, time) for event, time in zip(events, times, strict=True)
            ],
        }
        return {name: messages.TypedData(json=json.dumps(field)) for name, field in fields.items()}


def _system_properties(event: StoredEvent, time: str) -> dict[str, Any]:
    """AMQP's names for what the hub says of an event, then the extension's."""
    offset = int(event.offset)
    return {
        **event.system_properties,
        "x-opt-sequence-number-epoch": -1,
        "x-opt-sequence-number": event.sequence_number,
        "x-opt-offset": offset,
        "x-opt-enqueued-time": f"{time}+00:00",
        **({} if event.partition_key is None else {"x-opt-partition-key": event.partition_key}),
        "SequenceNumber": event.sequence_number,
        "Offset": offset,
        "OffsetString": event.offset,
        "PartitionKey": event.partition_key,
        "EnqueuedTimeUtc": time,
    }


def _enqueued_time(event: StoredEvent) -> str:
    """UTC without `Z` or trailing zeros: a .NET DateTime of unspecified kind, as the real host writes it."""
    text = event.enqueued_time.strftime("%Y-%m-%dT%H:%M:%S")
    milliseconds = event.enqueued_time.microsecond // 1000
    return f"{text}.{milliseconds:03d}".rstrip("0") if milliseconds else text
