"""What the console about dead letters shows is what its commands print."""

import pytest
from typer.testing import CliRunner

from medtech import parts
from medtech.command.line import app
from medtech.dead_letter import letter as letters
from medtech.dead_letter.store import DeadLetters
from medtech.dotnet import times
from medtech.errors import DeviceNotFound, ResourceRefused
from medtech.model import Measurement
from medtech.storage.connection import Storage
from tests.docs import commands, markdown
from tests.docs.commands import Command
from tests.docs.markdown import ROOT

PREFIX = "python -m medtech "
HUB = "3f1c9a20"
ENQUEUED = times.parse("2026-11-21T17:29:07.7730446Z")
FAILED = times.parse("2026-11-21T17:29:18.1183072Z")
OUTCOME = (
    '{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"processing",'
    '"diagnostics":"HAPI-0521: Value is not in the value set"}]}'
)


def _measurement(partition: str, sequence_number: int) -> Measurement:
    ids = {"patient_id": None, "encounter_id": None, "correlation_id": None}
    return Measurement(
        type="pulse",
        occurrence_time=ENQUEUED,
        device_id="band-7",
        properties=(("rate", "64"),),
        ingestion_time=ENQUEUED,
        partition=partition,
        sequence_number=sequence_number,
        template=0,
        match=0,
        **ids,
    )


@pytest.fixture
def _letters(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    dead_letters = DeadLetters(storage)
    not_there = DeviceNotFound(
        "No Device has the identifier 'band-7'. Create it, check DEFAULT_DEVICE_IDENTIFIER_SYSTEM, or set "
        "RESOURCE_IDENTITY_RESOLUTION_TYPE to Create."
    )
    refused = ResourceRefused(
        "The FHIR server refused Observation/6f1d with 422. Its reason is kept with the dead letter; fix the mapping "
        "or the server's rules, then replay.",
        outcome=OUTCOME,
    )
    of_devices = [letters.of_measurement(_measurement("1", 5200 + number), HUB, not_there) for number in range(36)]
    dead_letters.store([*of_devices, letters.of_measurement(_measurement("0", 311), HUB, refused)], FAILED)
    monkeypatch.setattr(parts, "dead_letters", lambda: dead_letters)
    monkeypatch.setenv("COLUMNS", "100")


def _shown() -> list[Command]:
    page = markdown.read(ROOT / "docs" / "operate.md")
    (block,) = (each for each in page.blocks if each.section == "dead-letters" and each.language == "console")
    return commands.of_block(block)


@pytest.mark.usefixtures("_letters")
@pytest.mark.parametrize("command", _shown(), ids=lambda command: command.text)
def test_a_console_shows_what_the_command_prints(command: Command) -> None:
    arguments = command.text.removeprefix(PREFIX).split()
    printed = CliRunner().invoke(app, arguments, catch_exceptions=False).stdout
    assert [line.rstrip() for line in command.output.splitlines()] == [line.rstrip() for line in printed.splitlines()]
