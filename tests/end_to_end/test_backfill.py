"""A hub that has forgotten its events, and the Capture files that have them: every reading once."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
from azure.storage.blob import BlobServiceClient

from dev.hub import Partition, StoredEvent
from dev.processes import ROOT
from dev.stack import LocalStack
from medtech.setup.hub_place import read_hub_place
from tests.backfill.samples import CONTAINER, SCHEMA
from tests.end_to_end.ward import DAY, ENQUEUED, QUIET, Ward, pulse

HUB = "devicedata"
MINUTES = [f"08:{minute:02}:00" for minute in range(12)]


def captured(event: StoredEvent) -> dict[str, Any]:
    time = event.enqueued_time
    milliseconds = (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    return {
        "SequenceNumber": event.sequence_number,
        "Offset": event.offset,
        "EnqueuedTimeUtc": f"{time.month}/{time.day}/{time.year} {time.hour % 12 or 12}:{time:%M:%S %p}",
        "SystemProperties": {"x-opt-enqueued-time": milliseconds},
        "Properties": dict(event.properties),
        "Body": event.body,
    }


def capture(stack: LocalStack, hub_folder: Path) -> None:
    """What Capture would have written of partition 0: a file for the events of each hour."""
    partition = Partition(hub_folder / "0.jsonl")
    namespace = read_hub_place(stack.settings).namespace
    files: dict[str, list[dict[str, Any]]] = {}
    for event in partition.read(0, partition.next_sequence_number):
        files.setdefault(f"{namespace}/{HUB}/0/{event.enqueued_time:%Y/%m/%d/%H/00/00}.avro", []).append(
            captured(event)
        )
    partition.close()
    with BlobServiceClient.from_connection_string(stack.storage_connection_string) as service:
        container = service.create_container(CONTAINER)
        for name, records in files.items():
            content = BytesIO()
            fastavro.writer(content, SCHEMA, records, codec="deflate")
            container.upload_blob(name, content.getvalue())


def command(stack: LocalStack, *arguments: str) -> dict[str, Any]:
    settings = stack.data_folder / "local.settings.json"
    line = [sys.executable, "-m", "medtech", "--settings", str(settings), "backfill", *arguments, "--json"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_what_the_hub_has_forgotten_comes_from_capture_and_what_it_delivers_is_not_doubled(tmp_path: Path) -> None:
    recent = datetime.now(UTC).replace(microsecond=123_000) - timedelta(hours=2)
    with LocalStack(tmp_path, settings=QUIET, retention_hours=24) as stack, Ward(stack) as ward:
        ward.admit("captured")
        bodies = [pulse("captured", time, 60 + number) for number, time in enumerate(MINUTES)]
        times = [ENQUEUED] * 6 + [recent.isoformat()] * 6
        stack.post_events(
            [{"body": body, "partition": "0", "enqueuedTime": time} for body, time in zip(bodies, times, strict=True)]
        )
        [bad] = stack.post_events([{"body": "{", "partition": "0", "enqueuedTime": recent.isoformat()}])
        stack.wait_until_read()
        delivered = ward.waiting("captured")
        assert sorted(each.sequence_number for each in delivered) == list(range(6, 12))
        [hub_folder] = {path.parent for path in tmp_path.rglob("0.jsonl")}
        capture(stack, hub_folder)

        when = ("--from", DAY, "--to", (recent + timedelta(hours=1)).isoformat())
        found = command(stack, CONTAINER, *when, "--dry-run")
        assert (found["files"], found["partitions"], found["faults"]) == (2, ["0"], [])
        job = command(stack, CONTAINER, *when, "--no-wait")["job"]
        ward.flush()
        status = command(stack, "--job", job)
        expected = {"state": "done", "files": 2, "events": 13, "measurements": 12, "deadLetters": 1, "faults": 0}
        assert {name: status[name] for name in expected} == expected
        assert stack.call("GET", f"/api/replay/{job}").json() == status
        # By hub, partition, number and time it is the same message.
        assert ward.letter_counts([bad]) == [2]
        # Version 1: also those that came both ways were written once.
        assert ward.stored("captured") == [("heartRate", 60 + number, 1) for number in range(12)]

        command(stack, CONTAINER, *when, "--no-wait")
        ward.flush()
        assert ward.stored("captured") == [("heartRate", 60 + number, 1) for number in range(12)]
        assert ward.waiting("captured") == []
