"""NCRONTAB, the schedules of timer triggers, as the Functions host's parser (NCrontab) takes them.

    {second} {minute} {hour} {day} {month} {weekday}

A field is a list of parts between commas: `*`, a number, a range `a-b`, each with `/step` or without. Months and
weekdays also have their English names, of which three letters or more will do. The host's parser knows none of `?`,
`L`, `W` and `#`, counts Sunday as 0 alone, and takes five fields as well; here, as in the documentation of this app,
there are six.
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


def fault_in(schedule: str) -> str | None:
    """What is wrong with a schedule, as the end of a sentence about it; None if nothing is."""
    fields = schedule.split()
    if len(fields) != len(_FIELDS):
        return f"has {len(fields)} fields, not {len(_FIELDS)}"
    for text, field in zip(fields, _FIELDS, strict=True):
        if not all(_is_part(part, field) for part in text.split(",")):
            return f"has a field `{field.name}` that the timer cannot read"
    return None


def _is_part(text: str, field: _Field) -> bool:
    match = _PART.fullmatch(text)
    return match is not None and all(_is_value(value, field) for value in match.groups()[:2] if value is not None)


def _is_value(text: str, field: _Field) -> bool:
    if text.isdecimal():
        return field.least <= int(text) <= field.most
    return len(text) >= 3 and any(name.startswith(text.lower()) for name in field.names)
