"""The flush between a real Azurite and a real FHIR server: what is written, what stays, what is buried."""

import importlib
import json
import logging
import threading
import zlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest

from medtech.errors import FhirServerUnavailable
from medtech.group import windows
from medtech.group.buffer import TABLE
from medtech.group.reading import Left
from medtech.group.segment import MAX_UNPACKED_BYTES
from medtech.mapping.fhir import load_fhir_mapping
from medtech.model import ResourceIdentity
from medtech.persist.identity import IdentityKey, IdentityResolver
from medtech.persist.references import Identifier
from medtech.persist.settle import SavedAs
from medtech.settings import ResolutionType
from medtech.storage import lease
from medtech.storage.payload import split
from medtech.transform.fhir_json import dump_resource
from tests.faults import Answer, Cut, FaultProxy, ProxiedRequest, reads, writes
from tests.flush.samples import HUB, NOW, MakeRun, Run, known, measured
from tests.persist.samples import HOUR, MAPPING, MINUTE, Server, identity, points, series, unique, write_all

TWO_BLANKS = """
{"templateType": "CollectionFhir", "template": [
    {"templateType": "CodeValueFhir", "template": {"typeName": "series", "periodInterval": 60, "codes": [],
        "value": {"valueName": "value", "valueType": "SampledData", "defaultPeriod": 60000, "unit": "/min"}}},
    {"templateType": "CodeValueFhir", "template": {"typeName": "refused", "codes": [{"code": "a  b", "system": "s"}],
        "value": {"valueName": "value", "valueType": "Quantity", "unit": "/min"}}}
]}
"""
"""Two blanks in a row make no FHIR code: the server refuses what the second template makes."""


def test_a_due_window_becomes_observations_and_leaves_the_buffer(run: Run, server: Server) -> None:
    of = known(server)
    run.store([measured(of, 0, "60"), measured(of, 1, "61")])
    tally = run.run()
    assert tally.observations == {SavedAs.CREATED: 1}
    assert (tally.measurements, tally.waiting, tally.outages) == (2, 0, [])
    [observation] = run.observations(of)
    assert points(observation) == {0: "60", 1: "61"}
    assert run.left() == []


def test_a_window_that_is_not_due_is_left_alone(run: Run, server: Server) -> None:
    of = known(server)
    run.store([measured(of, 0, enqueued=NOW)])
    assert run.run().windows == 0
    assert run.observations(of) == []
    assert run.buffer.oldest_window() is not None


def test_windows_are_written_oldest_first_so_that_the_later_value_stands(run: Run, server: Server) -> None:
    of = known(server)
    run.store([measured(of, 0, "2", enqueued=HOUR + 10 * MINUTE)])
    run.store([measured(of, 0, "1", enqueued=HOUR)])
    assert run.run().windows == 2
    [observation] = run.observations(of)
    assert points(observation) == {0: "2"}


def test_overlapping_deliveries_are_one_reading(run: Run, server: Server) -> None:
    of = known(server)
    readings = [measured(of, minute, str(60 + minute)) for minute in range(4)]
    run.store(readings)
    run.store(readings[:2])
    run.store(readings[1:])
    assert run.run().observations == {SavedAs.CREATED: 1}
    [observation] = run.observations(of)
    assert points(observation) == {0: "60", 1: "61", 2: "62", 3: "63"}
    assert run.left() == []


@pytest.mark.parametrize("deliveries", [(4, 7), (7, 4)])
def test_a_batch_under_two_numbers_of_shards_is_written_once(
    run: Run, server: Server, deliveries: tuple[int, int]
) -> None:
    devices = [known(server) for _ in range(8)]
    for shards in deliveries:
        run.store([measured(of, minute, str(60 + minute)) for of in devices for minute in range(2)], shards=shards)
    tally = run.run()
    assert (tally.observations[SavedAs.CREATED], tally.observations[SavedAs.UPDATED]) == (len(devices), 0)
    for of in devices:
        [observation] = run.observations(of)
        assert points(observation) == {0: "60", 1: "61"}
        assert observation["meta"]["versionId"] == "1"
    assert run.left() == []


