"""Applies the known fixes of findings to the files of mappings."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from medtech.command.check import Report
from medtech.command.mapping_files import MappingFile, Pair
from medtech.validation.finding import Fix, Level

_LINE_END = re.compile(r"\r\n|\r|\n")


def fix_all(pairs: list[Pair], check: Callable[[list[Pair]], Report]) -> tuple[list[Pair], int]:
    """The pairs with all known fixes written to their files, and how many there were.

    One file is changed at a time and then checked again: where each of two mappings could follow the other, the first
    one does. A change after which there are more errors is taken back, and the file left as it is.
    """
    report = check(pairs)
    applied = 0
    done: set[tuple[str, str]] = set()
    while (found := _next(pairs, report, done)) is not None:
        file, text, count = found
        # Each state of a file is mended once, so fixes that undo each other come to an end.
        done.add((str(file.path), file.text))
        trial = _with(pairs, file, MappingFile(file.path, file.name, text, file.has_bom))
        after = check(trial)
        if after.count(Level.ERROR) > report.count(Level.ERROR):
            continue
        file.write(text)
        pairs, report, applied = trial, after, applied + count
    return pairs, applied


def _next(pairs: Iterable[Pair], report: Report, done: set[tuple[str, str]]) -> tuple[MappingFile, str, int] | None:
    for pair in pairs:
        for file in pair.files:
            if (str(file.path), file.text) in done:
                continue
            fixes = [
                each.finding.fix
                for each in report.found
                if each.path == file.path and each.finding.mapping == file.name and each.finding.fix is not None
            ]
            text, count = applied(file.text, fixes)
            if text != file.text:
                return file, text, count
    return None


def applied(text: str, fixes: Iterable[Fix]) -> tuple[str, int]:
    """The text with the fixes that have a place in it, and how many; of two that overlap only the first."""
    starts = [0, *(found.end() for found in _LINE_END.finditer(text))]
    changes: list[tuple[int, int, str]] = []
    for fix in fixes:
        if fix.range is None or fix.replacement is None:
            continue
        begin = starts[fix.range.line - 1] + fix.range.position
        end = starts[fix.range.end_line - 1] + fix.range.end_position
        if all(end < start or begin > stop for start, stop, _ in changes):
            changes.append((begin, end, fix.replacement))
    for begin, end, replacement in sorted(changes, reverse=True):
        text = text[:begin] + replacement + text[end:]
    return text, len(changes)


def _with(pairs: Iterable[Pair], file: MappingFile, changed: MappingFile) -> list[Pair]:
    return [
        Pair(
            changed if pair.device is file else pair.device,
            changed if pair.fhir is file else pair.fhir,
        )
        for pair in pairs
    ]
