"""A create whose answer was not seen is carried out after all, over what was written since: nothing is lost by it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from medtech.deadline import Deadline
from medtech.dotnet import ticks
from medtech.errors import FhirServerUnavailable
from medtech.flush.watches import LOOKS_AT_ONCE, TABLE, WATCH_SECONDS
from medtech.group.windows import shard_name
from medtech.model import ResourceIdentity
from medtech.persist.identity import IdentityKey
from medtech.persist.observations import ObservationWriter
from medtech.persist.references import Identifier
from medtech.persist.watch import Watch
from medtech.settings import ResolutionType
from medtech.storage import lease as leases
from medtech.storage.connection import Storage
from tests.azurite import Wire
from tests.faults import FaultProxy, Late, reads, writes
from tests.flush.samples import NOW, MakeRun, Run, before, known, measured
from tests.persist.samples import HOUR, MINUTE, Server, points, unique


@pytest.fixture(params=["hapi", "strict"])
def fhir(request: pytest.FixtureRequest, fhir_profile: Callable[[str], str]) -> str:
    """A server that ignores If-None-Match, and one that honours it."""
    return fhir_profile(request.param)


class Killed(BaseException):
    """Ends a flush as the death of its process would."""


class Scene:
    """A run through a proxy, and a device that the server knows."""

    def __init__(self, run: Run, proxy: FaultProxy) -> None:
        self.run = run
        self.server = run.server
        self.proxy = proxy
        self.of = known(self.server)

    def flush(self, minute: int, *, type_name: str = "series", **values: str) -> None:
        """Stores and writes one reading."""
        reading = measured(self.of, minute, type_name=type_name)._replace(properties=tuple(values.items()))
        self.run.store([reading])
        self.run.run()

    def create_late(self, minute: int, **values: str) -> Late:
        """As `flush`; the first create stays somewhere on its way, the second one is carried out."""
        late = self.proxy.late(when=writes)
        self.flush(minute, **values)
        assert len(late.held) == 1
        return late

    def observation(self) -> dict[str, Any]:
        (found,) = self.run.observations(self.of)
        return found

    def versions(self) -> int:
        return self.server.versions(f"Observation/{self.observation()['id']}")

    def watched(self) -> list[str]:
        return watched(self.run.storage)

    def wait(self, seconds: int) -> None:
        later = self.run.flush.clock() + seconds * ticks.TICKS_PER_SECOND
        self.run.flush = replace(self.run.flush, clock=lambda: later)


def watched(storage: Storage) -> list[str]:
    return [row["RowKey"] for row in storage.table(TABLE).query("PartitionKey gt ''")]


@pytest.fixture
def scene(make_run: MakeRun, fhir: str) -> Iterator[Scene]:
    with before(fhir) as (proxy, url):
        yield Scene(make_run(url), proxy)


class TestObservations:
    def test_a_series_keeps_what_was_written_since(self, scene: Scene) -> None:
        late = scene.create_late(0, value="60")
        scene.flush(1, value="61")
        late.carry_out()
        scene.run.run()
        assert points(scene.observation()) == {0: "60", 1: "61"}

    def test_a_later_value_stands(self, scene: Scene) -> None:
        late = scene.create_late(0, value="60")
        scene.flush(0, value="99")
        late.carry_out()
        scene.run.run()
        assert points(scene.observation()) == {0: "99"}

    def test_components_keep_the_later_reading(self, scene: Scene) -> None:
        late = scene.create_late(0, type_name="pressure", systolic="120")
        scene.flush(1, type_name="pressure", systolic="130", diastolic="80")
        late.carry_out()
        scene.run.run()
        values = [component["valueQuantity"]["value"] for component in scene.observation()["component"]]
        assert values == [130, 80]

    def test_nothing_is_written_twice(self, scene: Scene) -> None:
        late = scene.create_late(0, value="60")
        scene.flush(1, value="61")
        late.carry_out()
        scene.run.run()
        versions = scene.versions()
        for _ in range(3):
            scene.run.run()
        assert scene.versions() == versions

    def test_without_a_late_create_nothing_is_written(self, scene: Scene) -> None:
        scene.create_late(0, value="60")
        versions = scene.versions()
        scene.run.run()
        assert scene.versions() == versions

    def test_a_create_that_comes_while_its_window_is_written_is_taken_back_first(self, scene: Scene) -> None:
        late = scene.create_late(0, value="60")
        scene.flush(1, value="61")
        scene.proxy.before_forwarding(lambda request: late.carry_out() and None, when=writes)
        scene.flush(2, value="62")
        assert points(scene.observation()) == {0: "60", 1: "61", 2: "62"}

    def test_what_people_added_comes_back(self, scene: Scene) -> None:
        late = scene.create_late(0, value="60")
        scene.server.put(scene.observation() | {"note": [{"text": "checked"}]})
        late.carry_out()
        scene.run.run()
        assert scene.observation()["note"] == [{"text": "checked"}]

    def test_a_withdrawn_one_is_withdrawn_again(self, scene: Scene) -> None:
        late = scene.create_late(0, value="60")
        scene.server.put(scene.observation() | {"status": "entered-in-error"})
        late.carry_out()
        scene.run.run()
        assert scene.observation()["status"] == "entered-in-error"

    def test_one_that_was_deleted_is_left_as_it_is(self, scene: Scene) -> None:
        late = scene.create_late(0, value="60")
        path = f"Observation/{scene.observation()['id']}"
        scene.server.delete(path)
        late.carry_out()
        scene.run.run()
        assert points(scene.observation()) == {0: "60"}
        assert scene.observation()["status"] == "final"

    def test_a_flush_that_dies_before_it_watches_leaves_it_to_the_next(self, scene: Scene) -> None:
        def die(seconds: float) -> None:
            raise Killed

        late = scene.proxy.late(when=writes)
        whole = scene.run.flush
        scene.run.flush = replace(whole, writer=ObservationWriter(scene.run.client, pause=die))
        with pytest.raises(Killed):
            scene.flush(0, value="60")
        assert scene.watched() == []
        scene.run.flush = whole
        scene.run.run()
        assert scene.run.left() == []
        scene.flush(1, value="61")
        late.carry_out()
        scene.run.run()
        assert points(scene.observation()) == {0: "60", 1: "61"}

    def test_a_create_that_the_flush_gives_up_on_is_watched_too(self, scene: Scene) -> None:
        late = scene.proxy.late(when=writes, times=None)
        scene.flush(0, value="60")
        assert len(scene.run.left()) == 1
        assert len(scene.watched()) == 1
        scene.proxy.clear()
        scene.run.run()
        scene.flush(1, value="61")
        late.carry_out()
        scene.run.run()
        assert points(scene.observation()) == {0: "60", 1: "61"}


class TestRows:
    def test_go_after_the_last_look(self, scene: Scene) -> None:
        late = scene.create_late(0, value="60")
        scene.flush(1, value="61")
        scene.wait(WATCH_SECONDS - 1)
        scene.run.run()
        assert len(scene.watched()) == 1
        late.carry_out()
        scene.wait(2)
        scene.run.run()
        assert scene.watched() == []
        assert points(scene.observation()) == {0: "60", 1: "61"}

    def test_outlast_their_time_in_an_outage(self, scene: Scene) -> None:
        late = scene.create_late(0, value="60")
        scene.flush(1, value="61")
        late.carry_out()
        scene.wait(WATCH_SECONDS + 1)
        scene.proxy.answer(503, when=reads, times=None)
        tally = scene.run.run()
        assert [type(outage) for outage in tally.outages] == [FhirServerUnavailable]
        assert len(scene.watched()) == 1
        scene.proxy.clear()
        scene.run.run()
        assert scene.watched() == []
        assert points(scene.observation()) == {0: "60", 1: "61"}

    def test_are_not_made_for_creates_that_were_answered(self, scene: Scene) -> None:
        scene.flush(0, value="60")
        assert scene.watched() == []

    def test_are_not_made_when_a_throttled_create_is_turned_away(self, scene: Scene) -> None:
        scene.proxy.answer(429, when=writes)
        scene.flush(0, value="60")
        assert points(scene.observation()) == {0: "60"}
        assert scene.watched() == []

    def test_are_there_before_the_buffers_rows_go(self, wire: Wire, make_run: MakeRun, fhir: str) -> None:
        with before(fhir) as (proxy, url):
            server = Server(fhir)
            run = Run(wire.storage, server, url)
            scene = Scene(run, proxy)
            wire.tables.cut_before(when=lambda request: b"issued_from" in request.body, times=None)
            proxy.late(when=writes)
            scene.flush(0, value="60")
            assert len(run.left()) == 1
            wire.tables.clear()
            run.run()
            assert run.left() == []
            assert len(scene.watched()) == 1
            run.client.close()
            server.close()

    def test_spare_what_is_left_of_a_row_the_reading_of_histories(self, scene: Scene) -> None:
        """The mark of a row says nothing of which of its Observations were created; the watches do."""
        others = [known(scene.server) for _ in range(2)]
        scene.run.store([measured(of, 0) for of in (scene.of, *others)])
        refused = others[0].patient.encode()
        scene.run.client.bundle_size = 1
        scene.proxy.answer(429, when=lambda request: writes(request) and refused in request.body, times=None)
        scene.run.run()
        assert [each.device_id for each in scene.run.left()] == [others[0].device]
        scene.proxy.clear()
        scene.run.run()
        assert scene.run.left() == []
        assert not any(b"_history" in request.body for request in scene.proxy.requests)

    def test_of_another_instance_that_holds_the_lease_are_left_to_it(self, scene: Scene) -> None:
        late = scene.create_late(0, value="60")
        scene.flush(1, value="61")
        late.carry_out()
        other = leases.acquire(scene.run.storage, shard_name(0))
        assert other is not None
        with other:
            requests = len(scene.proxy.requests)
            scene.run.run()
            assert len(scene.proxy.requests) == requests

    def test_without_any_a_tick_asks_once(self, wire: Wire, server: Server) -> None:
        run = Run(wire.storage, server, server.url)
        run.run()
        wire.tables.clear()
        run.run()
        assert sum(f"/{TABLE}" in request.path for request in wire.tables.requests) == 1
        run.client.close()


class TestPatientsAndDevices:
    @pytest.fixture
    def scene(self, make_run: MakeRun, fhir: str) -> Iterator[Scene]:
        with before(fhir) as (proxy, url):
            yield Scene(make_run(url, resolution=ResolutionType.CREATE), proxy)

    @pytest.mark.parametrize(
        ("kind", "edit"), [("Patient", {"name": [{"family": "Edited"}]}), ("Device", {"note": [{"text": "May"}]})]
    )
    def test_an_edited_one_is_put_back(self, scene: Scene, kind: str, edit: dict[str, Any]) -> None:
        stranger = Stranger(scene)
        late = scene.proxy.late(when=lambda request: writes(request) and f'"{kind}/'.encode() in request.body)
        stranger.flush()
        scene.server.put(stranger.stored(kind) | edit)
        late.carry_out()
        scene.run.run()
        assert stranger.stored(kind).items() >= edit.items()

    def test_a_device_that_was_handed_over_stays_with_its_patient(self, scene: Scene) -> None:
        stranger = Stranger(scene)
        late = scene.proxy.late(when=lambda request: writes(request) and b'"Device/' in request.body)
        stranger.flush()
        link = {"reference": f"Patient/{scene.of.patient}"}
        scene.server.put(stranger.stored("Device") | {"patient": link})
        late.carry_out()
        scene.run.run()
        assert stranger.stored("Device")["patient"] == link

    def test_are_watched_before_they_are_sent(self, scene: Scene) -> None:
        stranger = Stranger(scene)
        seen: list[list[str]] = []
        scene.proxy.before_forwarding(lambda request: seen.append(scene.watched()), when=writes, times=2)
        stranger.flush()
        assert seen == [[stranger.row("Patient")], [stranger.row("Device")]]

    def test_are_not_watched_any_more_once_they_are_answered(self, scene: Scene) -> None:
        Stranger(scene).flush()
        assert scene.watched() == []

    def test_are_not_created_while_they_cannot_be_watched(self, wire: Wire, fhir: str, server: Server) -> None:
        run = Run(wire.storage, server, fhir, ResolutionType.CREATE)
        with before(fhir) as (proxy, _):
            stranger = Stranger(Scene(run, proxy))
        wire.tables.cut_before(when=lambda request: b"issued_from" in request.body, times=None)
        stranger.flush()
        assert not server.holds(f"Patient/{stranger.ids['Patient']}")
        assert len(run.left()) == 1
        run.client.close()


class Stranger:
    """A device and its patient that the server does not know."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._key = IdentityKey(unique("device"), unique("patient"), None)
        self.ids = {
            "Patient": Identifier("", str(self._key.patient_id)).resource_id(),
            "Device": Identifier("", self._key.device_id).resource_id(),
        }

    def flush(self) -> None:
        of = ResourceIdentity(self._key.device_id, "", None)
        self._scene.run.store([measured(of, 0, patient_id=self._key.patient_id)])
        self._scene.run.run()

    def stored(self, kind: str) -> dict[str, Any]:
        return self._scene.server.get(f"{kind}/{self.ids[kind]}")

    def row(self, kind: str) -> str:
        return f"{kind}|{self.ids[kind]}"


