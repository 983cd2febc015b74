"""`python -m medtech dead-letters` as an operator or a script calls it, against a real Azurite."""

import base64
import json
import os
import random
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from click.testing import Result
from typer.testing import CliRunner

from medtech import parts
from medtech.command.line import app
from medtech.dead_letter import letter as letters
from medtech.dead_letter.letter import Letter
from medtech.dead_letter.store import TABLE, DeadLetters
from medtech.errors import BufferCorrupt, DeviceNotFound, MedTechError, NotSupported, ReadingInvalid, ResourceRefused
from medtech.model import DeviceEvent, Measurement, NormalizationFailure
from medtech.normalize.batch import failure_of_event
from medtech.storage.connection import Storage
from medtech.storage.payload import split
from tests.azurite import Wire, free_ports, nobody

ROOT = Path(__file__).parents[2]
_NOON = 637_826_832_000_000_000  # 2022-03-12T12:00:00Z
_BODY = b'{"deviceId":"d1","hr":7.50,"note":"SECRET"}'
_OUTCOME = '{"resourceType":"OperationOutcome","issue":[{"severity":"error"}]}'


def _event(number: int, error: MedTechError, body: bytes = _BODY) -> Letter:
    event = DeviceEvent(body, {"ward": "7"}, {"iothub-x": "y"}, _NOON, "0a1b2c3d", "3", number)
    return letters.of_event(event, [failure_of_event(error)])


def _no_device(number: int, body: bytes = _BODY) -> Letter:
    return _event(number, DeviceNotFound(f"No Device has the identifier 'd{number}'."), body)


_MEASUREMENT = letters.of_measurement(
    Measurement("hr", _NOON, "d1", "p1", None, None, (("hr", "SECRET"), ("unit", "/min")), _NOON, "3", 90, 0, 0),
    "0a1b2c3d",
    ResourceRefused("The FHIR server refused Observation/x with 422.", outcome=_OUTCOME),
)
_ROW = letters.of_row("00|20220312", "e|x", "0a1b2c3d", _NOON, b"\x00\xff", BufferCorrupt("It is damaged."))


