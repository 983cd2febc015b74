"""Texts as .NET reads them for dates, and dates as it prints them.

There are two readers because the connector has two. `json_date` does what Json.NET does to every string of a message:
it decides whether the string *is* a date (ISO 8601 in a few shapes, `/Date(ms)/`). `parse` does what `DateTime.Parse`
with the invariant culture does to a string that a timestamp expression found: month names, slashes, AM and PM, GMT.

Both return UTC ticks; a time without a zone is UTC. Source of the rules: `token.jsonl` of the conformance vectors.
"""

import re
from datetime import date, datetime
from functools import lru_cache
from typing import Final, NamedTuple

from medtech.dotnet.text import BLANKS
from medtech.dotnet.ticks import (
    MAX_TICKS,
    TICKS_PER_DAY,
    TICKS_PER_HOUR,
    TICKS_PER_MICROSECOND,
    TICKS_PER_MILLISECOND,
    TICKS_PER_MINUTE,
    TICKS_PER_SECOND,
    UNIX_EPOCH,
)


class JsonDate(NamedTuple):
    """A date of a message: UTC ticks, and how Json.NET ends it when it writes it as JSON again.

    `suffix` is `Z` for a date that was UTC, `+00:00` for one that had an offset, empty for one without a zone.
    """

    ticks: int
    suffix: str


# The fraction is possessive: the reader takes up to seven digits and never gives one back, which is why nine digits
# are a date (two are swallowed as if they were a zone) and eight are not.
_ISO = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,7}+))?"
    r"(?:([Zz])|([+-])([0-9]{2})(?::?([0-9]{2})|:)?|:?[0-9]{2}|:)?"
)
# No date has more than 19 digits; without that bound a text of half a million took 5 ms to be none.
_MICROSOFT = re.compile(r"/Date\((-?[0-9]{1,19}+)(?:([+-])[0-9]{2}(?:[0-9]{2}[^+]*)?)?\)/")


def json_date(text: str) -> JsonDate | None:
    """The date that Json.NET makes of a JSON string, or None where it stays a string."""
    if 18 < len(text) < 41 and text[10] == "T":
        found = _ISO.fullmatch(text)
        return None if found is None else _iso_date(found)
    if text[:6] == "/Date(":
        found = _MICROSOFT.fullmatch(text)
        return None if found is None else _microsoft_date(found)
    return None


def _iso_date(found: re.Match[str]) -> JsonDate | None:
    year, month, day, hour, minute, second, fraction, utc, sign, zone_hours, zone_minutes = found.groups()
    fraction_ticks = int(fraction.ljust(7, "0")) if fraction else 0
    ticks = _civil_ticks(int(year), int(month), int(day))
    if ticks is None or minute > "59" or second > "59" or hour > "24":
        return None
    if hour == "24" and (minute != "00" or second != "00" or fraction_ticks):
        return None
    ticks += (int(hour) * 3600 + int(minute) * 60 + int(second)) * TICKS_PER_SECOND + fraction_ticks
    if ticks > MAX_TICKS:
        return None
    if sign is None:
        return JsonDate(ticks, "Z" if utc else "")
    offset = int(zone_hours) * TICKS_PER_HOUR + int(zone_minutes or "0") * TICKS_PER_MINUTE
    # Past either end of the calendar the service stays at that end.
    ticks = min(ticks + offset, MAX_TICKS) if sign == "-" else max(ticks - offset, 0)
    return JsonDate(ticks, "+00:00")


def _microsoft_date(found: re.Match[str]) -> JsonDate | None:
    milliseconds, sign = found.groups()
    if len(milliseconds) > 19:
        return None
    ticks = UNIX_EPOCH + int(milliseconds) * TICKS_PER_MILLISECOND
    if not 0 <= ticks <= MAX_TICKS:
        return None
    # The offset only says where the clock stood: the milliseconds are UTC already.
    return JsonDate(ticks, "+00:00" if sign else "Z")


