"""The time that a stored Observation says it is about.

Others write it too, and servers return it in another form (fewer fraction digits, another offset), so it is read by
meaning: as FHIR defines it, an end covers everything that its precision leaves open.
"""

import re
from datetime import date
from functools import lru_cache
from typing import Any, NamedTuple

from medtech.dotnet.ticks import MAX_TICKS, TICKS_PER_DAY, TICKS_PER_HOUR, TICKS_PER_MINUTE, TICKS_PER_SECOND
from medtech.errors import ConversionError

_DATE_TIME = re.compile(
    r"(?P<year>\d{4})(?:-(?P<month>\d\d)(?:-(?P<day>\d\d)"
    r"(?:T(?P<hour>\d\d):(?P<minute>\d\d)(?P<zone>Z|[+-]\d\d:\d\d)?)?)?)?",
    re.ASCII,
)
_TO_THE_SECOND = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d):(\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)?",
    re.ASCII,
)
"""What nearly every stored time is: its date and minute are those of its neighbours."""

_FRACTION_DIGITS = 7


class StoredPeriod(NamedTuple):
    """In ticks; None where none is given. The text of the end names the ticks from `end` to `covered`."""

    start: int | None
    end: int | None
    covered: int | None


def read_effective(observation: dict[str, Any], where: str) -> StoredPeriod:
    """The period of an Observation, from effectivePeriod, effectiveDateTime or effectiveInstant.

    Raises ConversionError, which names `where`, for a text that is not a FHIR time, and for a Timing.
    """
    period = observation.get("effectivePeriod")
    if isinstance(period, dict):
        start, end = period.get("start"), period.get("end")
        last = (None, None) if end is None else read_moment(end, where)
        if start == end:  # of a single reading
            return StoredPeriod(last[0], *last)
        return StoredPeriod(None if start is None else read_moment(start, where)[0], *last)
    for name in ("effectiveDateTime", "effectiveInstant"):
        moment = observation.get(name)
        if moment is not None:
            first_tick, last_tick = read_moment(moment, where)
            # With a time of day it is a point in time, a date alone is the whole day.
            return StoredPeriod(first_tick, first_tick if "T" in moment else last_tick, last_tick)
    if "effectiveTiming" in observation:
        raise ConversionError(
            f"{where} has an effectiveTiming, and readings need an effectivePeriod. Give it one, then replay the "
            "dead letter."
        )
    return StoredPeriod(None, None, None)


def read_moment(text: Any, where: str) -> tuple[int, int]:
    """The first and the last tick that a FHIR dateTime or instant names; without an offset it is UTC.

    Raises ConversionError, which names `where`.
    """
    try:
        if not isinstance(text, str):
            raise ValueError
        return _ticks(text)
    except (ValueError, OverflowError):
        raise ConversionError(
            f"{where} has a time that is not a FHIR dateTime. Fix it, then replay the dead letter."
        ) from None


@lru_cache(maxsize=1024)
def _ticks(text: str) -> tuple[int, int]:
    first, last = _unbounded(text)
    # An offset may lead past either end of the calendar, where .NET stays at that end.
    return min(max(first, 0), MAX_TICKS), min(max(last, 0), MAX_TICKS)


def _unbounded(text: str) -> tuple[int, int]:
    found = _TO_THE_SECOND.fullmatch(text)
    if found is None:
        return _minute_or_longer(text)
    minute, second, fraction, zone = found.groups()
    seconds = int(second)
    if seconds > 60:  # 60: a leap second, here the first second of the next minute
        raise ValueError
    first = _minute_or_longer(minute)[0] + seconds * TICKS_PER_SECOND
    if zone != "Z":
        first -= _offset(zone)
    digits = (fraction or "")[:_FRACTION_DIGITS]
    open_digits = 10 ** (_FRACTION_DIGITS - len(digits))
    first += int(digits or 0) * open_digits
    return first, first + open_digits - 1


@lru_cache(maxsize=256)
def _minute_or_longer(text: str) -> tuple[int, int]:
    """The ticks of a time without seconds, or of a day, a month or a year."""
    found = _DATE_TIME.fullmatch(text)
    if found is None:
        raise ValueError
    year = int(found["year"])
    month = int(found["month"] or 1)
    day = date(year, month, int(found["day"] or 1))
    first = (day.toordinal() - 1) * TICKS_PER_DAY
    if found["hour"] is None:
        return first, first + _days(found, year, month) * TICKS_PER_DAY - 1
    hour, minute = int(found["hour"]), int(found["minute"])
    if hour > 23 or minute > 59:
        raise ValueError
    first += hour * TICKS_PER_HOUR + minute * TICKS_PER_MINUTE - _offset(found["zone"])
    return first, first + TICKS_PER_MINUTE - 1


def _days(found: re.Match[str], year: int, month: int) -> int:
    """The number of days that the date leaves open: one, or those of its month or year."""
    if found["day"]:
        return 1
    if found["month"]:
        # Python has no year 10000 to count the last month up to.
        return 31 if month == 12 else (date(year, month + 1, 1) - date(year, month, 1)).days
    return (date(year, 12, 31) - date(year, 1, 1)).days + 1


def _offset(zone: str | None) -> int:
    if zone is None or zone == "Z":
        return 0
    offset = int(zone[1:3]) * TICKS_PER_HOUR + int(zone[4:6]) * TICKS_PER_MINUTE
    return -offset if zone[0] == "-" else offset
