"""Times of messages that are not what they look like."""

import re
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any, Final, NamedTuple

from medtech.dotnet import ticks
from medtech.dotnet.times import json_date
from medtech.dotnet.tokens import NoReading, time_reading
from medtech.mapping.content_template import ContentTemplate, Field, PropertyLookup
from medtech.mapping.expression import MATCHED_TOKEN
from medtech.validation.finding import Finding, Fix, Name, warning
from medtech.validation.fixes import write_instead
from medtech.validation.trial import Trial

_FIXED = "iothub-"
"""In the paths that the kind of a template fixes; these times are in UTC, as IoT Hub writes them."""

_OFFSET = re.compile(r"(?:z|gmt|utc|[+-][0-9]{1,2}:?[0-9]{2}|[+-][0-9]{2})\s*$", re.IGNORECASE)
_CLOCK = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})(?:[T ]([0-9]{2}):([0-9]{2})(?::([0-9]{2}))?)?", re.ASCII)
_DIGITS = re.compile(r"[0-9]{9,16}", re.ASCII)
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)

_MILLISECONDS: Final = 100_000_000_000
"""As seconds since 1970 this is the year 5138, as milliseconds it is 1973."""

_EARLIEST = (date(1980, 1, 1).toordinal() - 1) * ticks.TICKS_PER_DAY
_AFTER_EPOCH = ticks.UNIX_EPOCH + 60 * ticks.TICKS_PER_DAY
"""Seconds since 1970 that are taken for milliseconds are before this, until the year 2130."""


class _Seen(NamedTuple):
    """In how many matches something was seen, first in which message, and the token there."""

    matches: int
    message_index: int
    token: Any


def without_offset(trial: Trial) -> Iterator[Finding]:
    """Times that do not say where the clock stood."""
    for template, field in _timestamps(trial):
        # What a function makes of a time is a text without an offset, and in UTC.
        if field.origin.language == "JmesPath":
            continue
        seen = _seen(trial, template, field, _is_local)
        if seen is not None:
            yield warning(
                Name.TIME_WITHOUT_OFFSET,
                f"The times that {field.origin.expression} finds ('{template.type}') have no offset, and are read as "
                "UTC. If the device's clock is not in UTC, let it send the offset, as in 10:00:00+02:00.",
                trial.pair.place_of(field.origin),
                seen_count=seen.matches,
                message_index=seen.message_index,
            )


def numbers(trial: Trial) -> Iterator[Finding]:
    """Times that are numbers, such as milliseconds since 1970: no template reads them as they are."""
    for template, field in _timestamps(trial):
        seen = _seen(trial, template, field, _is_number)
        if seen is None:
            continue
        function = "fromUnixTimestampMs" if float(seen.token) >= _MILLISECONDS else "fromUnixTimestamp"
        unit = "milliseconds" if function.endswith("Ms") else "seconds"
        fix = _converted(trial, template, field, function, as_text=isinstance(seen.token, str))
        how = (
            f"Use {function}() of JMESPath."
            if template.on_document
            else f"Make the template a CalculatedContent, and use {function}() of JMESPath."
        )
        yield warning(
            Name.TIME_IS_A_NUMBER,
            f"The times that {field.origin.expression} finds ('{template.type}') are numbers, by their size {unit} "
            f"since 1970, and are not read as times. {how}",
            trial.pair.place_of(field.origin),
            fix,
            seen_count=seen.matches,
            message_index=seen.message_index,
        )


def out_of_range(trial: Trial) -> Iterator[Finding]:
    """Times that no calendar or clock has, such as 24:46."""
    for template, field in _timestamps(trial):
        seen = _seen(trial, template, field, lambda token: _part_out_of_range(token) is not None)
        if seen is not None:
            yield warning(
                Name.TIME_OUT_OF_RANGE,
                f"The times that {field.origin.expression} finds ('{template.type}') have "
                f"{_part_out_of_range(seen.token)}, so they are not read as times. Fix what the device sends.",
                trial.pair.place_of(field.origin),
                seen_count=seen.matches,
                message_index=seen.message_index,
            )


