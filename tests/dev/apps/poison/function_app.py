"""The app's `normalize`, in a process that some messages end: those whose body contains POISON.

The retry policy is the app's, with the intervals in the settings RETRY_MINIMUM and RETRY_MAXIMUM.
"""

import os
from typing import List  # noqa: UP035 - the worker runtime refuses list[...] as a trigger's type

import azure.functions as func

from medtech import application
from medtech.mapping.device import DeviceMapping
from medtech.model import DeviceEvent, Normalized

POISON = b"ends-the-process"

app = func.FunctionApp()
normalize_without_poison = DeviceMapping.normalize


def normalize_or_die(mapping: DeviceMapping, event: DeviceEvent) -> Normalized:
    if POISON in event.body:
        os._exit(137)
    return normalize_without_poison(mapping, event)


DeviceMapping.normalize = normalize_or_die


@app.event_hub_message_trigger(
    arg_name="events",
    connection="EventHubConnection",
    event_hub_name="%EVENT_HUB_NAME%",
    consumer_group="$Default",
    cardinality=func.Cardinality.MANY,
    data_type=func.DataType.BINARY,
)
@app.retry(
    strategy="exponential_backoff",
    max_retry_count="-1",
    minimum_interval=os.environ["RETRY_MINIMUM"],
    maximum_interval=os.environ["RETRY_MAXIMUM"],
)
def normalize(events: List[func.EventHubEvent], context: func.Context) -> None:  # noqa: UP006
    application.ingest(events, context)
