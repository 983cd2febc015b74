"""Capture files in the schema that Event Hubs Capture publishes, and a ward whose events were captured."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from io import BytesIO
from typing import Any

import fastavro

from medtech.backfill.job import BackfillJob, BackfillJobs, Request
from medtech.backfill.path_format import DEFAULT_FORMAT
from medtech.backfill.work import Backfill
from medtech.deadline import Deadline, within
from medtech.dotnet import ticks
from medtech.ingest.events import hub_name
from medtech.model import DeviceEvent
from medtech.setup.hub_place import HubPlace
from medtech.storage.connection import Storage
from tests.persist.samples import HOUR, MINUTE
from tests.replay.samples import Ward

SCHEMA = {
    "type": "record",
    "name": "EventData",
    "namespace": "Microsoft.ServiceBus.Messaging",
    "fields": [
        {"name": "SequenceNumber", "type": "long"},
        {"name": "Offset", "type": "string"},
        {"name": "EnqueuedTimeUtc", "type": "string"},
        {"name": "SystemProperties", "type": {"type": "map", "values": ["long", "double", "string", "bytes"]}},
        {"name": "Properties", "type": {"type": "map", "values": ["long", "double", "string", "bytes", "null"]}},
        {"name": "Body", "type": ["null", "bytes"]},
    ],
}
"""https://learn.microsoft.com/azure/event-hubs/explore-captured-avro-files"""

PLACE = HubPlace("ward.servicebus.windows.net", "devicedata", "$Default")
CONTAINER = "capture"


def dotnet_text(time: int) -> str:
    """`2/29/2024 10:00:00 AM`"""
    moment = datetime.min + timedelta(microseconds=time // ticks.TICKS_PER_MICROSECOND)
    return f"{moment.month}/{moment.day}/{moment.year} {moment.hour % 12 or 12}:{moment:%M:%S %p}"


def record(event: DeviceEvent, **changes: Any) -> dict[str, Any]:
    """As Capture writes an event since 2021."""
    milliseconds = (event.enqueued_time - ticks.UNIX_EPOCH) // ticks.TICKS_PER_MILLISECOND
    return {
        "SequenceNumber": event.sequence_number,
        "Offset": str(event.sequence_number * 100),
        "EnqueuedTimeUtc": dotnet_text(event.enqueued_time),
        "SystemProperties": {"x-opt-enqueued-time": milliseconds},
        "Properties": dict(event.properties),
        "Body": event.body,
        **changes,
    }


def capture_bytes(
    records: Iterable[dict[str, Any]], codec: str = "deflate", schema: Any = SCHEMA, block_bytes: int = 400
) -> bytes:
    """A file of small blocks."""
    stream = BytesIO()
    fastavro.writer(stream, schema, records, codec=codec, sync_interval=block_bytes)
    return stream.getvalue()


def path(time: int, partition: str = "0", namespace: str = "ward", event_hub: str = "devicedata") -> str:
    moment = datetime.min + timedelta(microseconds=time // ticks.TICKS_PER_MICROSECOND)
    return f"{namespace}/{event_hub}/{partition}/{moment:%Y/%m/%d/%H/%M/%S}.avro"


class CapturedWard:
    """A ward and the container that its hub is captured to. Its events are of the app's own hub and consumer group."""

    def __init__(self, ward: Ward) -> None:
        self.ward = ward
        self.storage = ward.run.storage
        self.jobs = BackfillJobs(self.storage)
        self.container = self.storage.container(CONTAINER)
        if self.container.exists():
            self.container.delete_container()
        self.container.create_container()
        self.worker = self.worker_over(self.storage)

    def worker_over(self, storage: Storage, **parts: Any) -> Backfill:
        run = self.ward.run
        return Backfill(
            **{
                "storage": storage,
                "buffer": run.buffer,
                "dead_letters": run.dead_letters,
                "device_mapping": lambda: self.ward.mapping,
                "settings": run.settings,
                "hub": lambda: PLACE,
                "clock": self.ward.clock,
                **parts,
            }
        )

    def event(self, body: Any, minute: int = 0) -> DeviceEvent:
        return self.ward.event(body, minute)._replace(hub=hub_name(*PLACE))

    def capture(self, events: Sequence[DeviceEvent], name: str | None = None, **options: Any) -> str:
        """A file of these events, named for the first one; its name."""
        chosen = name or path(events[0].enqueued_time, events[0].partition)
        self.put(chosen, capture_bytes(map(record, events), **options))
        return chosen

    def put(self, name: str, content: bytes) -> None:
        self.container.upload_blob(name, content, overwrite=True)

    def request(self, **changes: Any) -> Request:
        fields = {
            "container": CONTAINER,
            "path_format": DEFAULT_FORMAT,
            "from_time": HOUR,
            "to_time": HOUR + 60 * MINUTE,
            **changes,
        }
        return Request(**fields)

    def backfill(self, **changes: Any) -> BackfillJob:
        """A job, as it is after one tick."""
        job = self.jobs.create(self.request(**changes), self.ward.clock())
        self.tick()
        return self.job(job.id)

    def tick(self, seconds: float = 120) -> None:
        with within(Deadline(seconds)):
            self.worker.run()

    def job(self, job_id: str) -> BackfillJob:
        job = self.jobs.get(job_id)
        assert job is not None
        return job
