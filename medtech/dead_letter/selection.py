"""Which letters are meant: the filters of `dead-letters`, `replay` and their HTTP functions.

A time is that of the letter's last writing, when its message or measurement failed last, so that `what failed
yesterday` is what its user thinks of, whenever the message was sent, and a letter that fails again is of today. Times
select from `from_time` on and before `to_time`.
"""

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from medtech.dead_letter.fingerprint import DIGITS
from medtech.dead_letter.letter_id import Sought, sought
from medtech.dotnet import ticks
from medtech.errors import ErrorType, MedTechError, Stage
from medtech.storage.table import quoted

MAX_IDS = 1_000
"""Each is a query of its own: Table storage takes 15 comparisons in a condition."""

_UNIT_TICKS = {
    "s": ticks.TICKS_PER_SECOND,
    "m": ticks.TICKS_PER_MINUTE,
    "h": ticks.TICKS_PER_HOUR,
    "d": ticks.TICKS_PER_DAY,
    "w": 7 * ticks.TICKS_PER_DAY,
}
_CAUSE = re.compile(rf"[0-9a-f]{{{DIGITS}}}")
_AGO = re.compile(r"([0-9]{1,9})([smhdw])", re.ASCII)


class SelectionInvalid(ValueError):
    """A filter that cannot be meant; `option` is its name, the text says what is wrong and what to write instead."""

    def __init__(self, option: str, message: str) -> None:
        super().__init__(message)
        self.option = option


class Cursor(NamedTuple):
    """The keys of the letter after which a selection goes on."""

    partition_key: str
    row_key: str


@dataclass(frozen=True, slots=True)
class Selection:
    """Filters that a letter has to meet, all of them; None, and no `ids`, leave it open. Made of texts by `read`.

    `stage`, `error` and `type` are written as letters hold them (`type` is the error's, as in TotalErrors); times are
    in ticks; `cause` is a fingerprint.
    """

    stage: str | None = None
    error: str | None = None
    type: str | None = None
    from_time: int | None = None
    to_time: int | None = None
    ids: tuple[str, ...] = ()
    cause: str | None = None

    @property
    def places(self) -> tuple[Sought, ...]:
        """Where the letters of `ids` are, in the order of the table."""
        return tuple(sorted(place for each in set(self.ids) if (place := sought(each)) is not None))

    def queries(self, after: Cursor | None = None) -> Iterator[tuple[str, set[str]]]:
        """Conditions of the table queries that find the letters in order, each with the `ids` sought by it.

        None are sought without `ids`. What a query finds can be letters of other ids and causes as well.
        """
        condition = self.condition(after)
        if not self.ids:
            yield condition, set()
        for _, places in groupby(self.places, key=itemgetter(0, 1)):
            of_message = list(places)
            # 14 comparisons at most; Table storage takes 15.
            yield f"{of_message[0].condition} and {condition}", {place.id for place in of_message}

    def condition(self, after: Cursor | None = None) -> str:
        """Of the table query for the letters that meet all filters but `ids` and `cause`, from beyond `after` on."""
        # Continuations of a letter have no kind.
        terms = ["kind ne ''"]
        names = {"stage": self.stage, "error": self.error, "type": self.type}
        terms += [f"{name} eq {quoted(wanted)}" for name, wanted in names.items() if wanted is not None]
        if self.from_time is not None:
            terms.append(f"last_time ge {quoted(ticks.format_iso(self.from_time))}")
        if self.to_time is not None:
            terms.append(f"last_time lt {quoted(ticks.format_iso(self.to_time))}")
            # A letter is written after the day in its key, give or take a clock; how long after is not bounded.
            last_day = min(self.to_time + ticks.TICKS_PER_DAY, ticks.MAX_TICKS)
            terms.append(f"PartitionKey lt '{ticks.format_compact(last_day)[:8]}~'")
        if after is not None:
            partition_key, row_key = map(quoted, after)
            terms.append(
                f"PartitionKey ge {partition_key} and (PartitionKey gt {partition_key} or RowKey gt {row_key})"
            )
        return " and ".join(terms)