def test_an_unknown_device_is_buried_and_its_neighbour_written(run: Run, server: Server) -> None:
    of, stranger = known(server), identity()
    run.store([measured(of, 0), measured(stranger, 0)])
    tally = run.run()
    assert run.letters() == ["DeviceNotFound"]
    assert tally.observations == {SavedAs.CREATED: 1}
    assert tally.errors == {("DeviceNotFound", "Normalization", "DeviceMessageError", "Error"): 1}
    assert run.left() == []


def test_unknown_devices_with_endless_ids_are_buried(run: Run, server: Server) -> None:
    """Their letters quote them, each character in six bytes: more than a transaction takes."""
    stranger = identity()._replace(device="\u00e9" * 8_000)
    run.store([measured(stranger, minute) for minute in range(100)])
    tally = run.run()
    assert (tally.letters, tally.outages) == (100, [])
    assert run.letters() == ["DeviceNotFound"] * 100
    assert run.left() == []


def test_a_letter_of_a_measurement_is_the_same_under_another_order_of_templates(run: Run, server: Server) -> None:
    stranger = identity()
    readings = [measured(stranger, 0, type_name=name) for name in ("series", "blood pressure")]
    for templates in ((0, 1), (1, 0)):
        run.store([each._replace(template=index) for each, index in zip(readings, templates, strict=True)])
        run.run()
    assert [summary.count for summary in run.dead_letters.select()] == [2, 2]


def test_a_bad_reading_is_buried_and_the_good_ones_written(run: Run, server: Server) -> None:
    of = known(server)
    run.store([measured(of, 0, "sixty"), measured(of, 1, "61")])
    run.run()
    [observation] = run.observations(of)
    assert points(observation) == {1: "61"}
    assert run.letters() == ["ReadingInvalid"]


def test_what_the_server_refuses_is_buried_with_its_reason(run: Run, server: Server) -> None:
    of = known(server)
    run.mapping = load_fhir_mapping(TWO_BLANKS)
    run.store([measured(of, 0, type_name="refused"), measured(of, 0)])
    assert run.run().observations == {SavedAs.CREATED: 1}
    [summary] = run.dead_letters.select()
    letter = run.dead_letters.read(summary.partition_key, summary.row_key)
    assert letter is not None
    assert (letter.error, letter.hub) == ("ResourceRefused", HUB)
    assert "OperationOutcome" in (letter.outcome or "")
    assert run.left() == []


def test_a_server_that_is_away_leaves_every_row_where_it_is(
    make_run: MakeRun, server: Server, fhir: str, caplog: pytest.LogCaptureFixture
) -> None:
    of = known(server)
    address = urlsplit(fhir)
    with FaultProxy(f"{address.scheme}://{address.netloc}") as proxy:
        run = make_run(f"{proxy.url}{address.path}")
        run.store([measured(of, 0, "sixty"), measured(of, 1)])
        proxy.answer(503, times=None)
        with caplog.at_level(logging.INFO):
            tally = run.run()
        assert isinstance(tally.outages[0], FhirServerUnavailable)
        assert "nothing is lost" in caplog.text
        assert len(run.left()) == 2
        proxy.clear()
        assert run.run().observations == {SavedAs.CREATED: 1}
        assert run.left() == []


