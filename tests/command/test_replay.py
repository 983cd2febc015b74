"""`python -m medtech replay` as an operator or a script calls it, against a real Azurite."""

import json

import pytest
from click.testing import Result
from typer.testing import CliRunner

from medtech import parts
from medtech.command import following
from medtech.command.line import app
from medtech.jobs import State
from medtech.replay.job import Jobs
from medtech.settings import Settings
from tests.azurite import nobody
from tests.command.ticking import MappingOf, ticking
from tests.flush.conftest import make_run, run, server  # noqa: F401 - fixtures
from tests.flush.samples import Run
from tests.persist.samples import identity
from tests.replay.samples import BROKEN, GOOD, Ward, message


@pytest.fixture
def ward(run: Run, monkeypatch: pytest.MonkeyPatch) -> Ward:  # noqa: F811 - the fixture
    ward = Ward(run)
    monkeypatch.setattr(parts, "storage", lambda: ward.run.storage)
    monkeypatch.setattr(parts, "dead_letters", lambda: ward.run.dead_letters)
    monkeypatch.setattr(parts, "replay_jobs", lambda: ward.jobs)
    monkeypatch.setattr(parts, "settings", Settings)
    monkeypatch.setattr(parts, "device_mapping", lambda: MappingOf(ward))
    monkeypatch.setattr(following, "POLL_SECONDS", 0.05)
    return ward


def call(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["replay", *arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def test_it_follows_its_job_to_the_end(ward: Ward) -> None:
    ward.ingest([ward.event(message(identity().device, series=60)) for _ in range(3)], BROKEN)
    with ticking(ward.replayer.run):
        said = call("--error", "IncompatibleData").stdout
    [job] = ward.jobs.all()
    assert said == (
        f"Job {job.id} is done: 3 letters taken, 3 put through, 0 failed again.\n"
        "3 wait in the buffer for the flush; their letters go when it has written them.\n"
    )


def test_programs_get_json(ward: Ward) -> None:
    ward.mapping = BROKEN
    ward.ingest([ward.event(message(identity().device, series=60))], BROKEN)
    with ticking(ward.replayer.run):
        told = json.loads(call("--json").stdout)
    assert (told["state"], told["taken"], told["failedAgain"], told["inBuffer"]) == ("done", 1, 1, 0)


def test_an_interrupted_command_leaves_the_job_and_says_how_to_follow_it(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(following.time, "sleep", interrupt)
        said = call(code=130).stderr
    [job] = ward.jobs.all()
    assert said == f"The job goes on. Follow it with: python -m medtech replay --job {job.id}\n"
    assert job.state is State.QUEUED
    ward.tick()
    assert call("--job", job.id).stdout.startswith(f"Job {job.id} is done: 0 letters taken")


def test_what_the_job_waits_for_is_told(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    ward.mapping = None
    ward.ingest([ward.event(message(identity().device, series=60))], None)

    told = []

    def until_told(message: str, *, err: bool = False) -> None:
        told.append(message)
        ward.mapping = GOOD

    monkeypatch.setattr(following.typer, "echo", until_told)
    with ticking(ward.replayer.run):
        call()
    assert "There has never been a good device mapping." in told[0]
    assert "1 put through" in told[1]


def test_a_dry_run_makes_no_job(ward: Ward) -> None:
    ward.ingest([ward.event(message(identity().device, series=60)) for _ in range(3)], BROKEN)
    said = call("--dry-run").stdout.splitlines()
    assert said[0] == "3 letters would be taken:"
    assert "IncompatibleData (Normalization)" in said[1]
    assert said[2:] == [
        "Of the first 3 messages, the mapping in force puts 3 through.",
        "Nothing was stored.",
    ]
    assert list(ward.jobs.all()) == []


def test_a_dry_run_under_a_mapping_that_still_fails_says_when_another_comes_into_force(ward: Ward) -> None:
    ward.mapping = BROKEN
    ward.ingest([ward.event(message(identity().device, series=60))], BROKEN)
    said = call("--dry-run").stdout.splitlines()
    assert said[2] == "Of the first 1 messages, the mapping in force puts 0 through."
    assert said[4] == (
        "A mapping that was changed after the last message came is in force from the next one on, or from the "
        "beginning of a replay."
    )


def test_a_unit_is_relabelled_if_asked_for(ward: Ward) -> None:
    with ticking(ward.replayer.run):
        call("--relabel-unit")
    assert [job.relabel_unit for job in ward.jobs.all()] == [True]


def test_an_unknown_job_is_told(ward: Ward) -> None:
    assert "There is no replay job nobody." in call("--job", "nobody", code=1).stderr


def test_a_filter_that_cannot_be_meant_ends_it(ward: Ward) -> None:
    assert "is no error" in call("--error", "NoSuchError", code=2).stderr
    assert list(ward.jobs.all()) == []


def test_storage_that_is_away_ends_it(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "replay_jobs", lambda: Jobs(nobody()))
    assert "Storage (table `jobs`) cannot be reached" in call(code=1).stderr