def read(
    *,
    now: int,
    stage: str | None = None,
    error: str | None = None,
    type: str | None = None,
    from_time: str | None = None,
    to_time: str | None = None,
    ids: Sequence[str] = (),
    cause: str | None = None,
) -> Selection:
    """The selection of what a user wrote; `now` is in ticks. Raises SelectionInvalid.

    Names are taken without regard to case, an error's with or without "Exception" at its end. A time is one of ISO 8601
    (UTC if it names no zone), a date (from its start or to its end), or how long ago: `90s`, `30m`, `2h`, `7d`, `1w`.
    """
    selection = Selection(
        stage=_name("stage", stage, [each.value for each in Stage]),
        error=_name("error", error, _error_names()),
        type=_name("type", type, [each.value for each in ErrorType]),
        from_time=read_time("from", from_time, now),
        to_time=read_time("to", to_time, now, end=True),
        ids=tuple(dict.fromkeys(ids)),
        cause=None if cause is None else cause.strip().lower(),
    )
    if selection.cause is not None and _CAUSE.fullmatch(selection.cause) is None:
        raise SelectionInvalid(
            "cause", f"{cause!a:.100} is not a cause. Copy its {DIGITS} hex digits from `dead-letters`."
        )
    start, end = selection.from_time, selection.to_time
    if start is not None and end is not None and start >= end:
        raise SelectionInvalid("to", f"No time is from {from_time!a} on and before {to_time!a}. Exchange them.")
    if len(selection.ids) > MAX_IDS:
        raise SelectionInvalid("id", f"There are {len(selection.ids)} IDs, and {MAX_IDS} are taken. Select by filters.")
    for each in selection.ids:
        if sought(each) is None:
            raise SelectionInvalid("id", f"{each[:100]!a} is not the ID of a letter. Copy it from `dead-letters`.")
    return selection


def _error_names() -> list[str]:
    names, classes = [], [MedTechError]
    while classes:
        parent = classes.pop()
        names.append(parent.__name__)
        # The command line has errors of its own, which no letter names.
        classes += [each for each in parent.__subclasses__() if each.__module__ == MedTechError.__module__]
    return sorted(names)


def _name(option: str, text: str | None, names: Sequence[str]) -> str | None:
    if text is None:
        return None
    known = {name.casefold(): name for name in names}
    wanted = text.strip().casefold()
    found = known.get(wanted) or (known.get(wanted.removesuffix("exception")) if option == "error" else None)
    if found is None:
        near = [known[each] for each in difflib.get_close_matches(wanted, known)] or list(names)
        raise SelectionInvalid(option, f"{text[:100]!a} is no {option}. Use {_or(near)}.")
    return found


def _or(names: Sequence[str]) -> str:
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def read_time(option: str, text: str | None, now: int, *, end: bool = False) -> int | None:
    """In ticks; `read` says what a time may be, `end` that a date is meant to its end. Raises SelectionInvalid."""
    if text is None:
        return None
    written = text.strip()
    if ago := _AGO.fullmatch(written):
        return max(0, now - int(ago[1]) * _UNIT_TICKS[ago[2]])
    try:
        if len(written) <= len("2022-03-12"):
            day = ticks.from_datetime(datetime.combine(date.fromisoformat(written), time()))
            return min(day + ticks.TICKS_PER_DAY, ticks.MAX_TICKS) if end else day
        return ticks.from_datetime(datetime.fromisoformat(written))
    except (ValueError, OverflowError):
        raise SelectionInvalid(
            option,
            f"{text[:100]!a} is no time. Write a date (2022-03-12), a time (2022-03-12T10:30Z, UTC if it names no "
            "zone), or how long ago (90s, 30m, 2h, 7d, 1w).",
        ) from None