@pytest.mark.parametrize("body", [b"<html>Request rejected.</html>", b'{"resourceType": "OperationOutcome"}'])
@pytest.mark.parametrize("status", [400, 413])
def test_a_gateway_that_refuses_reads_leaves_every_row_where_it_is(
    make_run: MakeRun, server: Server, fhir: str, status: int, body: bytes
) -> None:
    of = known(server)
    address = urlsplit(fhir)
    with FaultProxy(f"{address.scheme}://{address.netloc}") as proxy:
        run = make_run(f"{proxy.url}{address.path}")
        run.store([measured(of, 0), measured(of, 1)])
        proxy.answer(status, body, when=reads, times=None)
        run.run()
        assert not any(map(writes, proxy.requests))
        assert run.letters() == []
        assert len(run.left()) == 2
        proxy.clear()
        assert run.run().observations == {SavedAs.CREATED: 1}
        assert run.left() == []


def test_only_what_waits_stays_of_a_row(make_run: MakeRun, server: Server, fhir: str) -> None:
    of, stuck = known(server), known(server)
    address = urlsplit(fhir)
    with FaultProxy(f"{address.scheme}://{address.netloc}") as proxy:
        run = make_run(f"{proxy.url}{address.path}")
        run.store([measured(of, 0), measured(stuck, 0)])

        def conflict(request: ProxiedRequest, forward: Callable[[], Answer]) -> Answer:
            bundle = json.loads(request.body)
            others = [entry for entry in bundle["entry"] if stuck.patient not in str(entry["resource"])]
            entries = iter(server.batch(others)["entry"]) if others else iter(())
            answered = [
                next(entries) if entry in others else {"response": {"status": "412"}} for entry in bundle["entry"]
            ]
            body = json.dumps({"resourceType": "Bundle", "type": "batch-response", "entry": answered}).encode()
            return Answer(200, [("content-type", "application/fhir+json")], body)

        # The write of one device is answered 412, again and again; the other's goes through.
        proxy.rule(conflict, writes, times=None)
        tally = run.run()
        assert tally.waiting == 1
        assert tally.outages == []
        assert [measurement.device_id for measurement in run.left()] == [stuck.device]
        proxy.clear()
        assert run.run().waiting == 0
        assert len(run.observations(stuck)) == 1


def test_what_waits_stays_of_every_portion(make_run: MakeRun, server: Server, fhir: str) -> None:
    """A row is complete only after the last portion: what waits of the first one must not be forgotten by then."""
    devices = [known(server) for _ in range(12)]
    address = urlsplit(fhir)

    def conflict(request: ProxiedRequest, forward: Callable[[], Answer]) -> Answer:
        entries = [{"response": {"status": "412"}} for _ in request.bundle_methods]
        body = dump_resource({"resourceType": "Bundle", "type": "batch-response", "entry": entries})
        return Answer(200, [("content-type", "application/fhir+json")], body)

    with FaultProxy(f"{address.scheme}://{address.netloc}") as proxy:
        run = make_run(f"{proxy.url}{address.path}", flush_portion_mb=1)
        filler = ("note", "x" * 40_000)
        run.store([measured(of, 0)._replace(properties=(("value", "60"), filler)) for of in devices])
        proxy.rule(conflict, writes, times=None)
        tally = run.run()
        assert (tally.measurements, tally.waiting, tally.outages) == (0, len(devices), [])
        assert len(run.left()) == len(devices)
        proxy.clear()
        assert run.run().observations == {SavedAs.CREATED: len(devices)}


def test_a_server_that_fails_on_one_observation_does_not_hold_up_later_windows(
    make_run: MakeRun, server: Server, fhir: str
) -> None:
    of, stuck = known(server), known(server)
    address = urlsplit(fhir)
    with FaultProxy(f"{address.scheme}://{address.netloc}") as proxy:
        run = make_run(f"{proxy.url}{address.path}")
        run.store([measured(stuck, 0), measured(of, 0)])
        run.store([measured(of, 1, "61", enqueued=HOUR + 10 * MINUTE)])

        def fail(request: ProxiedRequest, forward: Callable[[], Answer]) -> Answer:
            bundle = json.loads(request.body)
            others = [entry for entry in bundle["entry"] if stuck.patient not in str(entry["resource"])]
            entries = iter(server.batch(others)["entry"]) if others else iter(())
            answered = [
                next(entries) if entry in others else {"response": {"status": "500"}} for entry in bundle["entry"]
            ]
            body = dump_resource({"resourceType": "Bundle", "type": "batch-response", "entry": answered})
            return Answer(200, [("content-type", "application/fhir+json")], body)

        proxy.rule(fail, writes, times=None)
        tally = run.run()
        assert (tally.windows, tally.waiting, tally.outages) == (2, 1, [])
        [observation] = run.observations(of)
        assert points(observation) == {0: "60", 1: "61"}


