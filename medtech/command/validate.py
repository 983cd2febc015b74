"""`python -m medtech validate`: what is wrong with mappings, and what becomes of messages by them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medtech.command.lines import INTERRUPTED
from medtech.command.terminal import console, printable, progress
from medtech.errors import SettingInvalid

if TYPE_CHECKING:
    from rich.text import Text

    from medtech.command.check import Messages, Report, Reported
    from medtech.command.mapping_files import MappingFile, Pair
    from medtech.mapping.fhir import FhirOptions
    from medtech.model import DeviceEvent

WATCH_SECONDS = 0.5
_STYLES = {"error": "bold red", "warning": "yellow"}


class Format(StrEnum):
    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"


def validate(
    paths: Annotated[
        list[Path],
        typer.Argument(
            help="Mapping files, or folders that have some. Which mapping a file is, its templateType tells.",
            metavar="PATH",
            exists=True,
        ),
    ],
    messages: Annotated[
        list[Path] | None,
        typer.Option(
            help="Messages to try: a file with JSON or JSON lines, or a folder of them. May be repeated.",
            metavar="PATH",
            exists=True,
        ),
    ] = None,
    format: Annotated[Format, typer.Option(help="How the findings are written.", case_sensitive=False)] = Format.TEXT,
    as_json: Annotated[bool, typer.Option("--json", help="Short for --format json.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 for warnings too.")] = False,
    fix: Annotated[bool, typer.Option("--fix", help="Write the known fixes into the files, then report.")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Check again whenever a file changes, until Ctrl-C (exit code 130).")
    ] = False,
) -> None:
    """Check mappings as the app loads them, and what it would do with messages. Nothing is stored.

    A device and a FHIR mapping in one folder are checked together. SINGLE_VALUE_PERIOD and OBSERVATION_EFFECTIVE are
    read from the environment. The exit code is 0 without errors, 1 with some, 2 if the command cannot be understood.

    Example: python -m medtech validate mappings --messages mappings/sampleMessages.json
    """
    if as_json:
        format = Format.JSON
    if watch and fix:
        raise typer.BadParameter("It would change what you are writing. Give it without --watch.", param_hint="--fix")
    run = _Run(paths, messages or [], format, strict=strict, fix=fix)
    if not watch:
        raise typer.Exit(run.once())
    try:
        seen = run.state()
        while True:
            try:
                run.once()
            except typer.BadParameter as refused:
                # A file that is half written: the next change may mend it.
                typer.echo(refused.format_message(), err=True)
            while (now := run.state()) == seen:
                time.sleep(WATCH_SECONDS)
            seen = now
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


class _Run:
    """What the command was asked to do; `once` does it."""

    def __init__(self, paths: list[Path], messages: list[Path], form: Format, *, strict: bool, fix: bool) -> None:
        self._paths = paths
        self._messages = messages
        self._form = form
        self._strict = strict
        self._fix = fix

    def state(self) -> dict[Path, tuple[int, int]]:
        """When the files that are looked at were last changed, and their sizes."""
        from medtech.command.mapping_files import json_files
        from medtech.command.message_files import SUFFIXES

        found: dict[Path, tuple[int, int]] = {}
        for path in (*self._paths, *self._messages):
            for file in json_files(path, *SUFFIXES) if path.is_dir() else [path]:
                with suppress(OSError):
                    stat = file.stat()
                    found[file] = stat.st_mtime_ns, stat.st_size
        return found

    def once(self) -> int:
        """Checks and reports. The exit code."""
        from medtech.command import check, fixing, mapping_files
        from medtech.validation.finding import Level

        files, refusals = self._files()
        pairs = mapping_files.pairs(files)
        if not files and not refusals:
            raise typer.BadParameter(
                "There is no mapping in it: no JSON file with templateType CollectionContent or CollectionFhir.",
                param_hint="PATH",
            )
        messages = self._read_messages(pairs)
        options = _options()
        fixed = 0
        with progress("checking", "messages") as bar:
            bar.add_task("", total=None, completed=len(messages.given))
            if self._fix:
                pairs, fixed = fixing.fix_all(pairs, lambda each: check.check(each, messages, options))
            report = check.check(pairs, messages, options)
        report.found[:0] = [check.refused(path, refusal) for path, refusal in refusals]
        report.files += [path for path, _ in refusals]
        self._write(report, fixed)
        failed = report.count(Level.ERROR) or (self._strict and report.count(Level.WARNING))
        return 1 if failed else 0

    def _files(self) -> tuple[list[MappingFile], list[tuple[Path, Any]]]:
        """The mappings, and the files that were named and are none."""
        from medtech.command import mapping_files

        paths: dict[Path, None] = {}
        for path in self._paths:
            paths.update(dict.fromkeys(mapping_files.found_in(path) if path.is_dir() else [path]))
        files: list[MappingFile] = []
        refusals: list[tuple[Path, mapping_files.NoMapping]] = []
        for path in paths:
            try:
                files.append(mapping_files.read(path))
            except mapping_files.NoMapping as refusal:
                refusals.append((path, refusal))
        return files, refusals

    def _read_messages(self, pairs: list[Pair]) -> Messages:
        from medtech.command import message_files
        from medtech.command.check import Messages
        from medtech.validation.message import BadRequest, read_message

        if not self._messages:
            return Messages((), ())
        devices = [pair.device for pair in pairs if pair.device is not None]
        if len(devices) != 1:
            raise typer.BadParameter(
                f"Messages are tried with one device mapping, and there are {len(devices)}. Name its file.",
                param_hint="--messages",
            )
        given: list[message_files.GivenMessage] = []
        events: list[DeviceEvent] = []
        try:
            with progress("reading", "messages") as bar:
                task = bar.add_task("", total=None)
                for path in self._messages:
                    for message in message_files.read(path):
                        events.append(read_message(message.content, len(events)))
                        given.append(message)
                        bar.advance(task)
        except (message_files.NoMessages, BadRequest) as refusal:
            raise typer.BadParameter(str(refusal), param_hint="--messages") from None
        return Messages(given, events)

    def _write(self, report: Report, fixed: int) -> None:
        if self._form is Format.JSON:
            typer.echo(json.dumps(_document(report, fixed)))
        elif self._form is Format.SARIF:
            from medtech.command.sarif import of_report

            typer.echo(json.dumps(of_report(report), indent=2))
        else:
            for line in _text(report, fixed):
                console().print(line, soft_wrap=True)


def _options() -> FhirOptions:
    from medtech import parts

    try:
        return parts.fhir_options()
    except SettingInvalid as error:
        typer.echo(error.message, err=True)
        raise typer.Exit(2) from None


def _document(report: Report, fixed: int) -> dict[str, Any]:
    from medtech.transform.fhir_json import dump_resource
    from medtech.validation.document import of_finding, of_measurement, of_stored
    from medtech.validation.finding import Level

    document = {
        "errors": report.count(Level.ERROR),
        "warnings": report.count(Level.WARNING),
        "fixed": fixed,
        "files": [str(path) for path in report.files],
        "findings": [
            {
                "file": str(each.path),
                "fileLine": each.line,
                "occurrences": each.occurrences,
                **of_finding(each.finding),
            }
            for each in report.found
        ],
        "messages": [
            {
                "file": str(message.path),
                "fileLine": message.line,
                "measurements": [of_measurement(each) for each in result.measurements],
                "observations": result.observations,
                "findings": [of_finding(each) for each in result.findings],
            }
            for message, result in zip(report.messages, report.results, strict=False)
        ],
        "storedObservations": [of_stored(each) for each in report.stored],
    }
    written: dict[str, Any] = json.loads(dump_resource(document))
    return written


def _text(report: Report, fixed: int) -> Iterator[Text]:
    from rich.text import Text

    from medtech.validation.finding import Level

    for each in report.found:
        finding = each.finding
        line = Text.assemble(
            (printable(f"{_place(each)}: "), "bold"),
            (str(finding.level), _STYLES[finding.level]),
            printable(f" {finding.name}: {finding.message}"),
        )
        if each.occurrences > 1:
            line.append(f" ({each.occurrences} times)")
        yield line
        if finding.fix is not None:
            yield Text(printable(f"    fix: {finding.fix.title}"), "green")
    errors, warnings = report.count(Level.ERROR), report.count(Level.WARNING)
    tried = f", {_counted(len(report.messages), 'message')}" if report.messages else ""
    summary = (
        f"{_counted(len(report.files), 'file')}{tried}: {_counted(errors, 'error')}, {_counted(warnings, 'warning')}"
    )
    if report.results:
        measurements = sum(len(result.measurements) for result in report.results)
        gave = f"{_counted(measurements, 'measurement')}, {_counted(len(report.stored), 'Observation')} stored"
        summary += f"; the messages give {gave}"
    yield Text(f"{summary}.")
    if fixed:
        yield Text(f"{_counted(fixed, 'fix', 'fixes')} written.")
    elif report.fixable:
        yield Text(f"{report.fixable} with a known fix: --fix writes it.")


def _place(reported: Reported) -> str:
    if reported.message is not None:
        return reported.message.place
    place = str(reported.path)
    if reported.line is None:
        return place
    found = reported.finding.range
    column = max(reported.finding.position, 1) if found is None else found.position + 1
    return f"{place}:{reported.line}:{column}"


def _counted(count: int, noun: str, plural: str = "") -> str:
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
