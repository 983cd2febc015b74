"""From the events of the Event Hubs trigger to device events."""

import hashlib
from collections.abc import Sequence
from typing import Any

import azure.functions as func

from medtech.dotnet import ticks
from medtech.errors import Unavailable
from medtech.model import DeviceEvent


def read_events(events: Sequence[func.EventHubEvent]) -> list[DeviceEvent]:
    """The batch of one hub partition, in order.

    Application properties, system properties and the partition are not on the events but in the metadata of the batch.
    Each event parses the metadata anew, so it is read once, from the first event.

    Raises Unavailable if the metadata does not fit the batch: nothing is wrong with the events, so they wait.
    """
    if not events:
        return []
    metadata = events[0].metadata or {}
    context = metadata.get("PartitionContext") or {}
    partition = context.get("PartitionId")
    if partition is None:
        raise _unusable("the partition")
    hub = hub_name(
        context.get("FullyQualifiedNamespace") or "",
        context.get("EventHubName") or "",
        context.get("ConsumerGroup") or "",
    )
    properties = _one_for_each(events, metadata, "PropertiesArray")
    system_properties = _one_for_each(events, metadata, "SystemPropertiesArray")
    device_events: list[DeviceEvent] = []
    for event, application, system in zip(events, properties, system_properties, strict=True):
        if event.enqueued_time is None or event.sequence_number is None:
            raise _unusable("an enqueued time or sequence number")
        device_events.append(
            DeviceEvent(
                event.get_body(),
                application or {},
                system or {},
                ticks.from_datetime(event.enqueued_time),
                hub,
                str(partition),
                event.sequence_number,
            )
        )
    return device_events


def hub_name(namespace: str, event_hub: str, consumer_group: str) -> str:
    """The 8 hex digits that stand for where events came from, since the partitions of all hubs have the same numbers.

    Event Hubs names are not case-sensitive.
    """
    origin = f"{namespace}|{event_hub}|{consumer_group}".lower()
    return hashlib.sha256(origin.encode()).hexdigest()[:8]


def _one_for_each(events: Sequence[func.EventHubEvent], metadata: Any, name: str) -> list[dict[str, Any] | None]:
    values = metadata.get(name)
    if not isinstance(values, list) or len(values) != len(events):
        raise _unusable(f"{name} for each event")
    return values


def _unusable(what: str) -> Unavailable:
    return Unavailable(
        f"The Event Hubs trigger did not give {what}. Set the trigger's cardinality to `many`, and the extension "
        "bundle in host.json to 4.28 or later; the events stay in the hub until then."
    )
