"""The mapping in force: missing or broken from the start, broken later, fixed; as log and validation report it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dev.processes import ROOT
from dev.stack import LocalStack
from medtech.mapping import in_force
from medtech.model import DeviceEvent
from medtech.storage.connection import Storage
from medtech.storage.table import Operation
from tests.end_to_end.ward import QUIET, Ward, pulse

GOOD_DEVICE = (ROOT / "mappings" / "deviceMapping.json").read_text()
GOOD_FHIR = (ROOT / "mappings" / "fhirDestinationMapping.json").read_text()
BROKEN = {
    "not JSON": "{\n  templateType CollectionContent\n}",
    "a typing error": GOOD_DEVICE.replace('"typeMatchExpression"', '"typeMatchExpresion"', 1),
}


class Mapped:
    """A stack whose mappings are files of the test. A restart takes up changes: instances look only every 30 s."""

    def __init__(self, ward: Ward, folder: Path) -> None:
        self.ward = ward
        self.device_file, self.fhir_file = folder / "device.json", folder / "fhir.json"

    def start(self, device: str | None, fhir: str | None) -> None:
        """Restarts the host with these texts as files; None means no file."""
        self.ward.stack.host.stop()
        for path, text in ((self.device_file, device), (self.fhir_file, fhir)):
            path.unlink(missing_ok=True)
            if text is not None:
                path.write_text(text)
        self.ward.stack.start_host()

    def forget(self) -> None:
        """Removes what the app remembers of mappings, as if the storage account were new."""
        self.ward.stack.host.stop()
        storage = Storage(environment={"BufferStorage": self.ward.stack.storage_connection_string})
        table = storage.table(in_force.TABLE)
        for entity in list(table.query("PartitionKey ne ''", select=["PartitionKey", "RowKey"])):
            table.change([Operation("delete", {name: entity[name] for name in ("PartitionKey", "RowKey")})])
        storage.close()

    def state(self, kind: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """What /api/validate reports about the mapping in force, and its findings."""
        answer = self.ward.stack.call("POST", "/api/validate", json={})
        assert answer.status_code == 200
        document = answer.json()
        [state] = [each for each in document["mappingsInForce"] if each["kind"] == kind]
        return state, document["templateResult"]["findings"]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapped]:
    folder = tmp_path_factory.mktemp("mapped")
    files = {"DEVICE_MAPPING": str(folder / "device.json"), "FHIR_MAPPING": str(folder / "fhir.json")}
    with LocalStack(folder / "stack", settings=QUIET | files) as running, Ward(running) as ward:
        yield Mapped(ward, folder)


@pytest.fixture
def mapped(stack: Mapped) -> Mapped:
    stack.forget()
    return stack


@pytest.mark.parametrize("text", [None, *BROKEN.values()], ids=["missing", *BROKEN])
def test_without_a_good_device_mapping_every_message_is_kept(mapped: Mapped, device: str, text: str | None) -> None:
    mapped.start(text, GOOD_FHIR)
    logged = len(mapped.ward.stack.logs)
    messages = [pulse(device, f"08:00:0{second}", 71) for second in range(3)]
    positions = mapped.ward.deliver(messages)

    letters = mapped.ward.letters(positions)
    assert [letter.error for letter in letters] == ["TemplateNotFound"] * 3
    assert all(isinstance(letter.content, DeviceEvent) and letter.content.body for letter in letters)
    state, findings = mapped.state("device")
    assert (state["inForce"], state["newerRefused"], state["unavailable"]) == (None, True, None)
    assert {(finding["level"], finding["line"] > 0) for finding in findings} == {("error", text is not None)}
    log = mapped.ward.stack.logs[logged:]
    assert f"The device mapping is refused, none was ever good: {_first_words(findings[0])}" in log
    assert "3 events to 0 measurements in 0 rows, 0 dropped, 3 dead letters" in log


def test_a_device_mapping_that_breaks_later_leaves_the_last_good_one_in_force(mapped: Mapped, device: str) -> None:
    mapped.start(GOOD_DEVICE, GOOD_FHIR)
    good, _ = mapped.state("device")
    mapped.start(BROKEN["a typing error"], GOOD_FHIR)
    mapped.ward.admit(device)
    positions = mapped.ward.deliver([pulse(device, "08:00:00", 71)])
    mapped.ward.flush()

    assert mapped.ward.stored(device) == [("heartRate", 71, 1)]
    assert mapped.ward.letters(positions) == []
    state, findings = mapped.state("device")
    assert (state["inForce"], state["since"], state["newerRefused"]) == (good["inForce"], good["since"], True)
    assert [finding["line"] for finding in findings] == [6, 8]  # one is missing, one is unknown
    assert "The device mapping is refused, the last good one stays in force: line 6" in mapped.ward.stack.logs


def test_a_device_mapping_that_is_fixed_is_taken_up(mapped: Mapped, device: str) -> None:
    mapped.start(None, GOOD_FHIR)
    mapped.ward.admit(device)
    mapped.ward.deliver([pulse(device, "08:00:00", 71)])
    mapped.start(GOOD_DEVICE, GOOD_FHIR)
    mapped.ward.deliver([pulse(device, "08:00:05", 72)])
    mapped.ward.flush()
    assert mapped.ward.stored(device) == [("heartRate", 72, 1)]
    state, findings = mapped.state("device")
    assert (state["newerRefused"], findings) == (False, [])


@pytest.mark.parametrize("text", [None, "{}"], ids=["missing", "broken"])
def test_without_a_good_fhir_mapping_measurements_wait_and_are_written_once(
    mapped: Mapped, device: str, text: str | None
) -> None:
    mapped.start(GOOD_DEVICE, text)
    mapped.ward.admit(device)
    positions = mapped.ward.deliver([pulse(device, "08:00:00", 71)])
    mapped.ward.flush()
    assert len(mapped.ward.waiting(device)) == 1
    assert (mapped.ward.stored(device), mapped.ward.letters(positions)) == ([], [])
    assert "There has never been a good FHIR mapping, so measurements wait in the buffer." in mapped.ward.stack.logs
    state, findings = mapped.state("fhir")
    assert (state["inForce"], {finding["level"] for finding in findings}) == (None, {"error"})

    mapped.start(GOOD_DEVICE, GOOD_FHIR)
    mapped.ward.flush()
    mapped.ward.flush()
    assert mapped.ward.stored(device) == [("heartRate", 71, 1)]
    assert mapped.ward.waiting(device) == []


def _first_words(finding: dict[str, Any]) -> str:
    """How the log line continues: with the place in the mapping, if there is one."""
    place = f"line {finding['line']}, position {finding['position']}: " if finding["line"] > 0 else ""
    return place + str(finding["message"])
