"""Batches as the Functions host delivers them: made by Microsoft's own converter from a trigger's metadata.

`untouched` is that converter as the library has it, whatever else of the app is imported; `deferring` as ingest has it.
"""

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import azure.functions as func
from azure.functions.eventhub import EventHubTriggerConverter
from azure.functions.meta import Datum

from medtech.ingest.deferred_events import defer_decoding

untouched: Callable[..., Any] = inspect.unwrap(EventHubTriggerConverter.decode)


def deferred(decode: Callable[..., Any] = untouched) -> Callable[..., Any]:
    """A converter's `decode` as ingest has it."""
    converter = SimpleNamespace(decode=decode)
    defer_decoding(converter)
    return converter.decode


deferring = deferred()


@dataclass(frozen=True)
class Sent:
    """A message in the hub; `enqueued_time` as the host writes it: ISO 8601, UTC, without a zone."""

    body: bytes
    sequence_number: int
    enqueued_time: str = "2022-03-12T12:00:00"
    properties: Mapping[str, Any] = field(default_factory=dict)
    system_properties: Mapping[str, Any] = field(default_factory=dict)


def deliver(
    messages: Sequence[Sent],
    partition: str = "3",
    event_hub: str = "devicedata",
    *,
    decode: Callable[..., Any] = deferring,
    **changes: Any,
) -> list[func.EventHubEvent]:
    """The events of a batch, cardinality many; `changes` replace parts of the metadata."""
    data, metadata = datums(messages, partition, event_hub, **changes)
    events: list[func.EventHubEvent] = decode(data, trigger_metadata=metadata)
    return events


def datums(
    messages: Sequence[Sent], partition: str = "3", event_hub: str = "devicedata", **changes: Any
) -> tuple[Datum, dict[str, Datum]]:
    """What a converter is given for such a batch: the bodies and the metadata."""
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
    texts = {name: Datum(json.dumps(value), "json") for name, value in metadata.items()}
    return Datum(bodies, "collection_bytes"), texts
