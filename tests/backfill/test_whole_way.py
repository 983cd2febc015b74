"""An event's way: out of a Capture file, into the buffer, to the FHIR server; once, whoever else delivers it."""

from itertools import chain, repeat
from typing import Any

import pytest
from azure.storage.blob import ContainerSasPermissions, StandardBlobTier, generate_container_sas

from medtech.backfill import work
from medtech.backfill.container import CaptureContainer
from medtech.backfill.job import Cursor
from medtech.backfill.path_format import DEFAULT_FORMAT
from medtech.backfill.reading import SLACK_TICKS
from medtech.backfill.work import MOST_WINDOWS_AHEAD
from medtech.dotnet import ticks
from medtech.jobs import State
from medtech.storage.connection import Storage
from tests.azurite import ACCOUNT_KEY
from tests.backfill.samples import CONTAINER, CapturedWard, capture_bytes, path, record
from tests.flush.samples import MakeRun, known
from tests.persist.samples import HOUR, MINUTE, Server, points
from tests.replay.samples import BROKEN, GOOD, Ward, device_mapping, message


def test_captured_events_are_written(captured: CapturedWard, server: Server) -> None:
    of = known(server)
    captured.capture([captured.event(message(of.device, n, series=60 + n), n) for n in range(10)])
    job = captured.backfill()
    assert (job.state, job.counts.files, job.counts.events, job.counts.measurements) == (State.DONE, 1, 10, 10)
    captured.ward.flush()
    values = [points(each) for each in captured.ward.run.observations(of)]
    assert sorted(value for each in values for value in each.values()) == sorted(str(60 + n) for n in range(10))


def test_an_event_that_the_hub_delivers_too_is_one_reading_before_and_after_the_flush(
    captured: CapturedWard, server: Server
) -> None:
    of = known(server)
    events = [captured.event(message(of.device, n, series=60, spot=1), n) for n in range(6)]
    captured.capture(events)
    captured.ward.ingest(events[:4], GOOD)
    captured.backfill()
    assert captured.ward.flush().latencies_ms.total() == 12
    before = captured.ward.run.observations(of)
    assert len(before) == 7
    captured.ward.ingest(events[2:], GOOD)
    captured.backfill()
    captured.ward.flush()
    assert captured.ward.run.observations(of) == before
    assert captured.ward.run.left() == []


def test_only_events_of_the_time_and_the_partition_are_taken(captured: CapturedWard, server: Server) -> None:
    of = known(server)
    inside, outside = captured.event(message(of.device, 5, series=60), 5), captured.event(message(of.device, series=1))
    other = captured.event(message(of.device, 6, series=1), 6)._replace(partition="1")
    captured.capture([outside, inside])
    captured.capture([other])
    job = captured.backfill(from_time=HOUR + MINUTE, to_time=HOUR + 10 * MINUTE, partition="0")
    assert (job.counts.files, job.counts.events) == (1, 1)


def test_files_are_read_by_their_times_and_only_near_what_is_asked_for(captured: CapturedWard, server: Server) -> None:
    of = known(server)
    event = captured.event(message(of.device, series=60))
    near, far = HOUR - SLACK_TICKS, HOUR - SLACK_TICKS - MINUTE
    for time in (near, far):
        captured.capture([event], path(time))
    assert captured.backfill().counts.files == 1


def test_other_hubs_in_the_container_are_left_out_and_said(captured: CapturedWard, server: Server) -> None:
    event = captured.event(message(known(server).device, series=60))
    captured.capture([event], path(HOUR, event_hub="lab"))
    captured.capture([event], path(HOUR, namespace="elsewhere"))
    captured.capture([event], path(HOUR, namespace="WARD", event_hub="DeviceData"))
    job = captured.backfill()
    assert (job.counts.files, job.others) == (1, ("elsewhere/", "ward/lab/"))


@pytest.mark.parametrize(
    "path_format",
    [
        "{Year}/{Month}/{Day}/{Hour}/{Minute}/{Second}/{Namespace}/{EventHub}/{PartitionId}",
        "raw/{EventHub}-{Year}/{Month}-{Day}/{Namespace}/p{PartitionId}/{Hour}{Minute}{Second}",
    ],
)
def test_files_are_found_by_other_formats(captured: CapturedWard, server: Server, path_format: str) -> None:
    event = captured.event(message(known(server).device, series=60))
    names = {"Namespace": "ward", "EventHub": "devicedata", "PartitionId": "0", "Year": "2025", "Month": "10"}
    names |= {"Day": "09", "Hour": "09", "Minute": "00", "Second": "00"}
    captured.capture([event], path_format.format(**names) + ".avro")
    assert captured.backfill(path_format=path_format).counts.events == 1
    assert captured.backfill(path_format=DEFAULT_FORMAT).counts.files == 0