def some(count: int) -> list[Watch]:
    """Observations that are not there."""
    return [Watch("Observation", unique("o"), (HOUR, HOUR)) for _ in range(count)]


AFTER = NOW + (WATCH_SECONDS + 1) * ticks.TICKS_PER_SECOND


class TestTwoInstances:
    """The lease keeps them apart, but nothing rests on it."""

    def test_what_one_extends_is_not_ended_by_the_other(self, run: Run) -> None:
        watches = run.flush.watches
        watches.of(0, lambda: NOW).add(some(1))
        ending = watches.of(0, lambda: AFTER)
        extending = watches.of(0, lambda: AFTER)
        (watch,) = (kept.watch for kept in extending._kept.values())
        extending.add([watch])
        assert ending.look(lambda: None, Deadline(60)) == []
        assert watched(run.storage) == [f"Observation|{watch.resource_id}"]

    def test_what_both_add_is_one_row_for_the_creates_of_both(self, run: Run) -> None:
        watches = run.flush.watches
        mine, theirs = (watches.of(0, lambda: NOW) for _ in range(2))
        (watch,) = some(1)
        mine.add([watch])
        theirs.add([watch._replace(issued=(HOUR + MINUTE, HOUR + MINUTE))])
        mine.add([watch])
        (row,) = run.storage.table(TABLE).query("PartitionKey gt ''")
        assert (row["issued_from"], row["issued_to"]) == (str(HOUR), str(HOUR + MINUTE))

    def test_what_one_has_known_is_not_ended_when_it_is_answered(self, run: Run) -> None:
        watch = Watch("Patient", unique("p"))
        run.flush.watches.of(0, lambda: NOW).sending([watch])
        again = run.flush.watches.of(0, lambda: NOW)
        again.sending([watch])
        again.answered([watch])
        assert watched(run.storage) == [f"Patient|{watch.resource_id}"]


