"""What `python -m medtech import` reports: as Markdown, as text for the terminal, and as JSON."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medtech.command import check
from medtech.command.mapping_files import MappingFile, Pair
from medtech.command.terminal import printable
from medtech.importing import app_settings, divergences, remaining
from medtech.importing.document import Place
from medtech.importing.old_service import OldService, SetupFault
from medtech.mapping.fhir import FhirOptions
from medtech.validation.document import of_finding
from medtech.validation.finding import Level
from medtech.validation.validator import read_mappings

if TYPE_CHECKING:
    from rich.text import Text

_MARKS = re.compile(r"([\\`*\[\]<>])")
"""What could become code, emphasis, a link, an image or HTML."""

_FILES = {"deviceMapping": app_settings.DEVICE_MAPPING_FILE, "fhirMapping": app_settings.FHIR_MAPPING_FILE}
_COMES_FROM = {
    "EventHubConnection__fullyQualifiedNamespace": "fullyQualifiedEventHubNamespace",
    "EVENT_HUB_NAME": "eventHubName",
    "EVENT_HUB_CONSUMER_GROUP": "the app's own, in place of consumerGroup",
    "FHIR_SERVICE_URL": "fhirServiceResourceId",
    "RESOURCE_IDENTITY_RESOLUTION_TYPE": "resourceIdentityResolutionType",
    "DEFAULT_DEVICE_IDENTIFIER_SYSTEM": "ResourceIdentity:DefaultDeviceIdentifierSystem",
}
"""The service's property for each setting; the connector's settings mean the same."""


@dataclass(frozen=True, slots=True)
class ImportReport:
    """`settings` are those that are taken over; `findings` are of `python -m medtech validate`."""

    kind: str
    name: str
    folder: Path
    files: Sequence[str]
    settings: dict[str, str]
    by_hand: Sequence[str]
    faults: Sequence[SetupFault]
    findings: Sequence[check.Reported]
    met: Sequence[divergences.Met]

    @property
    def is_faulty(self) -> bool:
        return bool(self.faults) or any(each.finding.level is Level.ERROR for each in self.findings)


def of_service(old: OldService, folder: Path, files: Sequence[str]) -> ImportReport:
    """The report of an import that writes `files` into `folder`; the mappings are checked as `validate` does."""
    device = _file(folder, "deviceMapping", old.device_mapping)
    fhir = _file(folder, "fhirMapping", old.fhir_mapping)
    options = FhirOptions()
    pairs = [Pair(device, fhir)] if device or fhir else []
    found = check.check(pairs, check.NO_MESSAGES, options).found
    mappings = read_mappings(old.device_mapping, old.fhir_mapping, options)
    return ImportReport(
        kind=old.kind,
        name=old.name,
        folder=folder,
        files=files,
        settings=app_settings.taken_over(old),
        by_hand=remaining.by_hand(old),
        faults=[*old.faults, *_invalid(found, folder)],
        findings=found,
        met=divergences.met(mappings.pair, old),
    )


def _file(folder: Path, name: Any, text: str | None) -> MappingFile | None:
    return None if text is None else MappingFile(folder / _FILES[name], name, text, has_bom=False)


def _invalid(found: Sequence[check.Reported], folder: Path) -> Iterator[SetupFault]:
    """A mapping with errors, which the service refuses at its setup, once for each of the two."""
    for name, file in _FILES.items():
        errors = [each for each in found if each.finding.mapping == name and each.finding.level is Level.ERROR]
        if errors:
            count = "1 error" if len(errors) == 1 else f"{len(errors)} errors"
            message = f"Invalid '{name}': {count}, listed below. Fix them, each says how."
            yield SetupFault(name, message, Place(folder / file, errors[0].line, errors[0].finding.pointer or ""))


def _sections(report: ImportReport) -> Iterator[tuple[str, list[str]]]:
    """The headings of the report, and below each its items."""
    yield "Written", [str(report.folder / name) for name in report.files]
    yield (
        "Taken over",
        [f"{name} = {value} ({_COMES_FROM[name]})" for name, value in report.settings.items()],
    )
    yield "Faults of the setup", [f"{each.name}: {each.message} ({each.place})" for each in report.faults]
    yield "What needs a hand", list(report.by_hand)
    yield "What validation finds", [_finding(each) for each in report.findings]
    yield (
        "What these mappings can meet",
        [*map(_met, report.met), f"Besides, whatever the mapping: {divergences.BY_CONTENT}."],
    )


def _finding(reported: check.Reported) -> str:
    finding = reported.finding
    line = "" if reported.line is None else f":{reported.line}"
    return f"{reported.path}{line}: {finding.level} {finding.name}: {finding.message}"


def _met(met: divergences.Met) -> str:
    of = met.divergence
    places = ", ".join(filter(None, map(_meeting, met.meetings)))
    return f"{of.number}. {of.case}. Before: {of.before}. Here: {of.here}. Where: {places}."


def _meeting(meeting: divergences.Meeting) -> str:
    place = "" if meeting.mapping is None else _FILES[meeting.mapping]
    place += "" if meeting.line is None else f":{meeting.line}"
    named = f"'{meeting.type}'" if meeting.type else ""
    return " ".join(filter(None, (named, place, f"({meeting.detail})" if meeting.detail else "")))


def markdown(report: ImportReport) -> str:
    """The report as a page. What comes from the service is text on it, whatever it holds."""
    written = [f"# Import of the {_escaped(_title(report))}", "", _escaped(_summary(report)), ""]
    for heading, items in _sections(report):
        if items:
            written += [f"## {heading}", "", *(f"- {_escaped(item)}" for item in items), ""]
    written.append("What is different, in full: docs/migrate.md. What each finding means: docs/validate.md.")
    return "\n".join(written) + "\n"


def _escaped(text: str) -> str:
    return _MARKS.sub(r"\\\1", _in_one_line(text))


def _in_one_line(text: str) -> str:
    """A name with a line end in it could else look like a heading of the report."""
    return printable(text).replace("\n", " ")


def lines(report: ImportReport) -> Iterator[Text]:
    """The report for the terminal."""
    from rich.text import Text

    for heading, items in _sections(report):
        if items:
            is_bad = heading == "Faults of the setup"
            yield Text(heading, "bold red" if is_bad else "bold")
            for item in items:
                yield Text(f"  {_in_one_line(item)}")
    yield Text(_summary(report), "bold")


def _title(report: ImportReport) -> str:
    return f"{report.kind} {report.name}".strip()


def _summary(report: ImportReport) -> str:
    errors = sum(each.finding.level is Level.ERROR for each in report.findings)
    warnings = len(report.findings) - errors
    return (
        f"{_counted(len(report.settings), 'setting')} taken over, "
        f"{_counted(len(report.faults), 'fault')} of the setup; "
        f"validation: {_counted(errors, 'error')}, {_counted(warnings, 'warning')}; "
        f"{_counted(len(report.met), 'difference')} that these mappings can meet."
    )


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun if count == 1 else noun + 's'}"


def document(report: ImportReport) -> dict[str, Any]:
    """The report for programs."""
    return {
        "kind": report.kind,
        "name": report.name,
        "files": [str(report.folder / name) for name in report.files],
        "settings": report.settings,
        "byHand": list(report.by_hand),
        "faults": [
            {
                "name": each.name,
                "message": each.message,
                "file": str(each.place.path),
                "line": each.place.line,
                "pointer": each.place.pointer,
            }
            for each in report.faults
        ],
        "findings": [
            {"file": str(each.path), "fileLine": each.line, **of_finding(each.finding)} for each in report.findings
        ],
        "divergences": [
            {
                **each.divergence._asdict(),
                "meetings": [meeting._asdict() for meeting in each.meetings],
            }
            for each in report.met
        ],
        "otherDivergences": divergences.BY_CONTENT,
    }
