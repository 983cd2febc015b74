"""`python -m medtech normalize` and `convert`: JSON lines through one stage each, as a shell pipes them."""

import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import Any, BinaryIO

import psutil
import pytest

from medtech.command import lines
from medtech.mapping.fhir import load_fhir_mapping
from medtech.model import ResourceIdentity
from medtech.persist.references import Identifier
from medtech.transform.identifier import observation_identity

ROOT = Path(__file__).parents[2]
DEVICE = ROOT / "mappings" / "deviceMapping.json"
FHIR = ROOT / "mappings" / "fhirDestinationMapping.json"
NORMALIZE = [sys.executable, "-m", "medtech", "normalize", "--mapping", str(DEVICE)]
CONVERT = [sys.executable, "-m", "medtech", "convert", "--mapping", str(FHIR)]


def pulse(second: int, value: Any = 71, device: str = "device-01") -> bytes:
    time = f"2026-03-02T08:00:{second:02d}Z"
    body = {"deviceId": device, "patientId": "patient-01", "endDate": time, "heartRate": value}
    return json.dumps(body).encode() + b"\n"


def steps(minute: int, value: int) -> bytes:
    body = {"deviceId": "device-01", "patientId": "p", "endDate": f"2026-03-02T08:{minute:02d}:00Z", "steps": value}
    return json.dumps(body).encode() + b"\n"


def run(command: list[str], given: bytes, *options: str) -> tuple[int, list[dict[str, Any]], list[dict[str, Any]]]:
    """The exit code, and what stands on standard output and standard error."""
    done = subprocess.run([*command, *options], input=given, cwd=ROOT, capture_output=True, check=False)
    return done.returncode, _documents(done.stdout), _documents(done.stderr)


def _documents(written: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written.splitlines()]


def test_a_message_becomes_its_measurements() -> None:
    code, [measurement], errors = run(NORMALIZE, b"\n" + pulse(1))
    assert (code, errors) == (0, [])
    ingested = measurement.pop("ingestionTimeUtc")
    assert ingested.endswith("Z")
    assert measurement == {
        "type": "heartRate",
        "occurrenceTimeUtc": "2026-03-02T08:00:01.0000000Z",
        "deviceId": "device-01",
        "patientId": "patient-01",
        "encounterId": None,
        "correlationId": None,
        "properties": [{"name": "heartRate", "value": "71"}],
        "message": 2,
    }


def test_events_and_what_devices_write_loosely_are_messages_too() -> None:
    body = json.loads(pulse(1))
    event = {"Body": body, "Properties": {"a": "b"}, "SystemProperties": {}}
    loose = b"{deviceId: 'd', patientId: 'p', endDate: '2026-03-02T08:00:01Z', heartRate: 70,} // seventy\n"
    code, measurements, _ = run(NORMALIZE, json.dumps(event).encode() + b"\n" + loose)
    assert code == 0
    assert [each["properties"][0]["value"] for each in measurements] == ["71", "70"]


def test_what_fails_is_a_line_of_standard_error_and_the_next_goes_on() -> None:
    secret = b'{"deviceId": "d", "heartRate": "SECRET"}\n'
    code, measurements, errors = run(NORMALIZE, pulse(1) + b"{bad\n" + secret + b'{"x": 1}\n' + pulse(2))
    assert code == 1
    assert [each["message"] for each in measurements] == [1, 5]
    assert [(each["line"], each["name"], each["level"]) for each in errors] == [
        (2, "NotSupported", "error"),
        (3, "IncompatibleData", "error"),
        (4, "NoTemplateMatched", "warning"),
    ]
    assert errors[1]["type"] == "heartRate"
    assert "SECRET" not in json.dumps(errors)


def test_a_message_that_no_template_takes_is_no_error() -> None:
    code, _, [warning] = run(NORMALIZE, b'{"x": 1}\n')
    assert (code, warning["name"]) == (0, "NoTemplateMatched")


def test_errors_can_go_to_the_output_and_through_the_next_stage() -> None:
    _, found, errors = run(NORMALIZE, b"{bad\n" + pulse(1), "--errors")
    assert ([*found[0]], found[1]["type"], errors) == (["error"], "heartRate", [])
    given = b"".join(json.dumps(each).encode() + b"\n" for each in found)
    code, [passed_on, observation], errors = run(CONVERT, given, "--errors")
    assert (code, passed_on, errors) == (1, found[0], [])
    assert observation["resourceType"] == "Observation"


def test_measurements_become_what_a_flush_would_store() -> None:
    _, measurements, _ = run(NORMALIZE, steps(1, 5) + steps(2, 7) + steps(2, 8) + steps(61 % 60, 9))
    given = b"".join(json.dumps(each).encode() + b"\n" for each in measurements)
    code, [observation], _ = run(CONVERT, given)
    assert code == 0
    # Of readings of one time the one ingested last stands.
    assert observation["valueSampledData"]["data"].split()[:4] == ["E", "9", "8", "E"]
    code, observations, _ = run(CONVERT, given, "--batch", "1")
    assert len(observations) == 4
    assert len({each["id"] for each in observations}) == 1