def utc_ticks(text: str) -> int | None:
    """The ticks of `2024-02-29T10:00:00.250Z` and its like; None for other shapes, which `json_date` or `parse` read.

    This is the shape of nearly every time in a message. There are few different seconds, so each is computed once and
    cached; what follows is looked up by its digits, which checks them too. That takes half the time of `datetime`'s
    own parser. `json_date` and `parse` read the same from any text that is read here.
    """
    length = len(text)
    try:
        if length == 24 and text[23] == "Z":
            return SECONDS[text[:20]] + LAST_THOUSANDTHS[text[20:]]
        if length == 27 and text[26] == "Z":
            return SECONDS[text[:20]] + THOUSANDTHS[text[20:23]] + LAST_MILLIONTHS[text[23:]]
        offset = 0
        if text[-1:] == "Z":
            length -= 1
        elif text[-6:] in _OFFSETS:
            length -= 6
            offset = _OFFSETS[text[-6:]]
        if length == 19:
            ticks = _minute_ticks(text[:17]) + _WHOLE_SECONDS[text[17:19]]
        elif length == 23 or length == 26 or length == 27:
            ticks = SECONDS[text[:20]] + THOUSANDTHS[text[20:23]]
            if length != 23:
                ticks += _MILLIONTHS[text[23:26]]
                if length == 27:
                    ticks += _LAST_DIGIT[text[26]]
        else:
            return None
    except (KeyError, NoDate):
        return None
    ticks -= offset
    return ticks if not offset or 0 <= ticks <= MAX_TICKS else None


_OFFSETS = {
    f"{sign}{minutes // 60:02d}:{minutes % 60:02d}": factor * minutes * TICKS_PER_MINUTE
    for sign, factor in (("+", 1), ("-", -1))
    for minutes in range(14 * 60 + 1)
}
"""The ticks of every offset up to 14 hours, by its text; the two readers disagree about larger ones."""
_SECONDS_OF_MINUTE = {f"{number:02d}.": number * TICKS_PER_SECOND for number in range(60)}
_WHOLE_SECONDS = {f"{number:02d}": number * TICKS_PER_SECOND for number in range(60)}
THOUSANDTHS: Final = {f"{number:03d}": number * TICKS_PER_MILLISECOND for number in range(1000)}
"""The ticks of the first three digits of a fraction of a second."""
LAST_THOUSANDTHS: Final = {f"{digits}Z": ticks for digits, ticks in THOUSANDTHS.items()}
"""The ticks of `250Z`, the end of a time with three digits."""
_MILLIONTHS = {f"{number:03d}": number * TICKS_PER_MICROSECOND for number in range(1000)}
LAST_MILLIONTHS: Final = {f"{digits}Z": ticks for digits, ticks in _MILLIONTHS.items()}
"""The ticks of `144Z`, the end of a time with six digits, as far as the last three say."""
_LAST_DIGIT = {str(number): number for number in range(10)}
_MINUTE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([01][0-9]|2[0-3]):([0-5][0-9]):")


class _Seconds(dict[str, int]):
    """The ticks of `2024-02-29T10:00:00.` by that text, up to a number of them; a look-up raises KeyError or NoDate.

    A dict finds what it has in a third of the time that a cached function takes.
    """

    def __missing__(self, text: str) -> int:
        ticks = _minute_ticks(text[:17]) + _SECONDS_OF_MINUTE[text[17:]]
        if len(self) >= _MOST_SECONDS:
            self.clear()
        self[text] = ticks
        return ticks


_MOST_SECONDS = 8192
"""Two hours of readings each second; about a megabyte."""
SECONDS: Final = _Seconds()
"""For who reads many times of one of these shapes, and cannot afford the call of `utc_ticks`."""


@lru_cache(maxsize=4096)
def _minute_ticks(text: str) -> int:
    """The ticks of `2024-02-29T10:00:`; raises NoDate for anything else."""
    found = _MINUTE.fullmatch(text)
    ticks = None if found is None else _civil_ticks(*map(int, found.groups()[:3]))
    if found is None or ticks is None:
        raise NoDate("no date")
    return ticks + int(found[4]) * TICKS_PER_HOUR + int(found[5]) * TICKS_PER_MINUTE


def format_iso(moment: JsonDate) -> str:
    """As Json.NET writes a date: `2019-02-01T22:46:01.875Z`, the fraction without trailing zeros."""
    fraction = moment.ticks % TICKS_PER_SECOND
    text = _whole_seconds(moment.ticks).isoformat()
    return f"{text}.{fraction:07d}".rstrip("0") + moment.suffix if fraction else text + moment.suffix


def format_invariant(ticks: int) -> str:
    """As .NET prints a date in the invariant culture: `02/01/2019 22:46:01`."""
    moment = _whole_seconds(ticks)
    return (
        f"{moment.month:02d}/{moment.day:02d}/{moment.year:04d} "
        f"{moment.hour:02d}:{moment.minute:02d}:{moment.second:02d}"
    )


