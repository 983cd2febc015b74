"""Batches as the Functions host delivers them: made by Microsoft's own converter from a trigger's metadata."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import azure.functions as func
from azure.functions.eventhub import EventHubTriggerConverter
from azure.functions.meta import Datum


@dataclass(frozen=True)
class Sent:
    """A message in the hub; `enqueued_time` as the host writes it: ISO 8601, UTC, without a zone."""

    body: bytes
    sequence_number: int
    enqueued_time: str = "2022-03-12T12:00:00"
    properties: Mapping[str, Any] = field(default_factory=dict)
    system_properties: Mapping[str, Any] = field(default_factory=dict)


def deliver(
    messages: Sequence[Sent], partition: str = "3", event_hub: str = "devicedata", **changes: Any
) -> list[func.EventHubEvent]:
    """The events of a batch, cardinality many; `changes` replace parts of the metadata."""
    context = {
        "FullyQualifiedNamespace": "namespace.servicebus.windows.net",
        "EventHubName": event_hub,
        "ConsumerGroup": "$Default",
        "PartitionId": partition,
        "IsCheckpointingAfterInvocation": True,
    }
    numbers = [message.sequence_number for message in messages]
    times = [message.enqueued_time for message in messages]
    metadata = {
        "PartitionContext": context,
        "TriggerPartitionContext": context,
        "PartitionKeyArray": [None for _ in messages],
        "OffsetArray": [str(number * 64) for number in numbers],
        "OffsetStringArray": [str(number * 64) for number in numbers],
        "SequenceNumberArray": numbers,
        "EnqueuedTimeUtcArray": times,
        "PropertiesArray": [dict(message.properties) for message in messages],
        "SystemPropertiesArray": [
            {
                **message.system_properties,
                "SequenceNumber": message.sequence_number,
                "Offset": message.sequence_number * 64,
                "OffsetString": str(message.sequence_number * 64),
                "PartitionKey": None,
                "EnqueuedTimeUtc": message.enqueued_time,
            }
            for message in messages
        ],
    } | changes
    bodies = SimpleNamespace(bytes=[message.body for message in messages])
    events: list[func.EventHubEvent] = EventHubTriggerConverter.decode(
        Datum(bodies, "collection_bytes"),
        trigger_metadata={name: Datum(json.dumps(value), "json") for name, value in metadata.items()},
    )
    return events
