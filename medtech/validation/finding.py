"""What the validator has to say about a mapping or a message."""

from enum import StrEnum
from typing import NamedTuple

from medtech.errors import IncompatibleData, MappingIssue, MedTechError, Stage


class Level(StrEnum):
    """An error keeps data from being written; a warning is worth a look."""

    ERROR = "error"
    WARNING = "warning"


class Finding(NamedTuple):
    """`line` and `position` are a place in the mapping, -1 where none can be named."""

    message: str
    level: Level
    stage: Stage
    line: int = -1
    position: int = -1


def of_issue(issue: MappingIssue, stage: Stage) -> Finding:
    """A fault of a mapping; `stage` tells which of the two."""
    return Finding(issue.message, Level.ERROR, stage, issue.line, issue.position)


def of_error(error: MedTechError) -> Finding:
    """What went wrong with a message; an unmatched one is a warning, as its severity says."""
    place = (error.line, error.position) if isinstance(error, IncompatibleData) else (-1, -1)
    return Finding(error.message, Level.ERROR, error.stage, *place)