class TestTime:
    def test_that_is_over_for_looking_is_left_for_the_windows(self, scene: Scene) -> None:
        seconds = [0.0]
        scene.run.flush.watches.of(0, lambda: NOW).add(some(1))
        scene.run.flush = replace(scene.run.flush, monotonic=lambda: seconds[0], budget_seconds=24.0)
        # Half of the time for work.
        scene.proxy.before_forwarding(lambda request: seconds.__setitem__(0, 11.0), when=reads)
        scene.flush(0, value="60")
        assert points(scene.observation()) == {0: "60"}
        assert len(scene.watched()) == 1


class TestForeignRows:
    def test_are_left_alone(self, run: Run) -> None:
        table = run.storage.table(TABLE)
        for partition_key, row_key in (("zzz", "x"), ("000|", "x"), ("000|", "Observation|o")):
            table.upsert({"PartitionKey": partition_key, "RowKey": row_key})
        assert run.run().outages == []
        assert watched(run.storage) == ["x", "x"]


class TestMany:
    def test_have_their_turn_and_end_in_bundles(self, make_run: MakeRun, fhir: str) -> None:
        count = LOOKS_AT_ONCE + 250
        with before(fhir) as (proxy, url):
            run = make_run(url)
            run.flush.watches.of(0, lambda: NOW).add(some(count))
            assert len(watched(run.storage)) == count
            run.run()
            assert sum(map(reads, proxy.requests)) == LOOKS_AT_ONCE // 100
            run.flush = replace(run.flush, clock=lambda: AFTER)
            proxy.clear()
            run.run()
            assert sum(map(reads, proxy.requests)) == -(-count // 100)
            assert watched(run.storage) == []
