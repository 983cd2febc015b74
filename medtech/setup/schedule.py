"""The schedules of timer triggers, as the Functions host takes them: NCRONTAB (its parser is NCrontab) or a TimeSpan.

    {second} {minute} {hour} {day} {month} {weekday}
    hh:mm:ss, or a number of days before it, or that alone

A field is a list of parts between commas: `*`, a number, a range `a-b`, each with `/step` or without. Months and
weekdays also have their English names, of which the first letters will do. The host's parser knows none of `?`, `L`,
`W` and `#`, and counts Sunday as 0 alone. Without the first field the second is 0. In the place of `%NAME%` the host
puts the app setting NAME; what that makes is not judged here.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple


class _Field(NamedTuple):
    name: str
    least: int
    most: int
    names: Sequence[str] = ()


_FIELDS = (
    _Field("second", 0, 59),
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day", 1, 31),
    _Field(
        "month",
        1,
        12,
        (
            *("january", "february", "march", "april", "may", "june"),
            *("july", "august", "september", "october", "november", "december"),
        ),
    ),
    _Field("weekday", 0, 6, ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")),
)
_PART = re.compile(r"(?:\*|(\w+)(?:-(\w+))?)(?:/([0-9]+))?", re.ASCII)
_TIME_SPAN = re.compile(r"(?:\d+\.)?\d{1,2}:\d{1,2}(?::\d{1,2}(?:\.\d{1,7})?)?|\d+", re.ASCII)


def fault_in(schedule: str) -> str | None:
    """What is wrong with a schedule, as the end of a sentence about it; None if nothing is."""
    if "%" in schedule or _TIME_SPAN.fullmatch(schedule.strip()):
        return None
    fields = schedule.split()
    if len(fields) not in (len(_FIELDS) - 1, len(_FIELDS)):
        return f"has {len(fields)} fields, not {len(_FIELDS)}"
    for text, field in zip(fields, _FIELDS[-len(fields) :], strict=True):
        if not all(_is_part(part, field) for part in text.split(",")):
            return f"has a field `{field.name}` that the timer cannot read"
    return None


def _is_part(text: str, field: _Field) -> bool:
    match = _PART.fullmatch(text)
    return match is not None and all(_is_value(value, field) for value in match.groups()[:2] if value is not None)


def _is_value(text: str, field: _Field) -> bool:
    if text.isdecimal():
        return field.least <= int(text) <= field.most
    return any(name.startswith(text.lower()) for name in field.names)
