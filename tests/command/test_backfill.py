"""`python -m medtech backfill` as an operator or a script calls it, against a real Azurite."""

import json

import pytest
from azure.storage.blob import StandardBlobTier
from click.testing import Result
from typer.testing import CliRunner

from medtech import parts
from medtech.backfill.job import BackfillJobs
from medtech.command import following
from medtech.command.line import app
from medtech.errors import SettingInvalid
from medtech.jobs import State
from medtech.settings import Settings
from tests.azurite import nobody
from tests.backfill.conftest import captured  # noqa: F401 - fixture
from tests.backfill.samples import CONTAINER, PLACE, CapturedWard, capture_bytes, path, record
from tests.command.ticking import MappingOf, ticking
from tests.flush.conftest import make_run, run, server  # noqa: F401 - fixtures
from tests.persist.samples import HOUR, MINUTE, identity
from tests.replay.samples import BROKEN, message

WHEN = ("--from", "2025-10-09T09:00Z", "--to", "2025-10-09T10:00Z")


@pytest.fixture
def ward(captured: CapturedWard, monkeypatch: pytest.MonkeyPatch) -> CapturedWard:  # noqa: F811 - the fixture
    monkeypatch.setattr(parts, "storage", lambda: captured.storage)
    monkeypatch.setattr(parts, "backfill_jobs", lambda: captured.jobs)
    monkeypatch.setattr(parts, "settings", Settings)
    monkeypatch.setattr(parts, "device_mapping", lambda: MappingOf(captured.ward))
    monkeypatch.setattr(parts, "hub_place", lambda: PLACE)
    monkeypatch.setattr(following, "POLL_SECONDS", 0.05)
    return captured


def call(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["backfill", *arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def test_it_follows_its_job_to_the_end(ward: CapturedWard) -> None:
    ward.capture([ward.event(message(identity().device, n, series=60), n) for n in range(3)])
    with ticking(ward.worker.run):
        said = call(CONTAINER, *WHEN).stdout
    [job] = ward.jobs.all()
    assert said == (
        f"Job {job.id} is done: 1 files read, 3 events put through, 3 measurements in the buffer, 0 events dropped, "
        "0 dead letters.\n"
    )


def test_a_file_that_cannot_be_read_is_told_and_is_no_success(ward: CapturedWard) -> None:
    ward.put(path(HOUR), b"no Avro")
    ward.capture([ward.event(message(identity().device, series=60))], path(HOUR + MINUTE))
    ward.capture([ward.event(message(identity().device, series=60))], path(HOUR, event_hub="lab"))
    with ticking(ward.worker.run):
        said = call(CONTAINER, *WHEN, code=1).stdout
        told = json.loads(call(CONTAINER, *WHEN, "--json", code=1).stdout)
    assert f"{path(HOUR)}: the file is left from there on: it is no Avro file." in said
    assert "Files of other hubs were left out: ward/lab/." in said
    assert (told["state"], told["events"], told["faults"]) == ("done", 1, 1)


def test_a_job_without_a_file_says_where_to_look(ward: CapturedWard) -> None:
    with ticking(ward.worker.run):
        assert "look at --path-format" in call(CONTAINER, *WHEN).stdout


def test_it_need_not_be_followed(ward: CapturedWard) -> None:
    said = call(CONTAINER, *WHEN, "--no-wait").stdout
    told = json.loads(call(CONTAINER, *WHEN, "--no-wait", "--json").stdout)
    # Of one second, so in any order.
    [job] = [each for each in ward.jobs.all() if each.id != told["job"]]
    assert said == f"Job {job.id} is made. Follow it with: python -m medtech backfill --job {job.id}\n"
    assert told["state"] == "queued"
    ward.tick()
    assert ward.job(job.id).state is State.DONE
    assert call("--job", job.id).stdout.startswith(f"Job {job.id} is done: 0 files read")


def test_a_dry_run_tells_and_stores_nothing(ward: CapturedWard) -> None:
    ward.ward.mapping = BROKEN
    events = [ward.event(message(identity().device, n, series=60), n) for n in range(2)] + [ward.event({"other": 1}, 3)]
    ward.capture(events)
    size = len(capture_bytes(map(record, events)))
    said = call(CONTAINER, *WHEN, "--dry-run").stdout
    assert said == (
        f"1 files of {size} bytes would be read, of the partitions 0.\n"
        "Of the first 3 events, the mapping in force makes 0 measurements; 1 events match no template.\n"
        "        2  would fail: IncompatibleData (Normalization)\n"
        "Nothing was stored.\n"
    )
    told = json.loads(call(CONTAINER, *WHEN, "--dry-run", "--json").stdout)
    assert (told["files"], told["sample"]["fail"][0]["events"]) == (1, 2)
    assert list(ward.jobs.all()) == []
    assert ward.ward.letters() == []


def test_a_dry_run_tells_of_files_that_storage_does_not_give(ward: CapturedWard) -> None:
    archived = ward.capture([ward.event(message(identity().device, series=60))])
    ward.container.get_blob_client(archived).set_standard_blob_tier(StandardBlobTier.ARCHIVE)
    assert (
        f"{archived}: the file is left from there on: it is in the archive tier"
        in call(CONTAINER, *WHEN, "--dry-run", code=1).stdout
    )


def test_a_dry_run_needs_to_know_the_hub(ward: CapturedWard, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> None:
        raise SettingInvalid("EVENT_HUB_NAME does not say which hub the app reads.")

    monkeypatch.setattr(parts, "hub_place", unknown)
    assert "EVENT_HUB_NAME" in call(CONTAINER, *WHEN, "--dry-run", code=1).stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (WHEN, "Name the container"),
        (("Capture", *WHEN), "is no container"),
        (("https://a.example/c?sig=secret&x y", *WHEN), "is no container"),
        ((CONTAINER,), "Give both"),
        ((CONTAINER, "--from", "2025-10-09T09:00Z"), "Give both"),
        ((CONTAINER, "--from", "soon", "--to", "1h"), "is no time"),
        ((CONTAINER, "--from", "1h", "--to", "2h"), "No time until now is from"),
        ((CONTAINER, "--from", "2999-01-01", "--to", "2999-01-02"), "No time until now is from"),
        ((CONTAINER, *WHEN, "--partition", "x"), "A partition is a number"),
        ((CONTAINER, *WHEN, "--path-format", "{Year}"), "must be in the format once"),
    ],
)
def test_what_cannot_be_meant_ends_it(ward: CapturedWard, arguments: tuple[str, ...], said: str) -> None:
    shown = " ".join(call(*arguments, code=2).stderr.replace("│", " ").split())
    assert said in shown
    assert "secret" not in shown
    assert list(ward.jobs.all()) == []


def test_an_unknown_job_is_told(ward: CapturedWard) -> None:
    assert "There is no backfill job nobody." in call("--job", "nobody", code=1).stderr


def test_storage_that_is_away_ends_it(ward: CapturedWard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "backfill_jobs", lambda: BackfillJobs(nobody()))
    assert "Storage (table `jobs`) cannot be reached" in call(CONTAINER, *WHEN, code=1).stderr


def test_storage_that_is_away_later_does_not_end_the_job_and_is_not_taken_for_its_end(
    ward: CapturedWard, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = iter([ward.jobs, BackfillJobs(nobody())])
    monkeypatch.setattr(parts, "backfill_jobs", lambda: next(opened))
    said = call(CONTAINER, *WHEN, code=1).stderr
    [job] = ward.jobs.all()
    assert "Storage (table `jobs`) cannot be reached" in said
    assert f"The job goes on. Follow it with: python -m medtech backfill --job {job.id}" in said
