"""From the events of the Event Hubs trigger to device events."""

import hashlib
from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Any, NamedTuple

import azure.functions as func

from medtech.dotnet import ticks
from medtech.errors import Unavailable
from medtech.ingest.deferred_events import DeferredEvents
from medtech.model import DeviceEvent


def read_events(events: Sequence[func.EventHubEvent]) -> list[DeviceEvent]:
    """The batch of one hub partition, in order.

    Application properties, system properties and the partition are not on the events but in the metadata of the batch,
    which is read once.

    Raises Unavailable if the metadata does not fit the batch: nothing is wrong with the events, so they wait.
    """
    if not events:
        return []
    batch = _Batch.of(events)
    context = batch.metadata("PartitionContext") or {}
    partition = context.get("PartitionId") if isinstance(context, dict) else None
    if partition is None:
        raise _unusable("the partition")
    hub = hub_name(
        context.get("FullyQualifiedNamespace") or "",
        context.get("EventHubName") or "",
        context.get("ConsumerGroup") or "",
    )
    fields = zip(
        batch.bodies,
        _one_for_each(batch, "PropertiesArray"),
        _one_for_each(batch, "SystemPropertiesArray"),
        batch.enqueued_times,
        repeat(hub),
        repeat(str(partition)),
        batch.sequence_numbers,
        strict=False,
    )
    # The same as the NamedTuple's constructor, in half the time.
    return [tuple.__new__(DeviceEvent, each) for each in fields]


class _Batch(NamedTuple):
    """What ingest needs of a batch, event by event; `enqueued_times` are ticks. `metadata` is asked for each entry."""

    bodies: Sequence[bytes]
    enqueued_times: Sequence[int]
    sequence_numbers: Sequence[int]
    metadata: Callable[[str], Any]

    @classmethod
    def of(cls, events: Sequence[func.EventHubEvent]) -> "_Batch":
        if isinstance(events, DeferredEvents):
            batch = events.undecoded
            return cls(batch.bodies, batch.enqueued_times, batch.sequence_numbers, batch.metadata)
        times: list[int] = []
        numbers: list[int] = []
        for event in events:
            if event.enqueued_time is None or event.sequence_number is None:
                raise _unusable("an enqueued time or sequence number")
            times.append(ticks.from_datetime(event.enqueued_time))
            numbers.append(event.sequence_number)
        return cls([event.get_body() for event in events], times, numbers, (events[0].metadata or {}).get)


def hub_name(namespace: str, event_hub: str, consumer_group: str) -> str:
    """The 8 hex digits that stand for where events came from, since the partitions of all hubs have the same numbers.

    Event Hubs names are not case-sensitive.
    """
    origin = f"{namespace}|{event_hub}|{consumer_group}".lower()
    return hashlib.sha256(origin.encode()).hexdigest()[:8]


def _one_for_each(batch: _Batch, name: str) -> list[dict[str, Any]]:
    values = batch.metadata(name)
    if not isinstance(values, list) or len(values) != len(batch.bodies):
        raise _unusable(f"{name} for each event")
    found = [each or {} for each in values]
    if set(map(type, found)) != {dict}:
        raise _unusable(f"{name} with an object for each event")
    return found


def _unusable(what: str) -> Unavailable:
    return Unavailable(
        f"The Event Hubs trigger did not give {what}. Set the trigger's cardinality to `many`, and the extension "
        "bundle in host.json to 4.28 or later; the events stay in the hub until then."
    )
