"""What `python -m medtech status` says of what waits, over a real Azurite."""

import json

import pytest
from typer.testing import CliRunner

from medtech import application, parts
from medtech.backfill.job import BackfillJobs, Request
from medtech.backfill.path_format import DEFAULT_FORMAT
from medtech.command import waiting
from medtech.command.line import app
from medtech.dead_letter import letter as letters
from medtech.dead_letter.selection import Selection
from medtech.dead_letter.store import DeadLetters
from medtech.dotnet import ticks
from medtech.errors import NotSupported
from medtech.group import windows
from medtech.group.buffer import Buffer, segment_rows
from medtech.health.part import Health, Part, State
from medtech.health.record import Recorder
from medtech.model import DeviceEvent, Measurement
from medtech.normalize.batch import failure_of_event
from medtech.replay.job import Jobs
from medtech.settings import Settings
from medtech.storage.connection import Storage

NOW = 638_000_000_000_000_000  # 2022-09-28T22:13:20Z
SECOND = ticks.TICKS_PER_SECOND
SETTINGS = Settings(window_seconds=300, flush_grace_seconds=15)


def event(partition: str, sequence: int) -> DeviceEvent:
    return DeviceEvent(b"{}", {}, {}, NOW - 90 * SECOND, "0a1b2c3d", partition, sequence)


def fill(storage: Storage) -> str:
    """Events of three partitions, a window that is due and one that is not, a job and two letters. The job's id."""
    recorder = Recorder(lambda: storage, clock=lambda: NOW)
    for partition, sequence in (("10", 5), ("2", 7)):
        recorder.arrived([event(partition, sequence)])
    for ingested in (NOW - 3600 * SECOND, NOW):
        measurement = Measurement("hr", NOW, "d", None, None, None, (("hr", "71"),), ingested, "2", 7, 0, 0)
        prefix = windows.event_row_prefix(
            hub="0a1b2c3d", partition="2", first_sequence=7, last_sequence=7, first_enqueued=ingested
        )
        rows, _ = segment_rows([measurement], hub="0a1b2c3d", row_prefix=prefix, window_seconds=300, shards=4)
        Buffer(storage).store(rows)
    failure = failure_of_event(NotSupported("No JSON."))
    DeadLetters(storage).store([letters.of_event(event("2", number), [failure]) for number in (1, 2)], NOW)
    return Jobs(storage).create(Selection(), NOW, relabel_unit=False).id


def test_partitions_windows_jobs_and_letters_are_told(storage: Storage) -> None:
    job = fill(storage)
    found = waiting.look(storage, SETTINGS, NOW + SECOND)
    assert waiting.document(found) == {
        "partitions": [
            {
                "partition": partition,
                "lastSequenceNumber": sequence,
                "lastEnqueued": "2022-09-28T22:11:50.0000000Z",
                "lastRead": "2022-09-28T22:13:20.0000000Z",
                "behindSeconds": 90.0,
            }
            for partition, sequence in (("2", 7), ("10", 5))
        ],
        "windows": {"waiting": 2, "due": 1, "oldest": "2022-09-28T21:10:00.0000000Z"},
        "jobs": [{"id": job, "state": "queued", "taken": 0, "selected": None, "message": ""}],
        "backfills": [],
        "deadLetters": {
            "letters": 2,
            "complete": True,
            "causes": [{"error": "NotSupported", "stage": "Normalization", "type": "DeviceMessageError", "letters": 2}],
        },
    }
    assert list(waiting.sentences(found)) == [
        "partition 2: last read 2022-09-28T22:13:20Z, event 7, 90 s after it was enqueued",
        "partition 10: last read 2022-09-28T22:13:20Z, event 5, 90 s after it was enqueued",
        "windows: 2 wait, 1 of them due, the oldest from 2022-09-28T21:10:00Z",
        f"replay job {job}: queued, 0 letters taken.",
        "dead letters: 2 (2 NotSupported); `dead-letters` has the causes",
    ]


def test_a_backfill_is_told(storage: Storage) -> None:
    job = BackfillJobs(storage).create(Request("capture", DEFAULT_FORMAT, NOW, NOW + SECOND), NOW)
    found = waiting.look(storage, SETTINGS, NOW)
    assert list(waiting.sentences(found)) == [f"backfill job {job.id}: queued, 0 events taken, 0 faults."]
    [told] = waiting.document(found)["backfills"]
    assert (told["job"], told["state"]) == (job.id, "queued")


def test_nothing_waits_in_a_new_app(storage: Storage) -> None:
    assert list(waiting.sentences(waiting.look(storage, SETTINGS, NOW))) == []


def test_status_prints_it_below_the_parts(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(storage)

    class Seen:
        settings = SETTINGS

    Seen.storage = storage  # type: ignore[attr-defined]
    health = Health((Part("hub", State.OK, "Well."),), NOW)
    monkeypatch.setattr(application, "look_at_health", lambda: health)
    monkeypatch.setattr(parts, "onlooker", lambda: Seen)
    result = CliRunner().invoke(app, ["status"], catch_exceptions=False)
    assert result.exit_code == 0
    assert "partition 10: last read" in result.stdout
    document = json.loads(CliRunner().invoke(app, ["status", "--json"]).stdout)
    assert (document["state"], document["waiting"]["deadLetters"]["letters"]) == ("ok", 2)
