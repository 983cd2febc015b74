"""A flush that compares: what it finds, what waits, and that it writes nothing, on a real Azurite and FHIR server."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from medtech.flush.watches import Watches
from medtech.model import Measurement, ResourceIdentity
from medtech.persist.client import FhirClient
from medtech.persist.observations import ObservationWrite
from medtech.persist.references import Identifier
from medtech.persist.watch import Watch
from medtech.settings import ResolutionType
from medtech.storage.connection import Storage
from tests.faults import FaultProxy, ProxiedRequest, may_write
from tests.flush.samples import NOW, MakeRun, Run, before, known, measured
from tests.persist.samples import HOUR, MINUTE, Server, identity, resource_id, series, unique, write, write_all
from tests.replay.samples import BROKEN, Ward, message

AGO = NOW - 15 * MINUTE
"""A window that is due, and whose grace is not over."""


class Compared:
    """A run that compares, behind a proxy that keeps what would write."""

    def __init__(self, run: Run, proxy: FaultProxy) -> None:
        self.run = run
        self.proxy = proxy
        self.written: list[ProxiedRequest] = []
        proxy.before_forwarding(self.written.append, when=may_write, times=None)

    def flush(self) -> dict[tuple[str, str], int]:
        """Compares at the next turn; what was counted of it."""
        self.run.seconds += 3600
        tally = self.run.run()
        assert "UnexpectedFault" not in {kind.name for kind in tally.errors}
        return dict(tally.compared)

    def outcome(self) -> str:
        """That of the one Observation which is counted now; `waits` if none is."""
        return ", ".join(outcome for _, outcome in self.flush()) or "waits"

    def elements(self) -> list[tuple[str, ...]]:
        return [each.elements for each in self.run.comparisons.differences()]


@pytest.fixture
def compared(make_run: MakeRun, fhir: str) -> Iterator[Compared]:
    with before(fhir) as (proxy, url):
        compared = Compared(make_run(url, fhir_write="compare"), proxy)
        yield compared
        assert compared.written == []


def spot(of: ResourceIdentity, value: str) -> Measurement:
    return measured(of, 0, value, "spot")


def old_spot(of: ResourceIdentity, value: str) -> ObservationWrite:
    """As the other service writes it."""
    return write(of, "spot", [(0, {"value": value})])


class TestWhatIsFound:
    def test_what_is_stored_alike_is_the_same_and_leaves_the_buffer(
        self, compared: Compared, server: Server, fhir: str
    ) -> None:
        of = known(server)
        write_all(fhir, series(of, {0: 60, 1: 61, 5: 70}), old_spot(of, "1.50"))
        compared.run.store([measured(of, 0, "60"), measured(of, 1, "61"), spot(of, "1.5")])
        assert compared.flush() == {("series", "same"): 1, ("spot", "same"): 1}
        assert compared.run.left() == []
        assert compared.elements() == []

    def test_what_is_not_there_is_absent(self, compared: Compared, server: Server) -> None:
        of = known(server)
        compared.run.store([measured(of, 0, "60")])
        assert compared.flush() == {("series", "absent"): 1}
        assert compared.run.left() == []
        [found] = compared.run.comparisons.differences()
        assert (found.type, found.outcome, found.elements) == ("series", "absent", ())
        _, sides = compared.run.comparisons.find(found.id) or (None, None)
        assert sides is not None
        assert b'"data":"60 E' in (sides.ours or b"")
        assert sides.stored is None
        assert compared.run.observations(of) == []

    @pytest.mark.parametrize(
        ("change", "elements", "error"),
        [
            ({"valueQuantity": {"value": 2, "unit": "mmHg"}}, ("value",), ""),
            ({"category": []}, ("category",), ""),
            ({"code": {"text": "another"}}, ("code",), ""),
            ({"subject": {"reference": "Patient/another"}}, ("subject",), "ObservationMismatch"),
            ({"device": {"reference": "Device/another"}}, ("device",), "ObservationMismatch"),
            ({"effectivePeriod": {"start": "2025-10-09T09:00:01Z", "end": "2025-10-09T09:00:01Z"}}, ("effective",), ""),
            ({"status": "entered-in-error"}, ("status",), "ObservationWithdrawn"),
            ({"note": [{"text": "from people"}], "issued": "2020-01-01T00:00:00Z", "status": "corrected"}, None, ""),
        ],
    )
    def test_elements_that_differ(
        self,
        compared: Compared,
        server: Server,
        fhir: str,
        change: dict[str, Any],
        elements: tuple[str, ...] | None,
        error: str,
    ) -> None:
        of = known(server)
        old = old_spot(of, "1.5")
        write_all(fhir, old)
        server.put({**server.observation(old), **change})
        compared.run.store([spot(of, "1.5")])
        assert compared.outcome() == ("same" if elements is None else "different")
        assert compared.elements() == ([] if elements is None else [elements])
        assert [each.error for each in compared.run.comparisons.differences()] == ([] if elements is None else [error])

    def test_components_are_named(self, compared: Compared, server: Server, fhir: str) -> None:
        of = known(server)
        write_all(fhir, write(of, "pressure", [(0, {"systolic": "120", "diastolic": "80"})]))
        reading = measured(of, 0, type_name="pressure")
        compared.run.store([reading._replace(properties=(("systolic", "120"), ("diastolic", "81")))])
        assert compared.outcome() == "different"
        assert compared.elements() == [("component:diastolic",)]

    @pytest.mark.parametrize("value", [80, 81])
    def test_a_component_with_another_code_is_named(
        self, compared: Compared, server: Server, fhir: str, value: int
    ) -> None:
        """As of another mapping: merging leaves the codes of components that are there."""
        of = known(server)
        old = write(of, "pressure", [(0, {"systolic": "120", "diastolic": str(value)})])
        write_all(fhir, old)
        stored = server.observation(old)
        stored["component"][1]["code"]["coding"].insert(0, {"system": "http://loinc.org", "code": "8462-4"})
        server.put(stored)
        reading = measured(of, 0, type_name="pressure")
        compared.run.store([reading._replace(properties=(("systolic", "120"), ("diastolic", "80")))])
        assert compared.outcome() == "different"
        assert compared.elements() == [("component:diastolic",)]

    def test_a_value_that_the_mapping_lacks_is_named(self, compared: Compared, server: Server, fhir: str) -> None:
        """As of another mapping, again: what people add has no name of a value."""
        of = known(server)
        old = write(of, "pressure", [(0, {"systolic": "120", "diastolic": "80"})])
        write_all(fhir, old)
        stored = server.observation(old)
        coding = stored["component"][1]["code"]["coding"]
        pulse = {"code": {"coding": [{**coding[-1], "code": "pulse"}]}, "valueQuantity": {"value": 60}}
        by_people = {"code": {"text": "position"}, "valueString": "sitting"}
        stored["component"] += [pulse, by_people]
        server.put(stored | {"valueString": "120/80"})
        reading = measured(of, 0, type_name="pressure")
        compared.run.store([reading._replace(properties=(("systolic", "120"),))])
        assert compared.outcome() == "different"
        assert compared.elements() == [("value", "component:pulse")]

    def test_another_unit_of_a_series_is_named(self, compared: Compared, server: Server, fhir: str) -> None:
        of = known(server)
        old = series(of, {0: 60})
        write_all(fhir, old)
        stored = server.observation(old)
        stored["valueSampledData"]["origin"]["unit"] = "other"
        server.put(stored)
        compared.run.store([measured(of, 0, "60")])
        assert compared.outcome() == "different"
        [found] = compared.run.comparisons.differences()
        assert (found.elements, found.error) == (("value",), "UnitMismatch")

    def test_an_encounter_that_only_we_name_differs(self, compared: Compared, server: Server, fhir: str) -> None:
        of = known(server)
        encounter = unique("visit")
        server.put(
            {
                "resourceType": "Encounter",
                "id": encounter,
                "identifier": [{"value": encounter}],
                "status": "finished",
                "class": {"code": "AMB"},
            }
        )
        write_all(fhir, old_spot(of, "1"))
        compared.run.store([measured(of, 0, "1", "spot", encounter_id=encounter)])
        assert compared.outcome() == "different"
        assert compared.elements() == [("encounter",)]

    def test_what_cannot_be_written_becomes_a_dead_letter_as_ever(self, compared: Compared) -> None:
        compared.run.store([measured(identity(), 0)])
        assert compared.outcome() == "waits"
        assert compared.run.letters() == ["DeviceNotFound"]
        assert compared.run.left() == []


class TestWhatHasNoForm:
    """One Observation that cannot be shown holds up no window."""

    _LAST_MINUTE = 524_287
    """A series has room for so many slots, but not for more than one digit in each."""

    def _too_long(self, of: ResourceIdentity) -> list[Measurement]:
        return [measured(of, minute, "60", "session", correlation_id="c") for minute in (0, self._LAST_MINUTE)]

    def test_a_series_that_is_too_long(self, compared: Compared, server: Server) -> None:
        of = known(server)
        compared.run.store([*self._too_long(of), measured(of, 0, "60")])
        assert compared.flush() == {("session", "different"): 1, ("series", "absent"): 1}
        assert compared.run.left() == []
        [found] = [each for each in compared.run.comparisons.differences() if each.type == "session"]
        assert (found.elements, found.error) == ((), "PeriodTooLong")

    def test_a_series_that_is_too_long_for_what_is_stored(self, compared: Compared, server: Server, fhir: str) -> None:
        of = known(server)
        stored = write(of, "session", [(0, {"value": "60"})], "c")
        write_all(fhir, stored)
        compared.run.store(self._too_long(of))
        assert compared.outcome() == "different"
        [found] = compared.run.comparisons.differences()
        _, sides = compared.run.comparisons.find(found.id) or (None, None)
        assert found.error == "PeriodTooLong"
        assert sides is not None
        assert sides.ours is None
        assert resource_id(stored).encode() in (sides.stored or b"")

    def test_a_stored_observation_that_is_nested_hundreds_deep(
        self, compared: Compared, server: Server, fhir: str
    ) -> None:
        of = known(server)
        write_all(fhir, old_spot(of, "1"))
        extension: dict[str, Any] = {"url": "urn:end", "valueString": "x"}
        for _ in range(300):
            extension = {"url": "urn:nested", "extension": [extension]}

        def nested(answer: Any) -> Any:
            for each in answer["entry"]:
                if each.get("resource", {}).get("resourceType") == "Observation":
                    each["resource"]["extension"] = [extension]
            return answer

        compared.proxy.rewrite(nested, when=lambda request: b"Observation/" in request.body, times=None)
        compared.run.store([spot(of, "2")])
        assert compared.outcome() == "different"
        assert compared.elements() == [("value",)]
        assert compared.run.left() == []


class TestTheOtherServiceIsBehind:
    def test_absent_waits_until_it_is_there(self, compared: Compared, server: Server, fhir: str) -> None:
        of = known(server)
        compared.run.store([measured(of, 0, "60", enqueued=AGO)])
        assert compared.outcome() == "waits"
        write_all(fhir, series(of, {0: 60}))
        assert compared.outcome() == "same"
        assert compared.run.left() == []

    def test_different_waits_until_the_grace_is_over(self, compared: Compared, server: Server, fhir: str) -> None:
        of = known(server)
        write_all(fhir, series(of, {0: 60}))
        compared.run.store([measured(of, 0, "60", enqueued=AGO), measured(of, 1, "61", enqueued=AGO)])
        assert compared.outcome() == "waits"
        assert len(compared.run.left()) == 2
        compared.run.now += 20 * MINUTE
        assert compared.outcome() == "different"
        assert compared.run.left() == []

    def test_what_waits_is_not_read_at_every_tick(self, compared: Compared, server: Server) -> None:
        of = known(server)
        compared.run.store([measured(of, 0, "60", enqueued=AGO)])
        compared.flush()
        asked: list[ProxiedRequest] = []
        compared.proxy.before_forwarding(asked.append, times=None)
        for _ in range(7):
            compared.run.seconds += 30
            compared.run.run()
        assert asked == []
        compared.run.seconds += 30
        compared.run.run()
        assert asked != []

    def test_a_neighbour_that_is_there_leaves_while_the_other_waits(
        self, compared: Compared, server: Server, fhir: str
    ) -> None:
        one, other = known(server), known(server)
        write_all(fhir, series(one, {0: 60}))
        compared.run.store([measured(one, 0, "60", enqueued=AGO), measured(other, 0, "60", enqueued=AGO)])
        assert compared.flush() == {("series", "same"): 1}
        assert [each.device_id for each in compared.run.left()] == [other.device]


class TestTheOtherServiceIsAhead:
    """Its store already has what arrives in our next windows."""

    @pytest.mark.parametrize("later", [AGO + 5 * MINUTE, NOW], ids=["due", "not due"])
    @pytest.mark.parametrize("last", [False, True], ids=["within the grace", "after it"])
    def test_a_single_value_of_a_later_window(
        self, compared: Compared, server: Server, fhir: str, later: int, last: bool
    ) -> None:
        of = known(server)
        reading = measured(of, 0, type_name="pressure", enqueued=AGO)
        compared.run.store([reading._replace(properties=(("systolic", "120"), ("diastolic", "80")))])
        next_reading = reading._replace(occurrence_time=HOUR + 5 * MINUTE, ingestion_time=later)
        compared.run.store([next_reading._replace(properties=(("systolic", "130"), ("diastolic", "85")))])
        if last:
            compared.run.now += 15 * MINUTE
        write_all(fhir, write(of, "pressure", [(5, {"systolic": "130", "diastolic": "85"})]))
        assert ("pressure", "different") not in compared.flush()
        assert compared.run.comparisons.types()[0].outcomes["same"] >= 1
        compared.run.now += 60 * MINUTE
        compared.flush()
        assert compared.elements() == []

    def test_a_value_that_no_later_reading_left_is_different(
        self, compared: Compared, server: Server, fhir: str
    ) -> None:
        of = known(server)
        for minute, value, enqueued in ((0, "120", HOUR), (5, "130", HOUR + 5 * MINUTE)):
            reading = measured(of, minute, type_name="pressure", enqueued=enqueued)
            compared.run.store([reading._replace(properties=(("systolic", value),))])
        write_all(fhir, write(of, "pressure", [(5, {"systolic": "131"})]))
        assert compared.flush() == {("pressure", "different"): 2}

    def test_readings_that_were_sent_hours_late(self, compared: Compared, server: Server, fhir: str) -> None:
        of = known(server)
        for minute, value, enqueued in ((-300, "120", HOUR), (-295, "130", HOUR + 5 * MINUTE)):
            reading = measured(of, minute, type_name="pressure", enqueued=enqueued)
            compared.run.store([reading._replace(properties=(("systolic", value),))])
        write_all(fhir, write(of, "pressure", [(-295, {"systolic": "130"})]))
        assert compared.flush() == {("pressure", "same"): 2}

    def test_a_slot_that_two_windows_share(self, compared: Compared, server: Server, fhir: str) -> None:
        of = known(server)
        first = measured(of, 1, "61")
        second = first._replace(
            occurrence_time=first.occurrence_time + MINUTE // 2,
            properties=(("value", "62"),),
            ingestion_time=HOUR + 5 * MINUTE,
        )
        compared.run.store([measured(of, 0, "60"), first])
        compared.run.store([second])
        write_all(fhir, series(of, {0: 60, 1: 62}))
        assert compared.flush() == {("series", "same"): 2}

    def test_while_it_waits_in_one_window_it_stays_in_the_later_ones_too(
        self, compared: Compared, server: Server, fhir: str
    ) -> None:
        """Else what explains the older one would be gone when it is judged again."""
        of = known(server)
        for minute, values, enqueued in (
            (0, (("systolic", "120"), ("diastolic", "80")), AGO),
            (5, (("systolic", "130"),), AGO + 5 * MINUTE),
        ):
            reading = measured(of, minute, type_name="pressure", enqueued=enqueued)
            compared.run.store([reading._replace(properties=values)])
        old = write(of, "pressure", [(5, {"systolic": "130"})])
        write_all(fhir, old)
        assert compared.flush() == {}
        write_all(fhir, write(of, "pressure", [(0, {"diastolic": "80"}), (5, {"systolic": "130"})]))
        assert compared.flush() == {("pressure", "same"): 2}


class TestNothingIsWritten:
    @pytest.mark.parametrize("mode", list(ResolutionType))
    def test_in_any_identity_mode(self, make_run: MakeRun, server: Server, fhir: str, mode: ResolutionType) -> None:
        of = known(server)
        with before(fhir) as (proxy, url):
            compared = Compared(make_run(url, resolution=mode, fhir_write="compare"), proxy)
            stranger = unique("stranger")
            compared.run.store([measured(of, 0, patient_id=None), measured(of, 1, "7", encounter_id="nobody")])
            compared.run.store([measured(of, 2, "1")._replace(device_id=stranger, patient_id=f"of-{stranger}")])
            compared.flush()
            compared.run.flush.run()
            assert compared.written == []
            assert not server.holds(f"Device/{Identifier('', stranger).resource_id()}")

    def test_create_mode_judges_by_the_ids_that_would_be_made(
        self, make_run: MakeRun, server: Server, fhir: str
    ) -> None:
        device, patient = unique("device"), unique("patient")
        ids = ResourceIdentity(Identifier("", device).resource_id(), Identifier("", patient).resource_id(), None)
        with before(fhir) as (proxy, url):
            compared = Compared(make_run(url, resolution=ResolutionType.CREATE, fhir_write="compare"), proxy)
            named = measured(ids, 0, "60", enqueued=AGO)._replace(device_id=device, patient_id=patient)
            unnamed = named._replace(patient_id=None, occurrence_time=HOUR + MINUTE, sequence_number=9)
            compared.run.store([named, unnamed])
            assert compared.outcome() == "waits"
            assert compared.run.letters() == []
            write_all(fhir, series(ids, {0: 60, 1: 60}))
            assert compared.flush() == {("series", "same"): 1}
            assert compared.written == []

    def test_a_letter_that_is_replayed_is_compared(self, compared: Compared, server: Server) -> None:
        ward = Ward(compared.run)
        of = known(server)
        ward.ingest([ward.event(message(of.device, series=60))], BROKEN)
        assert len(ward.letters()) == 1
        ward.replay()
        assert compared.flush() == {("series", "absent"): 1}
        assert (ward.letters(), compared.run.observations(of)) == ([], [])

    def test_watches_of_an_earlier_phase_wait(self, compared: Compared, storage: Storage, server: Server) -> None:
        of = known(server)
        with FhirClient(server.url) as client:
            watches = Watches(storage, client)
            watches.of(0, lambda: NOW).add([Watch("Observation", resource_id(series(of, {0: 1})), (0, 1))])
            compared.run.store([measured(of, 0)])
            compared.flush()
            assert watches.shards() == {0}

    def test_rows_that_wait_are_written_after_the_switch(
        self, compared: Compared, make_run: MakeRun, server: Server, fhir: str
    ) -> None:
        of = known(server)
        compared.run.store([measured(of, 0, "60", enqueued=AGO)])
        assert compared.outcome() == "waits"
        writing = make_run(fhir)
        writing.run()
        assert len(writing.observations(of)) == 1
        assert writing.left() == []


class TestCounting:
    def test_a_flush_that_dies_after_it_counted_does_not_count_twice(
        self, compared: Compared, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        of = known(server)
        compared.run.store([measured(of, 0, "60"), spot(of, "1")])
        with monkeypatch.context() as dying:
            dying.setattr(compared.run.buffer, "delete", lambda rows: 1 / 0)
            compared.run.run()
        assert len(compared.run.left()) == 2
        compared.flush()
        assert compared.run.left() == []
        assert {each.type: dict(each.outcomes) for each in compared.run.comparisons.types()} == {
            "series": {"absent": 1},
            "spot": {"absent": 1},
        }

    def test_an_outage_counts_nothing_and_loses_nothing(self, compared: Compared, server: Server) -> None:
        of = known(server)
        compared.run.store([measured(of, 0, "60")])
        compared.proxy.cut_before(times=None)
        tally = compared.run.run()
        assert tally.outages
        assert compared.run.comparisons.types() == []
        compared.proxy.clear()
        assert compared.outcome() == "absent"

    def test_the_log_line_has_types_and_counts_alone(
        self, compared: Compared, server: Server, caplog: pytest.LogCaptureFixture
    ) -> None:
        of = known(server)
        compared.run.store([measured(of, 0, "60777")])
        with caplog.at_level(logging.INFO, "medtech"):
            compared.flush()
        assert (
            "1 windows compared, nothing written: 0 Observations same, 1 absent, 0 different (series: 1)" in caplog.text
        )
        assert "60777" not in caplog.text