def not_plausible(trial: Trial) -> Iterator[Finding]:
    """Measurements from before there were such devices, or from tomorrow."""
    latest = trial.now + ticks.TICKS_PER_DAY
    wrong: dict[int, list[tuple[int, int]]] = {}
    for number, normalized in enumerate(trial.normalized):
        for measurement in normalized.measurements:
            if not _EARLIEST <= measurement.occurrence_time <= latest:
                wrong.setdefault(measurement.template, []).append((number, measurement.occurrence_time))
    for index in sorted(wrong):
        template = trial.device.templates[index]
        number, time = wrong[index][0]
        origin = template.time[0].origin
        fix = None
        if ticks.UNIX_EPOCH <= time < _AFTER_EPOCH:
            reason = "just after 1970: seconds that are taken for milliseconds, or a clock that was not set"
            if origin.expression.count("fromUnixTimestampMs(") == 1:
                node = trial.pair.written_device.at(origin.pointer)
                mended = origin.expression.replace("fromUnixTimestampMs(", "fromUnixTimestamp(")
                fix = write_instead(trial.pair.written_device, node, mended)
        elif time < _EARLIEST:
            reason = "before 1980: a clock that was not set, or a time that is read in another form than it has"
        else:
            reason = "more than a day ahead: a clock that is wrong, or a time that is read in another form than it has"
        yield warning(
            Name.TIME_NOT_PLAUSIBLE,
            f"Measurements of the type '{template.type}' are from {ticks.format_iso(time)[:10]}, {reason}. Look at "
            f"what {origin.expression} finds.",
            trial.pair.place_of(origin),
            fix,
            seen_count=len(wrong[index]),
            message_index=number,
        )


def _timestamps(trial: Trial) -> Iterator[tuple[ContentTemplate, Field]]:
    for template in trial.device.templates:
        for field in template.time:
            if _FIXED not in field.origin.expression:
                yield template, field


def _seen(trial: Trial, template: ContentTemplate, field: Field, is_wrong: Callable[[Any], bool]) -> _Seen | None:
    found = [(match.message_index, token) for match, token in trial.tokens(template, field) if is_wrong(token)]
    return _Seen(len(found), *found[0]) if found else None


def _is_local(token: Any) -> bool:
    if not isinstance(token, str) or _OFFSET.search(token):
        return False
    moment = json_date(token)
    if moment is not None:
        return not moment.suffix
    try:
        time_reading(token)
    except NoReading:
        return False
    return True


def _is_number(token: Any) -> bool:
    if isinstance(token, str):
        return _DIGITS.fullmatch(token) is not None and not _is_time(token)
    return isinstance(token, int | float) and not isinstance(token, bool)


def _is_time(token: Any) -> bool:
    try:
        time_reading(token)
    except NoReading:
        return False
    return True


def _part_out_of_range(token: Any) -> str | None:
    found = _CLOCK.match(token) if isinstance(token, str) else None
    if found is None or _is_time(token):
        return None
    month, day, hour, minute, second = (int(part or 0) for part in found.groups()[1:])
    if not 1 <= month <= 12:
        return "a month that is none"
    if not 1 <= day <= 31:
        return "a day that no month has"
    if hour > 23:
        return "an hour past 23 (24:00:00 alone is the end of a day)"
    if minute > 59 or second > 59:
        return "minutes or seconds past 59"
    return None


def _converted(trial: Trial, template: ContentTemplate, field: Field, function: str, *, as_text: bool) -> Fix | None:
    """The expression with a function of JMESPath around it, for a path that is nothing but names."""
    source = field.source
    if not template.on_document or not isinstance(source, PropertyLookup):
        return None
    node = trial.pair.written_device.at(field.origin.pointer)
    if node is None or field.origin.pointer.endswith("/value"):
        return None
    names = (MATCHED_TOKEN, *source.names) if source.from_match else source.names
    read = ".".join(name if _PLAIN_NAME.fullmatch(name) else f'"{name}"' for name in names)
    expression = f"{function}({f'to_number({read})' if as_text else read})"
    return write_instead(trial.pair.written_device, node, {"value": expression, "language": "JmesPath"})