@pytest.mark.parametrize(
    "where", ["medtech.flush.window.convert", "medtech.flush.window.fold", "medtech.persist.observations.create_text"]
)
def test_a_fault_of_the_app_buries_what_it_met_and_not_its_neighbours(
    run: Run, server: Server, where: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    of, unlucky = known(server), known(server)
    run.store([measured(of, 0), measured(unlucky, 0)])
    module, _, name = where.rpartition(".")
    function = getattr(importlib.import_module(module), name)

    def faulty(*arguments: Any) -> Any:
        if unlucky.device in str(arguments) or (
            name == "fold" and unlucky.device == arguments[0][0].measurements[0].device_id
        ):
            raise KeyError("secret reading")
        return function(*arguments)

    # A fault of ours that a real part cannot be made to show.
    monkeypatch.setattr(where, faulty)
    with caplog.at_level(logging.DEBUG):
        assert run.run().observations == {SavedAs.CREATED: 1}
    assert [summary.error for summary in run.dead_letters.select()] == ["UnexpectedFault"]
    assert all("secret" not in summary.message for summary in run.dead_letters.select())
    assert "secret" not in caplog.text
    assert run.left() == []


def test_two_devices_texts_of_one_device_fold_into_one_write(run: Run, server: Server) -> None:
    of = known(server)
    device = server.get(f"Device/{of.device}")
    server.put(device | {"identifier": [*device["identifier"], {"value": f"{of.device}-alias"}]})
    alias = ResourceIdentity(f"{of.device}-alias", of.patient, None)
    run.store([measured(of, 0, "60"), measured(alias, 1, "61")])
    assert run.run().observations == {SavedAs.CREATED: 1}
    [observation] = run.observations(of)
    assert points(observation) == {0: "60", 1: "61"}


def test_groups_that_together_last_too_long_are_buried(run: Run, server: Server) -> None:
    """Each is a session of one moment; in the one Observation that both belong to lie twenty years."""
    of, neighbour = known(server), known(server)
    device = server.get(f"Device/{of.device}")
    server.put(device | {"identifier": [*device["identifier"], {"value": f"{of.device}-alias"}]})
    alias = ResourceIdentity(f"{of.device}-alias", of.patient, None)
    session = {"type_name": "session", "correlation_id": "walk"}
    twenty_years = 20 * 365 * 24 * 60
    run.store([measured(of, 0, **session), measured(alias, twenty_years, **session), measured(neighbour, 0)])
    assert run.run().observations == {SavedAs.CREATED: 1}
    assert run.letters() == ["PeriodTooLong", "PeriodTooLong"]
    assert run.left() == []


def test_a_large_window_goes_in_portions_and_no_group_is_split(make_run: MakeRun, server: Server, fhir: str) -> None:
    devices = [known(server) for _ in range(6)]
    run = make_run(fhir, flush_portion_mb=1)
    for minute in range(12):
        # Each batch unpacks to about 0.5 MB: the window needs several portions of 1 MB.
        filler = (("note", "x" * 80_000),)
        run.store(
            [
                measured(of, minute, str(60 + minute))._replace(properties=(("value", str(60 + minute)), *filler))
                for of in devices
            ]
        )
    tally = run.run()
    assert tally.observations == {SavedAs.CREATED: len(devices)}
    for of in devices:
        [observation] = run.observations(of)
        assert points(observation) == {minute: str(60 + minute) for minute in range(12)}
    assert run.left() == []


def test_shards_beyond_the_setting_are_flushed(run: Run, server: Server) -> None:
    devices = [known(server) for _ in range(8)]
    run.store([measured(of, 0) for of in devices], shards=16)
    assert run.run().observations == {SavedAs.CREATED: len(devices)}
    assert run.buffer.shards() == []


@pytest.mark.parametrize(
    "payload",
    [b"\x01abc", b"\x01" + zlib.compress(bytes(MAX_UNPACKED_BYTES + 1))],
    ids=["not zlib", "unpacks to more than memory should hold"],
)
def test_a_damaged_row_is_buried_whole(run: Run, server: Server, payload: bytes) -> None:
    of = known(server)
    run.store([measured(of, 0)])
    key = windows.partition_key(0, windows.window_start(HOUR, 300))
    run.storage.table(TABLE).upsert(
        {"PartitionKey": key, "RowKey": "e|somebody's", "hub": HUB, "stored_bytes": 4, "unpacked_bytes": 4}
        | split(payload)
    )
    assert run.run().observations == {SavedAs.CREATED: 1}
    [summary] = run.dead_letters.select()
    letter = run.dead_letters.read(summary.partition_key, summary.row_key)
    assert letter is not None and (letter.error, letter.content) == ("BufferCorrupt", payload)
    assert run.buffer.shards() == []


def test_a_fault_of_the_app_in_one_shard_leaves_the_others_theirs(
    run: Run, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    of, others = known(server), [known(server) for _ in range(8)]
    run.store([measured(each, 0) for each in others], shards=4)
    [unlucky] = {windows.shard_of(of.device, 4)}
    run.store([measured(of, 0)], shards=4)

    class Faulty(IdentityResolver):
        """Meets what nobody thought of."""

        def resolve(self, keys: Iterable[IdentityKey], *how: Any) -> Any:
            asked = list(keys)
            if any(key.device_id == of.device for key in asked):
                raise KeyError("secret reading")
            return super().resolve(asked, *how)

    identities = Faulty(run.client, ResolutionType.LOOKUP, "", 3600, pause=lambda seconds: None)
    whole, run.flush = run.flush, replace(run.flush, identities=identities)
    unhurt = [each for each in others if windows.shard_of(each.device, 4) != unlucky]
    with caplog.at_level(logging.DEBUG):
        tally = run.run()
    assert tally.observations == {SavedAs.CREATED: len(unhurt)}
    assert tally.errors == {("UnexpectedFault", "Unknown", "GeneralError", "Error"): 1}
    assert f"Shard {unlucky}, window 2025-" in caplog.text and ": KeyError at test_run.py:" in caplog.text
    assert "secret" not in caplog.text
    assert run.letters() == []
    run.flush = whole
    run.run()
    assert run.left() == []


def test_a_partition_that_is_not_ours_does_not_stop_the_flush(
    run: Run, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    of = known(server)
    run.store([measured(of, 0)])
    foreign = [{"PartitionKey": key, "RowKey": "a"} for key in ("000", "000|2", "zzz")]
    for entity in foreign:
        run.storage.table(TABLE).upsert(entity)
    assert run.run().observations == {SavedAs.CREATED: 1}
    assert "rows that the app did not write" in caplog.text
    assert run.left() == []
    assert len(list(run.storage.table(TABLE).query("PartitionKey ne ''"))) == len(foreign)


def test_without_a_fhir_mapping_measurements_wait(run: Run, server: Server, caplog: pytest.LogCaptureFixture) -> None:
    of = known(server)
    run.store([measured(of, 0)])
    run.mapping = None
    with caplog.at_level(logging.ERROR):
        assert run.run().windows == 0
    assert "FHIR_MAPPING" in caplog.text
    assert len(run.left()) == 1
    run.mapping = MAPPING
    assert run.run().observations == {SavedAs.CREATED: 1}


def test_a_shard_that_another_flushes_is_left_to_it(run: Run, server: Server) -> None:
    of = known(server)
    run.store([measured(of, 0)])
    other = lease.acquire(run.storage, windows.shard_name(0))
    assert other is not None
    with other:
        assert run.run().windows == 0
        assert len(run.left()) == 1
    assert run.run().windows == 1


def test_after_a_lost_lease_nothing_is_written(make_run: MakeRun, server: Server, fhir: str) -> None:
    """The clock moves past the lease between the reads and the writes, and nobody renews it in time."""
    of, address = known(server), urlsplit(fhir)
    seconds = [0.0]
    with FaultProxy(f"{address.scheme}://{address.netloc}") as proxy:
        run = make_run(f"{proxy.url}{address.path}")
        run.flush = replace(run.flush, monotonic=lambda: seconds[-1])
        run.store([measured(of, 0)])
        run.store([measured(of, 1, enqueued=HOUR + 10 * MINUTE)])
        proxy.before_forwarding(lambda request: seconds.append(float(lease.LEASE_SECONDS)), when=reads)
        tally = run.run()
        assert (tally.windows, tally.observations) == (1, {})
        assert not any(map(writes, proxy.requests))
        assert run.run().observations == {SavedAs.CREATED: 1, SavedAs.UPDATED: 1}


def test_a_row_that_another_changed_meanwhile_is_not_written(make_run: MakeRun, server: Server, fhir: str) -> None:
    of, address = known(server), urlsplit(fhir)
    with FaultProxy(f"{address.scheme}://{address.netloc}") as proxy:
        run = make_run(f"{proxy.url}{address.path}")
        run.store([measured(of, 0), measured(of, 1)])

        def settle_one(request: ProxiedRequest) -> None:
            [window] = run.buffer.due_windows(0, NOW, 300, 15)
            [portion] = run.buffer.read(0, window, 1 << 30)
            run.buffer.replace([Left(portion.rows[0], portion.measurements()[1:])])

        proxy.before_forwarding(settle_one, when=reads)
        assert run.run().observations == {}
    assert run.observations(of) == []
    assert len(run.left()) == 1


def test_a_device_that_was_replaced_is_found_anew(make_run: MakeRun, fhir_profile: Callable[[str], str]) -> None:
    """The cached identity no longer holds: the server says so, and the next flush writes to the new Patient."""
    server = Server(fhir_profile("checked-references"))
    of, moved = known(server), identity()
    run = make_run(server.url)
    run.store([measured(of, 0)])
    run.run()
    server.put({"resourceType": "Patient", "id": moved.patient})
    server.put(server.get(f"Device/{of.device}") | {"patient": {"reference": f"Patient/{moved.patient}"}})
    server.delete(f"Patient/{of.patient}")
    run.store([measured(of, 1, "61")])

    assert run.run().waiting == 1
    assert run.run().observations == {SavedAs.CREATED: 1}
    [entry] = server.get(f"Observation?subject=Patient/{moved.patient}")["entry"]
    assert points(entry["resource"]) == {1: "61"}
    server.close()


def test_a_reference_that_is_refused_although_nothing_changed_is_buried(
    make_run: MakeRun, server: Server, fhir: str
) -> None:
    """Readings of two encounters in one write: each identity is still what it was, so waiting would not help."""
    of, address = known(server), urlsplit(fhir)
    visits = [unique("visit") for _ in range(2)]
    for visit in visits:
        content = {"status": "finished", "class": {"code": "AMB"}}
        server.put({"resourceType": "Encounter", "id": visit, "identifier": [{"value": visit}], **content})

    def refuse(request: ProxiedRequest, forward: Callable[[], Answer]) -> Answer:
        outcome = {"resourceType": "OperationOutcome", "issue": [{"diagnostics": f"Patient/{of.patient} not found"}]}
        entries = [{"response": {"status": "422", "outcome": outcome}} for _ in request.bundle_methods]
        body = dump_resource({"resourceType": "Bundle", "type": "batch-response", "entry": entries})
        return Answer(200, [("content-type", "application/fhir+json")], body)

    with FaultProxy(f"{address.scheme}://{address.netloc}") as proxy:
        run = make_run(f"{proxy.url}{address.path}")
        run.store([measured(of, minute, encounter_id=visit) for minute, visit in enumerate(visits)])
        proxy.rule(refuse, writes)
        assert run.run().waiting == 0
    assert run.letters() == ["ResourceRefused", "ResourceRefused"]
    assert run.left() == []


@pytest.mark.parametrize("resolution", [ResolutionType.LOOKUP, ResolutionType.CREATE])
def test_a_device_handed_to_the_next_patient_writes_to_that_one(
    run: Run, server: Server, resolution: ResolutionType
) -> None:
    of, following = known(server), identity()
    seconds = [0.0]
    identities = IdentityResolver(run.client, resolution, "", 60, pause=lambda seconds: None, clock=lambda: seconds[-1])
    run.flush = replace(run.flush, identities=identities)
    run.store([measured(of, 0)])
    run.run()
    server.put({"resourceType": "Patient", "id": following.patient})
    server.put(server.get(f"Device/{of.device}") | {"patient": {"reference": f"Patient/{following.patient}"}})

    seconds.append(60.0)
    run.store([measured(of, 1, "61")])
    run.run()

    [last] = run.observations(of)
    assert points(last) == {0: "60"}
    [observation] = run.observations(following)
    assert points(observation) == {1: "61"}


def test_a_device_handed_over_while_its_portion_is_written_writes_to_the_next_patient(
    make_run: MakeRun, server: Server, fhir: str
) -> None:
    """Its link was fresh when the portion began, and is too old when the bundle is about to go out."""
    of, following, address = known(server), identity(), urlsplit(fhir)
    seconds = [0.0]
    server.put({"resourceType": "Patient", "id": following.patient})

    def hand_over(request: ProxiedRequest) -> None:
        if seconds[-1] == 0:
            seconds.append(60.0)
            device = server.get(f"Device/{of.device}")
            server.put(device | {"patient": {"reference": f"Patient/{following.patient}"}})

    with FaultProxy(f"{address.scheme}://{address.netloc}") as proxy:
        run = make_run(f"{proxy.url}{address.path}")
        identities = IdentityResolver(
            run.client, ResolutionType.LOOKUP, "", 60, pause=lambda seconds: None, clock=lambda: seconds[-1]
        )
        run.flush = replace(run.flush, identities=identities)
        run.store([measured(of, 0)])
        proxy.before_forwarding(hand_over, when=lambda request: b"Observation/" in request.body)
        assert run.run().observations == {}
        assert len(run.left()) == 1
        assert run.run().observations == {SavedAs.CREATED: 1}
    assert run.observations(of) == []
    assert len(run.observations(following)) == 1


def test_a_creation_that_was_not_seen_answered_is_checked_at_the_next_flush(
    make_run: MakeRun, fhir_profile: Callable[[str], str]
) -> None:
    """It went over another writer's, on a server that ignores If-None-Match; then the server was away."""
    server = Server(fhir_profile("no-if-none-match"))
    of, address = known(server), urlsplit(server.url)
    away = threading.Event()

    def over_another_writers(request: ProxiedRequest, forward: Callable[[], Answer]) -> Answer:
        write_all(server.url, series(of, {1: 61}))
        forward()
        away.set()
        raise Cut

    with FaultProxy(f"{address.scheme}://{address.netloc}") as proxy:
        run = make_run(f"{proxy.url}{address.path}")
        run.store([measured(of, 0)])
        proxy.answer(503, when=lambda request: away.is_set(), times=None)
        proxy.rule(over_another_writers, writes)
        assert run.run().waiting == 1
        proxy.clear()
        assert run.run().waiting == 0

    [observation] = [entry["resource"] for entry in server.get(f"Observation?subject=Patient/{of.patient}")["entry"]]
    assert points(observation) == {0: "60", 1: "61"}
    server.close()


def test_a_superseded_single_value_is_counted(run: Run, server: Server) -> None:
    of = known(server)
    first = measured(of, 0, "1", "spot")
    within_the_second = measured(of, 1, "2", "spot")._replace(occurrence_time=first.occurrence_time + 1)
    run.store([first, within_the_second])

    tally = run.run()

    assert (tally.measurements, tally.superseded) == (2, {"spot": 1})
    [observation] = run.observations(of)
    assert observation["valueQuantity"]["value"] == 2


def test_readings_of_another_encounter_are_counted(run: Run, server: Server) -> None:
    """Those that meet in one write, and those that meet what is stored."""
    of = known(server)
    visits = [unique("visit") for _ in range(2)]
    for visit in visits:
        content = {"status": "finished", "class": {"code": "AMB"}}
        server.put({"resourceType": "Encounter", "id": visit, "identifier": [{"value": visit}], **content})
    run.store([measured(of, minute, encounter_id=visit) for minute, visit in enumerate(visits)])
    assert run.run().other_encounters == 1
    [observation] = run.observations(of)
    stored = observation["encounter"]["reference"].removeprefix("Encounter/")

    run.store([measured(of, 2, encounter_id=next(visit for visit in visits if visit != stored))])

    assert run.run().other_encounters == 1
    [observation] = run.observations(of)
    assert observation["encounter"]["reference"] == f"Encounter/{stored}"
    assert points(observation) == {0: "60", 1: "60", 2: "60"}


def test_the_same_flush_again_changes_nothing(run: Run, server: Server) -> None:
    of = known(server)
    readings = [measured(of, 0), measured(of, 1), measured(of, 2, type_name="spot")]
    run.store(readings)
    run.run()
    versions = {observation["meta"]["versionId"] for observation in run.observations(of)}
    run.store(readings)
    assert run.run().observations == {SavedAs.NO_OPERATION: 2}
    assert {observation["meta"]["versionId"] for observation in run.observations(of)} == versions


def test_a_patient_edited_by_hand_that_the_search_misses_is_left_alone(
    make_run: MakeRun, server: Server, fhir: str
) -> None:
    of = identity()
    patient = Identifier.of("", of.patient)
    edited = {
        "resourceType": "Patient",
        "id": patient.resource_id(),
        "identifier": [patient.element(), {"system": "urn:ward", "value": "7"}],
        "name": [{"family": "Edited by hand"}],
    }
    before = server.put(edited)["meta"]["versionId"]
    address = urlsplit(fhir)

    hidden: list[Any] = []

    def hide(bundle: Any) -> Any:
        for entry in bundle.get("entry", []):
            found = entry.get("resource", {})
            if found.get("type") == "searchset":
                hidden.extend(found.pop("entry", []))
        return bundle

    with FaultProxy(f"{address.scheme}://{address.netloc}") as proxy:
        proxy.rewrite(hide, reads, times=None)
        run = make_run(f"{proxy.url}{address.path}", resolution=ResolutionType.CREATE)
        run.store([measured(of, 0, patient_id=of.patient)])
        assert run.run().observations == {SavedAs.CREATED: 1}

    assert [entry["resource"]["id"] for entry in hidden] == [patient.resource_id()]
    after = server.get(f"Patient/{patient.resource_id()}")
    assert (after["meta"]["versionId"], after["name"]) == (before, edited["name"])
    [observation] = server.get(f"Observation?subject=Patient/{patient.resource_id()}")["entry"]
    assert points(observation["resource"]) == {0: "60"}