def test_ids_are_those_of_create_mode() -> None:
    _, measurements, _ = run(NORMALIZE, pulse(1))
    _, [observation], _ = run(CONVERT, json.dumps(measurements[0]).encode())
    device = Identifier.of("", "device-01").resource_id()
    patient = Identifier.of("", "patient-01").resource_id()
    assert observation["device"] == {"reference": f"Device/{device}"}
    assert observation["subject"] == {"reference": f"Patient/{patient}"}
    moment = "20260302080001Z.20260302080001Z"
    identity = ResourceIdentity(device, patient, None)
    assert observation["id"] == observation_identity(identity, "heartRate", moment)[1]
    assert load_fhir_mapping(FHIR.read_text()).template("heartRate") is not None


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"{", "not JSON"),
        (b"[]", "not an object"),
        (b"{}", "'type' is not a text"),
        (b'{"type": "heartRate", "occurrenceTimeUtc": "now"}', "'occurrenceTimeUtc' is not a time"),
        (b'{"type": "t", "occurrenceTimeUtc": "2026-03-02T08:00:00Z", "deviceId": "d"}', "'properties' is not a list"),
    ],
)
def test_what_is_no_measurement_is_told(line: bytes, says: str) -> None:
    code, observations, [error] = run(CONVERT, line)
    assert (code, observations) == (1, [])
    assert says in error["message"]


def test_a_reading_that_cannot_be_written_is_told_with_its_line() -> None:
    _, measurements, _ = run(NORMALIZE, pulse(1) + pulse(2, "x") + pulse(3))
    code, observations, [error] = run(CONVERT, b"".join(json.dumps(each).encode() + b"\n" for each in measurements))
    assert (code, len(observations)) == (1, 2)
    assert (error["line"], error["name"], error["type"]) == (2, "ReadingInvalid", "heartRate")


def test_a_mapping_that_does_not_load_is_told_with_its_lines(tmp_path: Path) -> None:
    file = tmp_path / "m.json"
    file.write_text('{"templateType": "CollectionContent",\n "template": 5}')
    command = [sys.executable, "-m", "medtech", "normalize", "--mapping", str(file)]
    done = subprocess.run(command, input=b"", cwd=ROOT, capture_output=True, text=False, check=False)
    assert done.returncode == 1
    assert f"{file}:2:".encode() in done.stderr


def test_without_a_file_it_is_the_mapping_in_force_in_the_app() -> None:
    address = "http://127.0.0.1:1/a"
    storage = f"AccountName=a;AccountKey=a2V5;TableEndpoint={address};BlobEndpoint={address}"
    done = subprocess.run(
        [sys.executable, "-m", "medtech", "normalize"],
        input=b"",
        cwd=ROOT,
        env=os.environ | {"BufferStorage": storage},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1
    assert b"--mapping FILE" in done.stderr


def test_each_line_is_answered_as_it_comes() -> None:
    with subprocess.Popen(NORMALIZE, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for second in (1, 2):
            process.stdin.write(pulse(second))
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["message"] == second
        process.stdin.close()
        assert process.wait(60) == 0


def test_a_reader_that_goes_away_ends_it_quietly() -> None:
    with subprocess.Popen(
        NORMALIZE, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(pulse(1))
        process.stdin.flush()
        process.stdout.readline()
        process.stdout.close()
        with pytest.raises(BrokenPipeError):
            for _ in repeat(None):
                process.stdin.write(pulse(2) * 100)
                process.stdin.flush()
        assert process.wait(60) == lines.BROKEN_PIPE
        assert process.stderr.read() == b""


def test_input_without_end_takes_no_more_memory() -> None:
    """What is read is written before more is read: the reader of this test sets the pace."""
    chunk = pulse(1) * 2000
    with subprocess.Popen(NORMALIZE, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        memory = []
        for _ in range(12):
            writer = _Writer(process.stdin, chunk)
            for _ in range(2000):
                process.stdout.readline()
            writer.join()
            memory.append(psutil.Process(process.pid).memory_info().rss)
        process.stdin.close()
        assert process.wait(60) == 0
    assert memory[-1] - memory[3] < 8 * 1024 * 1024


class _Writer:
    """Writes in a thread, since both pipes are smaller than what goes through."""

    def __init__(self, pipe: Any, chunk: bytes) -> None:
        self._thread = threading.Thread(target=lambda: (pipe.write(chunk), pipe.flush()))
        self._thread.start()

    def join(self) -> None:
        self._thread.join()


class _Slow(io.RawIOBase):
    """A pipe that gives what it likes."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces: Iterator[bytes] = chain(pieces, repeat(b""))

    def read1(self, size: int) -> bytes:
        return next(self._pieces)


def _lines(pieces: list[bytes], most: int = 10) -> list[tuple[int, bytes | None]]:
    source: BinaryIO = _Slow(pieces)  # type: ignore[assignment]
    return [tuple(line) for found in lines.chunks(source, most) for line in found]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("pieces", "found"),
    [
        ([], []),
        ([b"a"], [(1, b"a")]),
        ([b"a\n\n b\r\n"], [(1, b"a"), (3, b" b\r")]),
        ([b"a", b"b", b"\nc\n"], [(1, b"ab"), (2, b"c")]),
        ([b"0123456789\n", b"01234567890\n", b"c"], [(1, b"0123456789"), (2, None), (3, b"c")]),
        ([b"0123456", b"7890123", b"45", b"6\nb\n"], [(1, None), (2, b"b")]),
        ([b"012345678901234"], [(1, None)]),
        ([b" \n", b"\t"], []),
    ],
)
def test_lines_are_cut_wherever_the_pieces_end(pieces: list[bytes], found: list[tuple[int, bytes | None]]) -> None:
    assert _lines(pieces) == found
