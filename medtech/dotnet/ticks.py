"""Time in ticks: whole units of 100 ns since 0001-01-01T00:00:00Z, as .NET counts them.

`datetime` keeps microseconds only, while device times and the stored period (`…59.9999999Z`) have seven digits, so
every time on the data path is an `int` of this unit and always UTC.
"""

import time
from datetime import UTC, date, datetime
from functools import lru_cache

TICKS_PER_MICROSECOND = 10
TICKS_PER_MILLISECOND = 10_000
TICKS_PER_SECOND = 10_000_000
TICKS_PER_MINUTE = 60 * TICKS_PER_SECOND
TICKS_PER_HOUR = 60 * TICKS_PER_MINUTE
TICKS_PER_DAY = 24 * TICKS_PER_HOUR

MAX_TICKS = date.max.toordinal() * TICKS_PER_DAY - 1
"""The last tick of the year 9999, the last that .NET, FHIR and `date` can all express."""

UNIX_EPOCH = (date(1970, 1, 1).toordinal() - 1) * TICKS_PER_DAY
"""The first tick of 1970."""


def now() -> int:
    """The current time, for the edges of the system: the stages take a time as an argument."""
    return UNIX_EPOCH + time.time_ns() // 100


def from_unix_seconds(seconds: float) -> int:
    """Ticks of a Unix time in seconds."""
    return UNIX_EPOCH + round(seconds * TICKS_PER_SECOND)


def from_datetime(value: datetime) -> int:
    """Ticks of a `datetime`; a naive one is UTC (Event Hubs metadata comes without a zone)."""
    if value.tzinfo is not None:
        value = value.astimezone(UTC)
    seconds = value.hour * 3600 + value.minute * 60 + value.second
    day_ticks = seconds * TICKS_PER_SECOND + value.microsecond * TICKS_PER_MICROSECOND
    return (value.toordinal() - 1) * TICKS_PER_DAY + day_ticks


def floor(ticks: int, size: int) -> int:
    """The start of the slot of `size` ticks that holds `ticks`, counted from year 1 as .NET counts."""
    return ticks - ticks % size


@lru_cache(maxsize=1024)
def format_iso(ticks: int) -> str:
    """`2022-03-12T10:00:59.9999999Z`: always seven digits, as FHIR periods are stored.

    Cached, because the readings of a flush share their periods or, to the second, their times.
    """
    minutes, rest = divmod(ticks, TICKS_PER_MINUTE)
    return f"{_minute(minutes)[0]}{rest // TICKS_PER_SECOND:02d}.{rest % TICKS_PER_SECOND:07d}Z"


def format_compact(ticks: int) -> str:
    """`20220312100059`: whole seconds, for table keys and Observation identifiers."""
    minutes, rest = divmod(ticks, TICKS_PER_MINUTE)
    return f"{_minute(minutes)[1]}{rest // TICKS_PER_SECOND:02d}"


@lru_cache(maxsize=64)
def _minute(minutes: int) -> tuple[str, str]:
    """How the times of one minute begin: (`2022-03-12T10:00:`, `202203121000`)."""
    days, minute_of_day = divmod(minutes, 24 * 60)
    hour, minute = divmod(minute_of_day, 60)
    day = date.fromordinal(days + 1).isoformat()
    return f"{day}T{hour:02d}:{minute:02d}:", f"{day.replace('-', '')}{hour:02d}{minute:02d}"
