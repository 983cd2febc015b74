"""A worker that is killed anywhere loses nothing and doubles nothing, and one deadly event does not stop a backfill."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from azure.storage.blob import BlobLeaseClient

from medtech.backfill import work
from medtech.backfill.capture_file import CaptureFile
from medtech.backfill.work import LEASE
from medtech.jobs import State
from medtech.model import DeviceEvent, Normalized
from medtech.storage.connection import Storage
from medtech.storage.lease import CONTAINER as LEASES
from tests.backfill.samples import PLACE, CapturedWard
from tests.flush.samples import known
from tests.kills import NEVER, Killed, killed_before, some_of
from tests.persist.samples import Server, points
from tests.replay.samples import GOOD, TYPES, device_mapping, mapping_document, message

ROOT = Path(__file__).parents[2]
EVENTS = 20
FEWEST_WRITES = 15
"""Those of a backfill of EVENTS in chunks of 4: the job's row at the beginning and the end; each chunk's rows, letters
and progress."""

TODAY = device_mapping(*TYPES, spot="$.matchedToken.absent")
"""`spot` fails, `series` does not."""


def until_done(captured: CapturedWard, job_id: str, most_deaths: int) -> int:
    """The deaths that it took."""
    deaths = 0
    while captured.job(job_id).state is not State.DONE:
        try:
            captured.tick()
        except Killed:
            deaths += 1
            assert deaths <= most_deaths
    return deaths


def test_a_backfill_killed_before_any_of_its_writes_goes_on(
    captured: CapturedWard, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "CHUNK_RECORDS", 4)
    captured.ward.mapping = TODAY
    for number in (NEVER, *some_of(range(FEWEST_WRITES), 5)):
        of = known(server)
        events = [captured.event(message(of.device, n, series=60 + n, spot=n), n) for n in range(EVENTS)]
        captured.capture(events[:13])
        captured.capture(events[13:])
        job = captured.jobs.create(captured.request(), captured.ward.clock())
        with killed_before(number) as writes:
            captured.tick()
        assert writes.begun >= min(number + 1, FEWEST_WRITES)
        captured.tick()
        done = captured.job(job.id)
        assert (done.state, done.attempts, done.counts.events) == (State.DONE, 0, EVENTS)
        captured.ward.flush()
        [observation] = captured.ward.run.observations(of)
        assert list(points(observation).values()) == [str(60 + n) for n in range(EVENTS)]
        assert [(each.error, each.job) for each in captured.ward.letters()] == [("IncompatibleData", "")] * EVENTS
        assert captured.ward.run.left() == []
        captured.ward.run.dead_letters.delete(captured.ward.letters())


class Deadly:
    """A mapping that ends the process over one message."""

    def __init__(self, sequence_number: int) -> None:
        self._sequence_number = sequence_number

    def normalize(self, event: DeviceEvent) -> Normalized:
        if event.sequence_number == self._sequence_number:
            raise Killed
        return GOOD.normalize(event)


def test_an_event_that_kills_the_worker_is_a_dead_letter_and_its_neighbours_go_through(
    captured: CapturedWard, server: Server
) -> None:
    of = known(server)
    captured.capture([captured.event(message(of.device, minute, series=60), minute) for minute in range(7)])
    captured.ward.mapping = Deadly(4)  # type: ignore[assignment]
    job = captured.jobs.create(captured.request(), captured.ward.clock())
    until_done(captured, job.id, 4)
    counts = captured.job(job.id).counts
    assert (counts.events, counts.measurements, counts.letters, counts.faults) == (7, 6, 1, 0)
    [letter] = captured.ward.letters()
    assert (letter.error, letter.origin and letter.origin.sequence_number) == ("PoisonMessage", 4)


def test_a_file_that_kills_the_worker_is_left_and_the_next_one_is_read(
    captured: CapturedWard, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = known(server)
    deadly = captured.capture([captured.event(message(of.device, series=60))])
    captured.capture([captured.event(message(of.device, 1, series=60), 1)])
    blocks = CaptureFile._block

    def block(self: CaptureFile, offset: int, codec: str, sync: bytes) -> tuple[int, bytes, int]:
        count, content, end = blocks(self, offset, codec, sync)
        if b"09:00:00" in content:
            raise Killed
        return count, content, end

    monkeypatch.setattr(CaptureFile, "_block", block)
    job = captured.jobs.create(captured.request(), captured.ward.clock())
    until_done(captured, job.id, 6)
    done = captured.job(job.id)
    assert (done.counts.events, done.counts.faults) == (1, 1)
    assert done.faults[0].file == deadly


BACKFILL = """
import sys, time
from medtech import parts
from medtech.backfill import work
from medtech.storage.table import Table
work.CHUNK_RECORDS = int(sys.argv[1])
for name in ("transact", "upsert"):
    def slow(self, *args, original=getattr(Table, name), **kwargs):
        print("write", flush=True)
        time.sleep(0.2)
        return original(self, *args, **kwargs)
    setattr(Table, name, slow)
parts.backfiller().run()
"""


def test_a_process_that_is_killed_is_followed_by_one_that_goes_on(
    captured: CapturedWard, server: Server, azurite: str, storage: Storage, tmp_path: Path
) -> None:
    of = known(server)
    captured.capture([captured.event(message(of.device, n, series=60), n) for n in range(EVENTS)])
    job = captured.jobs.create(captured.request(), captured.ward.clock())
    mapping = tmp_path / "device.json"
    mapping.write_text(json.dumps(mapping_document(*TYPES)))
    settings = {
        "BufferStorage": azurite,
        "DEVICE_MAPPING": str(mapping),
        "EventHubConnection__fullyQualifiedNamespace": PLACE.fully_qualified_namespace,
        "EVENT_HUB_NAME": PLACE.event_hub,
    }
    with subprocess.Popen(
        [sys.executable, "-c", BACKFILL, "6"], cwd=ROOT, env=os.environ | settings, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        # The mapping's row, the job's, and a chunk's: its events are of two windows.
        for _ in range(6):
            process.stdout.readline()
        process.kill()
    assert captured.job(job.id).state is State.RUNNING
    assert captured.ward.run.buffer.shards() != []
    # The lease would end by itself within a minute.
    BlobLeaseClient(storage.container(LEASES).get_blob_client(LEASE)).break_lease(0)
    for _ in range(20):
        captured.tick()
        if captured.job(job.id).state is State.DONE:
            break
        time.sleep(0.1)
    assert captured.job(job.id).counts.events == EVENTS
    captured.ward.flush()
    assert sum(len(points(each)) for each in captured.ward.run.observations(of)) == EVENTS
    assert captured.ward.run.left() == []