def test_what_fails_is_a_dead_letter_and_what_no_template_takes_is_counted(
    captured: CapturedWard, server: Server
) -> None:
    captured.ward.mapping = BROKEN
    of = known(server)
    captured.capture([captured.event(message(of.device, series=60)), captured.event({"other": 1})])
    counts = captured.backfill().counts
    assert (counts.events, counts.letters, counts.dropped) == (2, 1, 1)
    assert [letter.error for letter in captured.ward.letters()] == ["IncompatibleData"]


def test_a_file_that_cannot_be_read_is_told_and_the_next_one_is_read(captured: CapturedWard, server: Server) -> None:
    of = known(server)
    events = [captured.event(message(of.device, n, series=60), n) for n in range(12)]
    cut = capture_bytes(map(record, events[:6]))[:-30]
    captured.put(path(HOUR), cut)
    captured.put(path(HOUR + MINUTE), b"no Avro at all")
    odd = record(events[6], EnqueuedTimeUtc="yesterday")
    captured.put(path(HOUR + 2 * MINUTE), capture_bytes([odd, *map(record, events[7:])]))
    job = captured.backfill()
    assert (job.state, job.counts.files, job.counts.faults) == (State.DONE, 3, 3)
    assert [fault.file for fault in job.faults] == [path(HOUR + n * MINUTE) for n in range(3)]
    assert 5 <= job.counts.events < 11
    assert "yesterday" not in str(job.faults)


def test_an_archived_file_is_told_and_the_next_one_is_read(captured: CapturedWard, server: Server) -> None:
    """Capture's files are kept for years, and moved to the archive by a rule of the account."""
    of = known(server)
    archived = captured.capture([captured.event(message(of.device, series=60))])
    captured.container.get_blob_client(archived).set_standard_blob_tier(StandardBlobTier.ARCHIVE)
    captured.capture([captured.event(message(of.device, 1, series=60), 1)])
    job = captured.backfill()
    assert (job.state, job.counts.files, job.counts.events) == (State.DONE, 2, 1)
    [fault] = job.faults
    assert fault.file == archived
    assert "archive" in fault.reason


def test_a_file_that_is_shorter_than_it_was_listed_is_told(
    captured: CapturedWard, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "CHUNK_RECORDS", 3)
    events = [captured.event(message(known(server).device, n, series=60), n) for n in range(12)]
    name = captured.capture(events)
    job = captured.jobs.create(captured.request(), captured.ward.clock())
    mappings = chain([GOOD] * 3, repeat(None))
    captured.worker = captured.worker_over(captured.storage, device_mapping=mappings.__next__)
    captured.tick()
    cursor = captured.job(job.id).cursor
    assert cursor is not None and cursor.block
    read = CaptureContainer.read

    def shortened(container: CaptureContainer, file: str, offset: int, length: int) -> bytes:
        captured.put(name, capture_bytes([])[:-1])
        return read(container, file, offset, length)

    monkeypatch.setattr(CaptureContainer, "read", shortened)
    captured.worker = captured.worker_over(captured.storage)
    captured.tick()
    done = captured.job(job.id)
    assert (done.state, done.counts.files, done.counts.faults) == (State.DONE, 1, 1)


def test_a_file_in_pieces_is_gone_on_with_tick_by_tick(
    captured: CapturedWard, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "CHUNK_RECORDS", 3)
    of = known(server)
    captured.capture([captured.event(message(of.device, n, series=60), n) for n in range(10)])
    captured.capture([captured.event(message(of.device, n, series=60), n) for n in range(10, 20)])
    job = captured.jobs.create(captured.request(), captured.ward.clock())
    ticks_taken = 0
    while captured.job(job.id).state is not State.DONE:
        # Asked once before the work, and once a chunk.
        mappings = chain([GOOD] * 3, repeat(None))
        captured.worker = captured.worker_over(captured.storage, device_mapping=mappings.__next__)
        captured.tick()
        ticks_taken += 1
        assert ticks_taken < 20
    assert ticks_taken > 2
    counts = captured.job(job.id).counts
    assert (counts.files, counts.events) == (2, 20)


