"""A flush that is killed anywhere is as one that was not, after the next one."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from medtech.dotnet import ticks
from medtech.flush.memory import Memory
from medtech.flush.watches import TABLE as WATCHES
from medtech.group import windows
from medtech.group.buffer import TABLE as BUFFER
from medtech.model import DeviceEvent, ResourceIdentity
from medtech.settings import ResolutionType
from medtech.storage.payload import split
from tests.faults import FaultProxy, writes
from tests.flush.samples import HUB, MakeRun, before
from tests.kills import NEVER, killed_before, some_of, unanswered
from tests.persist.samples import HOUR, Server, identity, points
from tests.replay.samples import BROKEN, GOOD, Ward, message

DEVICES = 5
SMALL = Memory(packed_bytes=1_200, portion_bytes=12_000, run_bytes=3_000, writes_bytes=40_000, writes_at_once=2)
"""Makes several rounds of several portions of several runs of the few readings here, each with several bundles."""


@dataclass
class Scene:
    """Windows with letters put through, a row of the batch before with other borders, a damaged row, a device of
    nobody's, readings that a later window replaces, and creates of whose answers some are lost."""

    ward: Ward
    proxy: FaultProxy
    server: Server

    def prepare(self) -> list[ResourceIdentity]:
        ward = self.ward
        devices = [identity() for _ in range(DEVICES)]
        # A letter of a message, and one of a measurement that fails again: nobody says whose its device is.
        ward.ingest([self.event(devices[0], 5, series=65)], BROKEN)
        ward.ingest([ward.event(message(identity().device, series=60))], GOOD)
        ward.flush()
        self.ward.mapping = GOOD
        ward.replay()
        batches = [[self.event(of, minute, series=60 + minute, spot=minute) for of in devices] for minute in range(3)]
        for batch in batches:
            ward.ingest(batch, GOOD)
        ward.ingest([*batches[0][2:], *batches[1][:3]], GOOD)
        later = [ward.event(message(of.device, patient=of.patient, spot=100), minute=6) for of in devices]
        ward.ingest(later, GOOD)
        key = windows.partition_key(0, windows.window_start(HOUR, 300))
        damaged = {"PartitionKey": key, "RowKey": "e|somebody's", "hub": HUB, "stored_bytes": 4}
        ward.run.storage.table(BUFFER).upsert(damaged | split(b"\x01abc"))
        self.proxy.clear()
        for _ in range(3):
            self.proxy.cut_after(when=writes)
            self.proxy.rule(lambda request, forward: forward(), when=writes)
        return [ResourceIdentity(_digest(of.device), _digest(of.patient), None) for of in devices]

    def event(self, of: ResourceIdentity, minute: int, **values: int) -> DeviceEvent:
        return self.ward.event(message(of.device, minute, patient=of.patient, **values))

    def check(self, devices: list[ResourceIdentity]) -> None:
        ward, run = self.ward, self.ward.run
        assert run.left() == []
        for number, of in enumerate(devices):
            found = run.observations(of)
            [of_series] = [each for each in found if each["code"]["text"] == "series"]
            assert points(of_series) == {0: "60", 1: "61", 2: "62"} | ({5: "65"} if number == 0 else {})
            assert sorted(each["valueQuantity"]["value"] for each in found if each is not of_series) == [1, 2, 100]
        letters = {letter.error: letter for letter in ward.letters()}
        assert sorted(letters) == ["BufferCorrupt", "PatientIdentityNotDefined"]
        assert len(ward.letters()) == 2
        assert {letter.job for letter in letters.values()} == {""}
        assert letters["PatientIdentityNotDefined"].count == 2
        # Hours later nothing is watched any more.
        later = ward.clock() + 4 * ticks.TICKS_PER_HOUR
        assert replace(ward.flusher, clock=lambda: later).run().outages == []
        assert list(run.storage.table(WATCHES).query("PartitionKey gt ''")) == []
        assert run.buffer.shards() == []
        run.dead_letters.delete(ward.letters())

    def versions(self, devices: list[ResourceIdentity]) -> list[tuple[str, Any]]:
        found = [each for of in devices for each in self.ward.run.observations(of)]
        found += [self.server.get(path) for of in devices for path in (f"Patient/{of.patient}", f"Device/{of.device}")]
        return sorted((each.get("code", each).get("text", ""), each["meta"]["versionId"]) for each in found)


def _digest(identifier: str) -> str:
    """The id of a Patient or Device that the app creates."""
    return hashlib.sha256(f"_{identifier}".encode()).hexdigest()


@pytest.fixture
def scene(make_run: MakeRun, server: Server, fhir: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(Memory, "of", lambda *arguments: SMALL)
    with before(fhir) as (proxy, url):
        yield Scene(
            Ward(make_run(url, resolution=ResolutionType.CREATE, buffer_shards=2, fhir_bundle_size=2)), proxy, server
        )


def test_a_flush_killed_before_any_of_its_writes_is_made_good_by_the_next(scene: Scene) -> None:
    number_of_writes, expected = undisturbed(scene)
    for number in some_of(range(number_of_writes), 3):
        made = scene.prepare()
        with killed_before(number):
            scene.ward.flush()
        scene.ward.flush()
        scene.check(made)
        assert scene.versions(made) == expected, f"killed before write {number}"


def test_an_answer_that_is_lost_anywhere_changes_nothing(scene: Scene) -> None:
    number_of_writes, expected = undisturbed(scene)
    for number in some_of(range(number_of_writes), 3):
        made = scene.prepare()
        with unanswered(number):
            scene.ward.flusher.run()
        scene.ward.flush()
        scene.check(made)
        assert scene.versions(made) == expected, f"the answer to write {number} was lost"


def undisturbed(scene: Scene) -> tuple[int, list[tuple[str, Any]]]:
    """How many writes a flush makes, and what it makes of the Observations."""
    made = scene.prepare()
    with killed_before(NEVER) as writes:
        scene.ward.flush()
    scene.check(made)
    assert writes.begun > 30
    return writes.begun, scene.versions(made)
