"""One check of mappings and messages: what `python -m medtech validate` reports in whatever form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from medtech.command.mapping_files import MappingFile, NoMapping, Pair
from medtech.command.message_files import GivenMessage
from medtech.dotnet import ticks
from medtech.mapping.fhir import FhirOptions
from medtech.model import DeviceEvent
from medtech.validation.finding import STAGES, Finding, Level, Name
from medtech.validation.stored import StoredObservation
from medtech.validation.validator import DeviceResult, read_mappings, validate


class Reported(NamedTuple):
    """A finding and where it is: `line` in the file if it has one there, and the message if it is of one.

    `occurrences` is in how many messages, or Observations, it was found.
    """

    path: Path
    finding: Finding
    line: int | None = None
    message: GivenMessage | None = None
    occurrences: int = 1


@dataclass(slots=True)
class Report:
    """What was found. `results` has what became of each message, `stored` what all of them become together."""

    files: list[Path] = field(default_factory=list)
    found: list[Reported] = field(default_factory=list)
    messages: Sequence[GivenMessage] = ()
    results: list[DeviceResult] = field(default_factory=list)
    stored: list[StoredObservation] = field(default_factory=list)

    def count(self, level: Level) -> int:
        return sum(each.finding.level is level for each in self.found)

    @property
    def fixable(self) -> int:
        return sum(bool(each.finding.fix and each.finding.fix.range) for each in self.found)


class Messages(NamedTuple):
    """The messages to try, and the events that they stand for, in the same order."""

    given: Sequence[GivenMessage]
    events: Sequence[DeviceEvent]


NO_MESSAGES = Messages((), ())


def refused(path: Path, refusal: NoMapping) -> Reported:
    """The finding of a file that is no mapping."""
    return Reported(path, Finding(str(refusal), Level.ERROR, STAGES["deviceMapping"], name=Name.MAPPING_INVALID))


def check(pairs: Iterable[Pair], messages: Messages, options: FhirOptions) -> Report:
    """Checks each pair, and tries the messages with the one that has a device mapping."""
    report = Report(messages=messages.given)
    for pair in pairs:
        report.files += [file.path for file in pair.files]
        _check_pair(pair, messages if pair.device else NO_MESSAGES, options, report)
    return report


def _check_pair(pair: Pair, messages: Messages, options: FhirOptions, report: Report) -> None:
    mappings = read_mappings(_text(pair.device), _text(pair.fhir), options)
    outcome = validate(mappings, messages.events, aggregate=False, issued=ticks.now())
    by_name = {file.name: file for file in pair.files}
    for finding in outcome.findings:
        file = by_name.get(finding.mapping or "deviceMapping") or pair.files[0]
        report.found.append(Reported(file.path, finding, _line(finding)))
    report.results += outcome.results
    report.stored += outcome.stored
    report.found += _of_messages(
        messages.given,
        ((number, finding) for number, result in enumerate(outcome.results) for finding in result.findings),
    )
    report.found += _of_messages(
        messages.given, ((each.messages[0], finding) for each in outcome.stored for finding in each.findings)
    )


def _of_messages(given: Sequence[GivenMessage], found: Iterable[tuple[int, Finding]]) -> Iterator[Reported]:
    """Equal findings once, at the first message that has them."""
    counted: dict[Finding, Reported] = {}
    for number, finding in found:
        message = given[number]
        known = counted.get(finding) or Reported(message.path, finding, message.line, message, 0)
        counted[finding] = known._replace(occurrences=known.occurrences + 1)
    return iter(counted.values())


def _text(file: MappingFile | None) -> str | None:
    return None if file is None else file.text


def _line(finding: Finding) -> int | None:
    if finding.range is not None:
        return finding.range.line
    return finding.line if finding.line > 0 else None