def test_it_waits_while_the_flush_has_enough_to_do(make_run: MakeRun, fhir: str, server: Server) -> None:
    captured = CapturedWard(Ward(make_run(fhir, window_seconds=60)))
    of = known(server)
    for n in range(MOST_WINDOWS_AHEAD + 5):
        captured.capture([captured.event(message(of.device, n, series=60), n)])
    job = captured.backfill()
    assert (job.state, job.counts.files) == (State.RUNNING, MOST_WINDOWS_AHEAD)
    assert "windows wait in the buffer" in job.message
    captured.tick()
    assert captured.job(job.id).counts.files == MOST_WINDOWS_AHEAD
    captured.ward.flush()
    captured.tick()
    job = captured.job(job.id)
    assert (job.state, job.counts.files, job.message) == (State.DONE, MOST_WINDOWS_AHEAD + 5, "")


def test_without_a_mapping_it_waits_and_says_so(captured: CapturedWard, server: Server) -> None:
    captured.capture([captured.event(message(known(server).device, series=60))])
    captured.ward.mapping = None
    job = captured.backfill()
    assert (job.state, job.counts.files) == (State.QUEUED, 0)
    assert "never been a good device mapping" in job.message
    captured.ward.mapping = GOOD
    captured.tick()
    assert captured.job(job.id).counts.measurements == 1


def test_without_the_container_it_waits_and_says_so(captured: CapturedWard, server: Server) -> None:
    job = captured.backfill(container="absent")
    assert (job.state, job.message.partition(".")[0]) == (State.RUNNING, "There is no container absent")


@pytest.mark.parametrize(
    "address",
    [
        "https://blobs.example/capture",
        "http://ward.blob.core.windows.net/capture",
        "https://ward.blob.core.windows.net.example/capture",
        "https://example/ward.blob.core.windows.net/capture",
    ],
)
def test_the_identity_opens_no_container_elsewhere(captured: CapturedWard, server: Server, address: str) -> None:
    job = captured.backfill(container=address)
    assert job.state is State.RUNNING
    assert "identity opens no container" in job.message


def test_days_without_files_are_not_listed_again(captured: CapturedWard, server: Server) -> None:
    event = captured.event(message(known(server).device, series=60))
    captured.capture([event])
    captured.capture([event], path(HOUR, event_hub="lab"))
    days = [HOUR - 3 * ticks.TICKS_PER_DAY, HOUR + 3 * ticks.TICKS_PER_DAY]
    job = captured.jobs.create(captured.request(from_time=days[0], to_time=days[1]), captured.ward.clock())
    mappings = chain([GOOD] * 3, repeat(None))
    captured.worker = captured.worker_over(captured.storage, device_mapping=mappings.__next__)
    captured.tick()
    cursor = captured.job(job.id).cursor
    assert cursor == Cursor(ticks.floor(days[0], ticks.TICKS_PER_DAY) + 2 * ticks.TICKS_PER_DAY)
    captured.container.delete_blob(path(HOUR, event_hub="lab"))
    captured.worker = captured.worker_over(captured.storage)
    captured.tick()
    done = captured.job(job.id)
    assert (done.state, done.counts.files, done.counts.events) == (State.DONE, 1, 1)
    assert done.others == ("ward/lab/",)


def signed(azurite: str, storage: Storage) -> str:
    account = storage.blob_service()
    token = generate_container_sas(
        account.account_name,
        CONTAINER,
        account_key=ACCOUNT_KEY if "c2VjcmV0" in azurite else account.credential.account_key,
        permission=ContainerSasPermissions(read=True, list=True),
        expiry="2099-01-01T00:00:00Z",
    )
    return f"{account.url.rstrip('/')}/{CONTAINER}?{token}"


def test_a_container_is_opened_by_its_signature_which_is_not_kept(
    captured: CapturedWard, server: Server, azurite: str
) -> None:
    captured.capture([captured.event(message(known(server).device, series=60))])
    address = signed(azurite, captured.storage)
    job = captured.backfill(container=address)
    assert (job.state, job.counts.events) == (State.DONE, 1)
    assert job.request.container == address.partition("?")[0]


def test_two_mappings_may_see_one_event(captured: CapturedWard, server: Server) -> None:
    """After a wrong mapping: what was written under it stays, and what it lacked is added."""
    of = known(server)
    captured.capture([captured.event(message(of.device, series=60, spot=1))])
    for types in (("series",), ("series", "spot")):
        captured.ward.mapping = device_mapping(*types)
        captured.backfill()
        captured.ward.flush()
        found: list[dict[str, Any]] = captured.ward.run.observations(of)
        assert sorted(each["code"]["text"] for each in found) == list(types)
