"""A report as SARIF 2.1.0, which GitHub and other hosts of code show at the lines of a change.

Source: OASIS, Static Analysis Results Interchange Format 2.1.0. Columns count characters from 1.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

from medtech import __version__
from medtech.command.check import Report, Reported
from medtech.validation.finding import Fix
from medtech.validation.written_mapping import Range

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_ROOT = "%SRCROOT%"
_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def of_report(report: Report) -> dict[str, Any]:
    names = sorted({each.finding.name for each in report.found})
    return {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {"name": "medtech", "version": __version__, "rules": [_rule(name) for name in names]}
                },
                "columnKind": "unicodeCodePoints",
                "results": [_result(each, names.index(each.finding.name)) for each in report.found],
            }
        ],
    }


def _rule(name: str) -> dict[str, Any]:
    words = _WORDS.sub(" ", name).lower()
    return {
        "id": name,
        "name": name,
        "shortDescription": {"text": words.capitalize()},
        "fullDescription": {"text": f"{words.capitalize()}. See {name} in docs/validate.md or docs/errors.md."},
        "help": {"text": f"docs/validate.md has the cause and the fix of {name}; docs/errors.md that of errors."},
    }


def _result(reported: Reported, rule: int) -> dict[str, Any]:
    finding = reported.finding
    location: dict[str, Any] = {"physicalLocation": {"artifactLocation": _artifact(reported.path)}}
    if finding.range is not None:
        location["physicalLocation"]["region"] = _region(finding.range)
    elif reported.line is not None:
        location["physicalLocation"]["region"] = {"startLine": reported.line}
    if finding.pointer:
        location["logicalLocations"] = [{"fullyQualifiedName": finding.pointer}]
    result: dict[str, Any] = {
        "ruleId": finding.name,
        "ruleIndex": rule,
        "level": str(finding.level),
        "message": {"text": finding.message},
        "locations": [location],
        "occurrenceCount": reported.occurrences,
    }
    if finding.fix is not None and finding.fix.range is not None:
        result["fixes"] = [_fix(reported.path, finding.fix, finding.fix.range)]
    return result


def _fix(path: Path, fix: Fix, place: Range) -> dict[str, Any]:
    replacement = {"deletedRegion": _region(place), "insertedContent": {"text": fix.replacement}}
    return {
        "description": {"text": fix.title},
        "artifactChanges": [{"artifactLocation": _artifact(path), "replacements": [replacement]}],
    }


def _region(place: Range) -> dict[str, int]:
    return {
        "startLine": place.line,
        "startColumn": place.position + 1,
        "endLine": place.end_line,
        "endColumn": place.end_position + 1,
    }


def _artifact(path: Path) -> dict[str, str]:
    """Relative to the folder of the command, as a host of code knows its files; another file by its address."""
    absolute = path.resolve()
    try:
        return {"uri": quote(absolute.relative_to(Path.cwd().resolve()).as_posix()), "uriBaseId": _ROOT}
    except ValueError:
        return {"uri": absolute.as_uri()}