@pytest.fixture
def dead_letters(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> DeadLetters:
    dead_letters = DeadLetters(storage)
    monkeypatch.setattr(parts, "dead_letters", lambda: dead_letters)
    return dead_letters


def _run(*arguments: str, answers: str | None = None, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["dead-letters", *arguments], input=answers, catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def _hold(storage: Storage, letter: Letter) -> None:
    """As a replay job does."""
    keys = {"PartitionKey": letter.partition_key, "RowKey": letter.row_key}
    storage.table(TABLE).upsert(keys | {"job": "20220312-1"}, merge=True)


def _id(dead_letters: DeadLetters, letter: Letter) -> str:
    return next(each.id for each in dead_letters.select() if each.row_key == letter.row_key)


class TestList:
    def test_without_a_command_the_causes_are_listed(self, dead_letters: DeadLetters) -> None:
        dead_letters.store([*(_no_device(number) for number in range(12)), _event(50, NotSupported("No JSON."))], _NOON)
        text = _run().stdout
        assert text == _run("list").stdout
        first, second = text.index("DeviceNotFound"), text.index("NotSupported")
        assert first < second
        for told in ("12", "No Device has the identifier '…'.", "20220312-0a1b2c3d-0003-0-", "sequence number 50"):
            assert told in text
        assert text.endswith("13 letters\n")
        assert "SECRET" not in text

    def test_filters_select(self, dead_letters: DeadLetters) -> None:
        dead_letters.store([_no_device(1), _event(2, NotSupported("No JSON.")), _MEASUREMENT], _NOON)
        for filters, errors in (
            (("--error", "notsupported"), {"NotSupported"}),
            (("--stage", "fhirconversion"), {"ResourceRefused"}),
            (("--type", "DeviceMessageError"), {"DeviceNotFound", "NotSupported"}),
            (("--from", "2022-03-12", "--to", "2022-03-12", "--error", "DeviceNotFound"), {"DeviceNotFound"}),
            (("--from", "2h"), set()),
            (
                ("--id", _id(dead_letters, _no_device(1)), "--id", _id(dead_letters, _MEASUREMENT)),
                {"DeviceNotFound", "ResourceRefused"},
            ),
        ):
            document = json.loads(_run(*filters, "--json").stdout)
            assert {cause["error"] for cause in document["causes"]} == errors, filters
        assert {cause["letters"] for cause in document["causes"]} == {1}

    def test_a_cause_of_the_table_selects_its_letters(self, dead_letters: DeadLetters) -> None:
        dead_letters.store([*(_no_device(number) for number in range(12)), _event(50, NotSupported("No JSON."))], _NOON)
        cause, _ = json.loads(_run("--json").stdout)["causes"]
        assert json.loads(_run("--cause", cause["cause"], "--json").stdout) == {"letters": 12, "causes": [cause]}

    def test_letters_of_a_replay_are_told(self, dead_letters: DeadLetters, storage: Storage) -> None:
        dead_letters.store([_no_device(1), _no_device(2)], _NOON)
        _hold(storage, _no_device(2))
        assert json.loads(_run("--json").stdout)["causes"][0]["inReplay"] == 1
        assert "1 of them in replay" in _run().stdout

    def test_none_are_told(self, dead_letters: DeadLetters) -> None:
        assert _run().stdout == "There are no dead letters.\n"
        assert _run("--error", "DeviceNotFound").stdout == "No dead letters meet the filters.\n"

    def test_escapes_of_a_device_do_not_reach_the_terminal(self, dead_letters: DeadLetters) -> None:
        error = NotSupported("")
        # Whatever wrote the letter: a message of this version has none of these.
        error.message = "'\x1b[2J' [bold]x[/bold] \x1b];owned\x07 \u202e"
        hostile = _event(1, error)
        dead_letters.store([hostile], _NOON)
        for text in (_run().output, _run("show", _id(dead_letters, hostile)).output):
            assert "\\x1b];owned\\x07 \\u202e" in text
            assert "[bold]x[/bold]" in text
            assert "\x1b" not in text

    @pytest.mark.parametrize(("option", "value"), [("--error", "DeviceNotFond"), ("--id", "7"), ("--from", "soon")])
    def test_a_bad_filter_is_refused_by_name(self, option: str, value: str) -> None:
        assert option in _run(option, value, code=2).stderr

    def test_storage_that_is_away_is_one_sentence(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(parts, "dead_letters", lambda: DeadLetters(nobody()))
        result = _run(code=1)
        assert (result.stdout, result.stderr.count("\n")) == ("", 1)
        assert "cannot be reached" in result.stderr


class TestShow:
    def test_a_letter_is_shown_without_its_content(self, dead_letters: DeadLetters) -> None:
        dead_letters.store([_MEASUREMENT], _NOON)
        text = _run("show", _id(dead_letters, _MEASUREMENT)).stdout
        for line in (
            "error                 ResourceRefused",
            "stage                 FHIRConversion",
            "type                  FHIRServerError",
            "sequence number       90",
            "enqueued time         2022-03-12T12:00:00.0000000Z",
            "written               1",
        ):
            assert f"{line}\n" in text
        assert '"severity": "error"' in text
        assert "SECRET" not in text

    def test_a_measurement_is_shown_on_request(self, dead_letters: DeadLetters) -> None:
        dead_letters.store([_MEASUREMENT], _NOON)
        text = _run("show", _id(dead_letters, _MEASUREMENT), "--show-body").stdout
        assert '[{"name": "hr", "value": "SECRET"}, {"name": "unit", "value": "/min"}]' in text
        assert "p1" in text

    def test_json_bodies_are_laid_out(self, dead_letters: DeadLetters) -> None:
        dead_letters.store([_no_device(1)], _NOON)
        text = _run("show", _id(dead_letters, _no_device(1)), "--show-body").stdout
        assert '\n      "hr": 7.50,\n' in text
        assert '{"ward": "7"}' in text

    def test_failures_of_several_types_are_listed(self, dead_letters: DeadLetters) -> None:
        event = DeviceEvent(_BODY, {}, {}, _NOON, "0a1b2c3d", "3", 1)
        failures = [NormalizationFailure(ReadingInvalid(f"No {name}."), 0, 0, name) for name in ("hr", "spo2")]
        letter = letters.of_event(event, failures)
        dead_letters.store([letter], _NOON)
        assert "\n    hr: No hr.\n    spo2: No spo2." in _run("show", _id(dead_letters, letter)).stdout

    @pytest.mark.parametrize("letter", [_no_device(1, b"\xff\x00\x1b"), _ROW])
    def test_what_is_no_text_is_base64(self, dead_letters: DeadLetters, letter: Letter) -> None:
        dead_letters.store([letter], _NOON)
        raw = b"\x00\xff" if letter is _ROW else b"\xff\x00\x1b"
        encoded = base64.b64encode(raw).decode()
        assert encoded in _run("show", _id(dead_letters, letter), "--show-body").stdout
        assert encoded not in _run("show", _id(dead_letters, letter)).stdout

    def test_json_is_for_programs(self, dead_letters: DeadLetters) -> None:
        dead_letters.store([_MEASUREMENT], _NOON)
        document = json.loads(_run("show", _id(dead_letters, _MEASUREMENT), "--json").stdout)
        assert (document["kind"], document["sequenceNumber"], document["outcome"]) == ("measurement", 90, _OUTCOME)
        assert "measurement" not in document

    def test_content_that_cannot_be_read_is_told(self, dead_letters: DeadLetters, storage: Storage) -> None:
        dead_letters.store([_no_device(1)], _NOON)
        keys = {"PartitionKey": _no_device(1).partition_key, "RowKey": _no_device(1).row_key}
        storage.table(TABLE).upsert(keys | split(b"\x01x"), merge=True)
        text = _run("show", _id(dead_letters, _no_device(1)), "--show-body").stdout
        assert "cannot be unpacked" in text
        assert "DeviceNotFound" in text

    def test_a_letter_that_is_gone_is_told(self, dead_letters: DeadLetters) -> None:
        result = _run("show", "20220312-0a1b2c3d-0003-17-a212c8331faa", code=1)
        assert "There is no letter 20220312-0a1b2c3d-0003-17-a212c8331faa." in result.stderr


class TestExport:
    def test_without_content_each_letter_is_a_line(self, dead_letters: DeadLetters) -> None:
        dead_letters.store([_no_device(1), _MEASUREMENT, _ROW], _NOON)
        text = _run("export").stdout
        lines = [json.loads(line) for line in text.splitlines()]
        assert {line["kind"] for line in lines} == {"event", "measurement", "row"}
        for line in lines:
            assert not {"event", "measurement", "rowBase64", "outcome", "failures"} & set(line)

    def test_content_goes_with_it_on_request(self, dead_letters: DeadLetters, tmp_path: Path) -> None:
        large = random.Random(1).randbytes(1_500_000)
        dead_letters.store(
            [_no_device(1), _no_device(2, large), _event(3, NotSupported("No."), b"\xff"), _MEASUREMENT], _NOON
        )
        file = tmp_path / "letters.jsonl"
        result = _run("export", str(file), "--show-body", "--to", "2022-03-12")
        assert result.output == f"4 letters written to {file}.\n"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        text, big, binary, measurement = map(json.loads, file.read_text().splitlines())
        assert text["event"] == {
            "body": _BODY.decode(),
            "properties": {"ward": "7"},
            "systemProperties": {"iothub-x": "y"},
        }
        assert base64.b64decode(big["event"]["bodyBase64"]) == large
        assert binary["event"]["bodyBase64"] == "/w=="
        assert measurement["measurement"]["patientId"] == "p1"

    def test_an_existing_file_stays(self, dead_letters: DeadLetters, tmp_path: Path) -> None:
        dead_letters.store([_no_device(1)], _NOON)
        file = tmp_path / "letters.jsonl"
        file.write_text("mine")
        assert "cannot be created" in _run("export", str(file), code=2).stderr
        assert file.read_text() == "mine"


class TestDelete:
    @pytest.fixture(autouse=True)
    def _letters(self, dead_letters: DeadLetters) -> None:
        """Three of one error, of which one has continuations, and one of another."""
        written = [_no_device(1), _no_device(2, random.Random(1).randbytes(1_500_000)), _no_device(3)]
        dead_letters.store([*written, _event(4, NotSupported("No."))], _NOON)

    def _left(self, dead_letters: DeadLetters) -> list[int]:
        return [each.origin.sequence_number for each in dead_letters.select() if each.origin]

    def test_it_asks_twice_and_deletes_with_continuations(self, dead_letters: DeadLetters, storage: Storage) -> None:
        result = _run("delete", "--error", "DeviceNotFound", answers="y\n3\n")
        assert "No Device has the identifier '…'." in result.stderr
        assert "Delete 3 letters for good?" in result.stderr
        assert result.stdout.endswith("Deleted: 3 letters.\n")
        assert len(list(storage.table(TABLE).query("PartitionKey ne ''"))) == 1
        assert self._left(dead_letters) == [4]

    @pytest.mark.parametrize("answers", ["n\n", "y\n4\n", "y\n\n", ""])
    def test_another_answer_deletes_nothing(self, dead_letters: DeadLetters, answers: str) -> None:
        _run("delete", "--error", "DeviceNotFound", answers=answers, code=1)
        assert self._left(dead_letters) == [1, 2, 3, 4]

    def test_a_script_says_yes(self, dead_letters: DeadLetters) -> None:
        result = _run("delete", "--error", "DeviceNotFound", "--yes", "--json")
        assert json.loads(result.stdout) == {"selected": 3, "deleted": 3}
        assert result.stderr == ""
        assert _run("delete", "--error", "DeviceNotFound", "--yes").stdout == "Deleted: 0 letters.\n"

    def test_a_letter_is_deleted_by_its_id(self, dead_letters: DeadLetters) -> None:
        _run("delete", "--id", _id(dead_letters, _no_device(1)), "--yes")
        assert self._left(dead_letters) == [2, 3, 4]

    def test_all_are_deleted_only_on_request(self, dead_letters: DeadLetters) -> None:
        assert "--all" in _run("delete", "--yes", code=2).stderr
        assert "--all" in _run("delete", "--yes", "--all", "--error", "NotSupported", code=2).stderr
        assert self._left(dead_letters) == [1, 2, 3, 4]
        _run("delete", "--yes", "--all")
        assert self._left(dead_letters) == []

    def test_letters_that_a_replay_holds_stay(self, dead_letters: DeadLetters, storage: Storage) -> None:
        for number in (1, 2):
            _hold(storage, _no_device(number, random.Random(1).randbytes(1_500_000) if number == 2 else _BODY))
        assert _run("delete", "--all", "--yes").stdout == "Deleted: 2 letters.\n"
        assert self._left(dead_letters) == [1, 2]
        _run("delete", "--all", "--yes", "--in-replay")
        assert self._left(dead_letters) == []

    def test_a_letter_that_changes_meanwhile_stays(
        self, dead_letters: DeadLetters, wire: Wire, storage: Storage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A replay takes it after it was listed for deletion."""
        monkeypatch.setattr(parts, "dead_letters", lambda: DeadLetters(wire.storage))
        wire.tables.before_forwarding(
            lambda request: _hold(storage, _no_device(1)), when=lambda request: request.path.endswith("/$batch")
        )
        result = _run("delete", "--error", "DeviceNotFound", "--yes")
        assert result.stdout == "Deleted: 2 letters of 3; the others have changed or gone meanwhile.\n"
        assert self._left(dead_letters) == [1, 4]


@pytest.mark.parametrize(("command", "told"), [("delete", "Deleted before that: 0"), ("export", "not complete")])
def test_storage_that_goes_away_on_the_way_is_told(
    dead_letters: DeadLetters, wire: Wire, monkeypatch: pytest.MonkeyPatch, command: str, told: str
) -> None:
    dead_letters.store([_no_device(1, random.Random(1).randbytes(1_500_000)), _no_device(2)], _NOON)
    monkeypatch.setattr(parts, "dead_letters", lambda: DeadLetters(wire.storage))
    away = "/$batch" if command == "delete" else "001')"
    wire.tables.answer(503, when=lambda request: away in unquote(request.path), times=None)
    result = _run(command, *(("--all", "--yes") if command == "delete" else ("--show-body",)), code=1)
    assert told in result.stderr
    assert result.stderr.count("\n") == 1
    assert len(list(dead_letters.select())) == 2


def test_it_works_on_the_storage_of_the_environment(storage: Storage, azurite: str) -> None:
    DeadLetters(storage).store([_no_device(1)], _NOON)

    def run(connection: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "medtech", "dead-letters", "--json"]
        environment = {**os.environ, "BufferStorage": connection}
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    done = run(azurite)
    assert (done.returncode, done.stderr) == (0, "")
    document: dict[str, Any] = json.loads(done.stdout)
    assert document["letters"] == 1
    away = run(f"AccountName=a;AccountKey=YQ==;TableEndpoint=http://127.0.0.1:{free_ports(1)[0]}/a")
    assert (away.returncode, away.stdout, away.stderr.count("\n")) == (1, "", 1)
