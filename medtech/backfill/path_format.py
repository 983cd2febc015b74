"""How Event Hubs Capture names its files: a format of nine placeholders, each of which must be in it once.

The rule and the default are Capture's: https://learn.microsoft.com/azure/event-hubs/event-hubs-capture-overview
"""

import re
from datetime import datetime
from typing import NamedTuple

from medtech.dotnet import ticks

DEFAULT_FORMAT = "{Namespace}/{EventHub}/{PartitionId}/{Year}/{Month}/{Day}/{Hour}/{Minute}/{Second}"
SUFFIX = ".avro"

_DATE = ("Year", "Month", "Day")
_TIME = ("Hour", "Minute", "Second")
_PATTERNS = {
    "Namespace": "[A-Za-z0-9-]+",
    "EventHub": "[A-Za-z0-9._-]+",
    "PartitionId": "[0-9]{1,9}",
    "Year": "[0-9]{4}",
    **dict.fromkeys(("Month", "Day", *_TIME), "[0-9]{2}"),
}
_PLACEHOLDER = re.compile(r"\{([A-Za-z]*)\}")
_MOST_CHARACTERS = 1024
"""Of the name of a blob."""


class PathFormatInvalid(ValueError):
    """The text says what is wrong with a format."""


class FilePlace(NamedTuple):
    """What the name of a file says: where its events come from, and when Capture began or wrote it (ticks)."""

    namespace: str
    event_hub: str
    partition: str
    time: int


class Level(NamedTuple):
    """A folder of the format: its names, and the placeholders in it."""

    text: str
    pattern: re.Pattern[str]
    placeholders: frozenset[str]

    @property
    def is_of_date(self) -> bool:
        """Whether the date alone says its name."""
        return self.placeholders.issubset(_DATE)

    @property
    def is_of_time(self) -> bool:
        return not self.placeholders.isdisjoint(_TIME)

    def name_on(self, date: datetime) -> str:
        """Its name on a date, if it `is_of_date`."""
        parts = {"Year": f"{date.year:04d}", "Month": f"{date.month:02d}", "Day": f"{date.day:02d}"}
        return _PLACEHOLDER.sub(lambda found: parts[found[1]], self.text)


class PathFormat:
    """A format as Capture has it (`archiveNameFormat`); files end with `.avro` besides."""

    def __init__(self, text: str) -> None:
        """Raises PathFormatInvalid."""
        if len(text) > _MOST_CHARACTERS:
            raise PathFormatInvalid(f"The format has over {_MOST_CHARACTERS} characters.")
        found = [each[1] for each in _PLACEHOLDER.finditer(text)]
        unknown = next((each for each in found if each not in _PATTERNS), None)
        if unknown is not None:
            raise PathFormatInvalid(f"{{{unknown[:40]}}} is no placeholder. Use {_names(_PATTERNS)}.")
        wrong = [name for name in _PATTERNS if found.count(name) != 1]
        if wrong:
            raise PathFormatInvalid(f"{_names(wrong)} must be in the format once, as in {DEFAULT_FORMAT}.")
        self.text = text
        self.folders = [_level(folder) for folder in text.split("/")[:-1]]
        self._pattern = re.compile(_pattern(text) + re.escape(SUFFIX))

    def read(self, name: str) -> FilePlace | None:
        """What the name of a blob says; None if it is not of this format."""
        found = self._pattern.fullmatch(name)
        if found is None:
            return None
        try:
            time = datetime(*(int(found[part]) for part in (*_DATE, *_TIME)))  # type: ignore[arg-type]
        except ValueError:
            return None
        return FilePlace(found["Namespace"], found["EventHub"], found["PartitionId"], ticks.from_datetime(time))


def _level(folder: str) -> Level:
    placeholders = frozenset(each[1] for each in _PLACEHOLDER.finditer(folder))
    return Level(folder, re.compile(_pattern(folder)), placeholders)


def _pattern(text: str) -> str:
    parts = _PLACEHOLDER.split(text)
    # Literal texts and the names of placeholders take turns.
    return "".join(
        f"(?P<{part}>{_PATTERNS[part]})" if place % 2 else re.escape(part) for place, part in enumerate(parts)
    )


def _names(names: "dict[str, str] | list[str]") -> str:
    return ", ".join(f"{{{name}}}" for name in names)