def _whole_seconds(ticks: int) -> datetime:
    days, rest = divmod(ticks, TICKS_PER_DAY)
    minutes, second = divmod(rest // TICKS_PER_SECOND, 60)
    day = date.fromordinal(days + 1)
    return datetime(day.year, day.month, day.day, minutes // 60, minutes % 60, second)


def _civil_ticks(year: int, month: int, day: int) -> int | None:
    try:
        return (date(year, month, day).toordinal() - 1) * TICKS_PER_DAY
    except ValueError:
        return None


class NoDate(ValueError):
    """A text that `DateTime.Parse` refuses, or a time of day without a date; the message says which."""


_MONTHS = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MONTH_NUMBERS = {name: n for n, full in enumerate(_MONTHS, 1) for name in (full, full[:3])}
_MONTH_NAMES = "|".join(sorted(_MONTH_NUMBERS, key=len, reverse=True))
_DAY_NAMES = "|".join(name for full in _DAYS for name in (full, full[:3]))

# `\s` is ASCII here: `parse` makes spaces of all other blanks. A name or a designator ends where no letter follows.
_HALF = r"(?:am|pm)(?![a-z])"
_TIME = (
    r"(?P<hour>[0-9]{1,2})(?:\s*:\s*(?P<minute>[0-9]{1,2})(?:\s*:\s*(?P<second>[0-9]{1,2})(?P<fraction>\.[0-9]*)?)?"
    rf"(?:\s*(?P<half>{_HALF}))?|\s*(?P<half_alone>{_HALF}))"
)
_ISO_TIME = r"(?P<hour>[0-9]{2})\s*:\s*(?P<minute>[0-9]{2})(?:\s*:\s*(?P<second>[0-9]{2})(?P<fraction>\.[0-9]+)?)?"
_OFFSET = r"(?P<sign>[+-])(?P<zone>[0-9]{1,2}:[0-9]{1,2}|[0-9]{1,4})"
_ZONE = rf"(?:\s*(?:(?P<utc>z|gmt)|{_OFFSET}))?"
_SEPARATOR = r"(?:\s*[/.,-]\s*|\s+)"
_DATE = (
    rf"(?:(?P<weekday>{_DAY_NAMES})(?![a-z])(?:\s*,\s*|\s+)?)?"
    r"(?:"
    rf"(?P<first>[0-9]{{1,4}}){_SEPARATOR}(?P<second_number>[0-9]{{1,4}})(?:{_SEPARATOR}(?P<third>[0-9]{{1,4}}))?"
    rf"|(?P<before>[0-9]{{1,4}}){_SEPARATOR}?(?P<name>{_MONTH_NAMES})(?![a-z])"
    rf"(?:{_SEPARATOR}?(?P<after>[0-9]{{1,4}}))?"
    rf"|(?P<name_first>{_MONTH_NAMES})(?![a-z]){_SEPARATOR}?(?P<one>[0-9]{{1,4}})"
    rf"(?:{_SEPARATOR}(?P<two>[0-9]{{1,4}}))?"
    r")"
)
_ISO_DATE = rf"(?P<first>[0-9]{{3,4}}){_SEPARATOR}(?P<second_number>[0-9]{{1,2}}){_SEPARATOR}(?P<third>[0-9]{{1,2}})"
_MOMENTS = tuple(
    re.compile(rf"\s*{form}\s*\x00*", re.IGNORECASE | re.ASCII)
    for form in (
        rf"{_ISO_DATE}\s*t\s*{_ISO_TIME}(?:\s*(?:z|{_OFFSET}))?",
        rf"{_DATE}(?:\s*,\s*|\s+){_TIME}{_ZONE}[\s.,]*",
        rf"{_DATE}{_ZONE}[\s.,]*",
        rf"{_TIME}(?:\s*,\s*|\s+){_DATE}{_ZONE}[\s.,]*",
    )
)
_TIME_ALONE = re.compile(rf"\s*{_TIME}{_ZONE}\s*\x00*", re.IGNORECASE | re.ASCII)
_AS_SPACES = dict.fromkeys(map(ord, BLANKS), " ")
"""To .NET every Unicode blank is a space: browsers put U+202F before AM and PM, and U+00A0 into dates."""

_LONGEST = 100
"""No date is longer. A longer text is refused at once, so that a megabyte costs nothing."""

_OLDEST_SHORT_YEAR = 50
"""Years of two digits: 50-99 are of the twentieth century, 00-49 of the twenty-first."""


def parse(text: str) -> int:
    """Ticks of a text as `DateTime.Parse` reads it in the invariant culture; raises NoDate.

    .NET puts a time of day alone on today's date and a day without a year in this year. Both are refused here: what a
    message means must not depend on when it is read.
    """
    if len(text) > _LONGEST:
        raise NoDate("no date")
    if not text.isascii():
        text = text.translate(_AS_SPACES)
    found = next(filter(None, (moment.fullmatch(text) for moment in _MOMENTS)), None)
    if found is None:
        raise NoDate("a time of day without a date" if _TIME_ALONE.fullmatch(text) else "no date")
    parts = found.groupdict()
    day_ticks = _day_ticks(parts)
    if day_ticks is None:
        raise NoDate("no date")
    ticks = day_ticks + _time_of_day(parts) - _offset(parts)
    if not 0 <= ticks <= MAX_TICKS:
        raise NoDate("no date of the years 1 to 9999")
    return ticks


_Parts = dict[str, str | None]
"""What was found, by the names of the groups; a form without time or zone has no such names."""


def _day_ticks(parts: _Parts) -> int | None:
    """The day's first tick; None if the numbers are not a day, or the day has no year."""
    named = parts.get("name") or parts.get("name_first")
    whole = parts["third"] or parts["after"] or parts["two"]
    if not whole and ("hour" in parts or parts["utc"] or parts["sign"] == "-"):
        return None  # 2019-02 is a day, but no time may follow it, and 2019-02-05:00 is not February with an offset
    if named is None:
        ticks = _numeric_day(parts["first"] or "", parts["second_number"] or "", parts["third"])
    else:
        ticks = _named_day(
            _MONTH_NUMBERS[named.lower()], parts["before"] or parts["one"] or "", parts["after"] or parts["two"]
        )
    weekday = parts.get("weekday")
    if ticks is None or weekday is None:
        return ticks
    return ticks if _DAYS[ticks // TICKS_PER_DAY % 7].startswith(weekday.lower()) else None


def _named_day(month: int, first: str, second: str | None) -> int | None:
    if second is None:
        # "Feb 2019" is the month's first day; "Feb 1" has no year.
        return _civil_ticks(int(first), month, 1) if len(first) > 2 else None
    year, day = (first, second) if len(first) > 2 else (second, first)
    return _civil_ticks(_year(year), month, int(day)) if len(day) <= 2 else None


def _numeric_day(first: str, second: str, third: str | None) -> int | None:
    """Year first where the first number has more than two digits, else month, day, year."""
    if third is None:
        # 2019-02 and 02/2019 are the month's first day; .NET takes 1.2019 and 1,2019 for months too.
        year, month = (first, second) if len(first) > 2 else (second, first)
        return _civil_ticks(int(year), int(month), 1) if len(year) > 2 and len(month) <= 2 else None
    if len(second) > 2:
        return None
    if len(first) > 2:
        return _civil_ticks(int(first), int(second), int(third)) if len(third) <= 2 else None
    return _civil_ticks(_year(third), int(first), int(second))


def _year(text: str) -> int:
    year = int(text)
    if len(text) > 2:
        return year
    return year + (1900 if year >= _OLDEST_SHORT_YEAR else 2000)


def _time_of_day(parts: _Parts) -> int:
    if parts.get("hour") is None:
        return 0
    hour, minute, second = (int(parts[name] or "0") for name in ("hour", "minute", "second"))
    half = parts.get("half") or parts.get("half_alone")
    if half is not None and half.lower() == "am":
        if hour > 12:
            raise NoDate("no date")
        hour %= 12
    elif half is not None and hour < 12:
        hour += 12  # 22:46 PM stays 22:46
    if hour > 23 or minute > 59 or second > 59:
        raise NoDate("no date")
    return (hour * 3600 + minute * 60 + second) * TICKS_PER_SECOND + _fraction_ticks(parts["fraction"])


def _fraction_ticks(fraction: str | None) -> int:
    """Any number of digits, rounded to a tick; added up in binary, as .NET does, so that halves round the same way."""
    if fraction is None:
        return 0
    total, place = 0.0, 0.1
    for digit in fraction[1:]:
        total += int(digit) * place
        place *= 0.1
    return round(total * TICKS_PER_SECOND)


def _offset(parts: _Parts) -> int:
    zone = parts.get("zone")
    if zone is None:
        return 0
    if ":" in zone:
        hours, _, minutes = zone.partition(":")
    elif len(zone) > 2:
        hours, minutes = zone[:-2], zone[-2:]
    else:
        hours, minutes = zone, "0"
    total = int(hours) * 60 + int(minutes)
    if int(minutes) > 59 or total > 14 * 60:
        raise NoDate("no date: its offset is more than 14 hours")
    return total * TICKS_PER_MINUTE * (-1 if parts["sign"] == "-" else 1)
