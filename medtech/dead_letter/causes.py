"""Letters folded into their causes: what an operator looks at when there are a hundred thousand of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from medtech.dead_letter.fingerprint import fingerprint, shape
from medtech.dead_letter.store import Summary

MAX_CAUSES = 1_000
"""Kept apart, so that memory has a bound. Letters of further ones fold into one row for each stage, error and type."""

_FURTHER = "(further messages)"


class _Key(NamedTuple):
    stage: str
    error: str
    type: str
    shape: str


@dataclass(slots=True)
class Cause:
    """Letters of one stage, error, type and shape of message.

    `written` is how often they were written in all, `held` how many of them a replay job holds; times are ISO 8601
    texts. `fingerprint` is empty in a row of further messages. `example` is the letter written last.
    """

    fingerprint: str
    stage: str
    error: str
    type: str
    shape: str
    letters: int
    written: int
    held: int
    first_time: str
    last_time: str
    example: Summary


class Causes:
    """A table of causes to which letters are added one by one; of the letters only an example for each is kept."""

    def __init__(self, max_causes: int = MAX_CAUSES) -> None:
        self._max_causes = max_causes
        self._causes: dict[_Key, Cause] = {}
        self.letters = 0

    def add(self, letter: Summary) -> None:
        self.letters += 1
        key = _Key(letter.stage, letter.error, letter.type, shape(letter.message))
        cause = self._causes.get(key)
        if cause is None and len(self._causes) >= self._max_causes:
            key = key._replace(shape=_FURTHER)
            cause = self._causes.get(key)
        if cause is None:
            name = "" if key.shape == _FURTHER else fingerprint(*key)
            self._causes[key] = Cause(name, *key, 0, 0, 0, letter.first_time, letter.last_time, letter)
            cause = self._causes[key]
        cause.letters += 1
        cause.written += letter.count
        cause.held += bool(letter.job)
        cause.first_time = min(cause.first_time, letter.first_time)
        if letter.last_time > cause.last_time:
            cause.last_time, cause.example = letter.last_time, letter

    def table(self) -> list[Cause]:
        """The causes, those of most letters first."""
        return sorted(self._causes.values(), key=lambda cause: (-cause.letters, cause.stage, cause.error, cause.shape))


def fold(letters: Iterable[Summary]) -> Causes:
    """The causes of all `letters`."""
    causes = Causes()
    for letter in letters:
        causes.add(letter)
    return causes
