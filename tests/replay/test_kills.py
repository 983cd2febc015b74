"""A worker that is killed anywhere loses nothing, doubles nothing and holds nothing for ever."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from azure.storage.blob import BlobLeaseClient

from medtech.dead_letter.selection import Selection
from medtech.group.windows import shard_of
from medtech.jobs import State
from medtech.mapping.device import DeviceMapping
from medtech.model import DeviceEvent, Normalized, ResourceIdentity
from medtech.replay import work
from medtech.replay.job import Left
from medtech.replay.work import LEASE
from medtech.storage.connection import Storage
from medtech.storage.lease import CONTAINER
from tests.flush.samples import known
from tests.kills import NEVER, Killed, killed_before, some_of
from tests.persist.samples import Server, points
from tests.replay.samples import BROKEN, GOOD, TYPES, Ward, device_mapping, mapping_document, message

ROOT = Path(__file__).parents[2]
TODAY = device_mapping("series", "spot", spot="$.matchedToken.absent")
"""`spot` fails, `series` does not."""

FEWEST_WRITES = 10
"""Those of a replay, or of a flush, of what `ingest_three` stores."""


def of_three_shards(ward: Ward, server: Server) -> list[ResourceIdentity]:
    found: dict[int, ResourceIdentity] = {}
    while len(found) < 3:
        of = known(server)
        found.setdefault(shard_of(of.device, ward.run.settings.buffer_shards), of)
    return list(found.values())


def ingest_three(ward: Ward, server: Server) -> list[ResourceIdentity]:
    """Messages that are good under TODAY, that fail in part by the error of before, and in part by another one."""
    devices = of_three_shards(ward, server)
    both = device_mapping("series", "spot", series="$.matchedToken.absent", spot="$.matchedToken.absent")
    ward.ingest([ward.event(message(devices[0].device, series=60))], both)
    ward.ingest([ward.event(message(devices[1].device, series=60, spot=1))], both)
    ward.ingest([ward.event(message(devices[2].device, series=60, spot=1))], None)
    ward.mapping = TODAY
    return devices


def check_end(ward: Ward, devices: list[ResourceIdentity]) -> None:
    for of in devices:
        [observation] = ward.run.observations(of)
        assert (points(observation), observation["meta"]["versionId"]) == ({0: "60"}, "1")
    assert [(each.error, each.count, each.job) for each in ward.letters()] == [("IncompatibleData", 2, "")] * 2
    assert ward.run.left() == []
    ward.run.dead_letters.delete(ward.letters())


def test_a_replay_killed_before_any_of_its_writes_goes_on(ward: Ward, server: Server) -> None:
    for number in (NEVER, *some_of(range(FEWEST_WRITES), 5)):
        devices = ingest_three(ward, server)
        job = ward.jobs.create(Selection(), ward.clock(), relabel_unit=False)
        with killed_before(number) as writes:
            ward.tick()
        assert writes.begun >= min(number + 1, FEWEST_WRITES)
        ward.tick()
        done = ward.job(job.id)
        assert (done.state, done.attempts) == (State.DONE, 0)
        ward.flush()
        check_end(ward, devices)


def test_a_flush_killed_before_any_of_its_writes_settles_the_letters_later(ward: Ward, server: Server) -> None:
    for number in (NEVER, *some_of(range(FEWEST_WRITES), 5)):
        devices = ingest_three(ward, server)
        ward.replay()
        with killed_before(number) as writes:
            ward.flush()
        assert writes.begun >= min(number + 1, FEWEST_WRITES)
        ward.flush()
        check_end(ward, devices)


def test_a_flush_and_another_mapping_after_a_kill_leave_no_letter_held(ward: Ward, server: Server) -> None:
    for number in some_of(range(FEWEST_WRITES), 5):
        devices = ingest_three(ward, server)
        ward.jobs.create(Selection(), ward.clock(), relabel_unit=False)
        with killed_before(number):
            ward.tick()
        ward.flush()
        ward.mapping = GOOD
        ward.tick()
        ward.flush()
        assert [letter.job for letter in ward.letters() if letter.job] == []
        ward.replay()
        ward.flush()
        assert ward.letters() == []
        for of, types in zip(devices, (["series"], ["series", "spot"], ["series", "spot"]), strict=True):
            assert sorted(each["code"]["text"] for each in ward.run.observations(of)) == types


class Deadly:
    """A mapping that ends the process over one message."""

    def __init__(self, mapping: DeviceMapping, sequence_number: int) -> None:
        self._mapping = mapping
        self._sequence_number = sequence_number

    def normalize(self, event: DeviceEvent) -> Normalized:
        if event.sequence_number == self._sequence_number:
            raise Killed
        return self._mapping.normalize(event)


def test_a_message_that_kills_the_worker_is_left_and_its_neighbours_go_through(ward: Ward, server: Server) -> None:
    of = known(server)
    ward.ingest([ward.event(message(of.device, minute, series=60)) for minute in range(7)], BROKEN)
    ward.mapping = Deadly(GOOD, 4)  # type: ignore[assignment]
    job = ward.jobs.create(Selection(), ward.clock(), relabel_unit=False)
    deaths = 0
    while ward.job(job.id).state is not State.DONE:
        try:
            ward.tick()
        except Killed:
            deaths += 1
            assert deaths < 6
    counts = ward.job(job.id).counts
    assert (counts.put_through, counts.left) == (6, {Left.FAULT: 1})
    ward.flush()
    [letter] = ward.letters()
    assert letter.origin is not None
    assert (letter.origin.sequence_number, letter.job) == (4, "")


REPLAY = """
import sys, time
from medtech import parts
from medtech.replay import work
from medtech.storage.table import Table
work.CHUNK_LETTERS = int(sys.argv[1])
transact = Table.transact
def slow(self, operations):
    print("write", flush=True)
    time.sleep(0.3)
    return transact(self, operations)
Table.transact = slow
parts.replayer().run()
"""


def test_a_process_that_is_killed_is_followed_by_one_that_goes_on(
    ward: Ward, server: Server, azurite: str, storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a chunk's letters, which are of several windows, some are in the buffer by then."""
    chunk_letters, letters = 20, 24
    monkeypatch.setattr(work, "CHUNK_LETTERS", chunk_letters)
    of = known(server)
    ward.ingest([ward.event(message(of.device, n, series=60), minute=n) for n in range(letters)], BROKEN)
    job = ward.jobs.create(Selection(), ward.clock(), relabel_unit=False)
    mapping = tmp_path / "device.json"
    mapping.write_text(json.dumps(mapping_document(*TYPES)))
    environment = {**os.environ, "BufferStorage": azurite, "DEVICE_MAPPING": str(mapping)}
    with subprocess.Popen(
        [sys.executable, "-c", REPLAY, str(chunk_letters)], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        # The mapping's row, the job's, the marks: then the rows of each window are being written.
        for _ in range(5):
            process.stdout.readline()
        process.kill()
    assert ward.job(job.id).state is State.RUNNING
    assert ward.run.buffer.shards() != []
    # The lease would end by itself within a minute.
    blob = storage.container(CONTAINER).get_blob_client(LEASE)
    BlobLeaseClient(blob).break_lease(0)
    for _ in range(20):
        ward.tick()
        if ward.job(job.id).state is State.DONE:
            break
        time.sleep(0.1)
    assert ward.job(job.id).counts.put_through == letters
    ward.flush()
    assert (ward.letters(), ward.run.left(), ward.in_buffer(job)) == ([], [], 0)
    assert sum(len(points(observation)) for observation in ward.run.observations(of)) == letters
