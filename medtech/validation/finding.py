"""Something that the validator found in a mapping or a message."""

from enum import StrEnum
from typing import NamedTuple

from medtech.errors import IncompatibleData, MappingIssue, MedTechError, Stage


class Level(StrEnum):
    """With an error some data is not written; a warning is worth a look."""

    ERROR = "error"
    WARNING = "warning"


class Finding(NamedTuple):
    """`line` and `position` are a place in the mapping, -1 if there is none to name."""

    message: str
    level: Level
    stage: Stage
    line: int = -1
    position: int = -1


def of_issue(issue: MappingIssue, stage: Stage) -> Finding:
    """A fault of a mapping; `stage` says which of the two."""
    return Finding(issue.message, Level.ERROR, stage, issue.line, issue.position)


def of_error(error: MedTechError) -> Finding:
    """What went wrong with a message. It is an error, whatever its severity: in the app it makes a dead letter."""
    place = (error.line, error.position) if isinstance(error, IncompatibleData) else (-1, -1)
    return Finding(error.message, Level.ERROR, error.stage, *place)
