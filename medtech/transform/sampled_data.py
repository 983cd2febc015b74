"""SampledData: one data point every period from the Observation's start, `E` where there is none.

A slot is the place of one data point: slot n is for the times from start + n * period until the next slot starts. Times
and periods are ticks. Source: SPEC sections 4 and 6 (4, 5, 17, 22), FHIR R4 SampledData.
"""

from collections.abc import Sequence
from decimal import Context, Decimal
from typing import NamedTuple

from medtech.dotnet.decimals import MAX_DIGITS, NotANumber, parse, plain
from medtech.errors import PeriodTooLong
from medtech.transform.data_point import same_sample

NO_SAMPLE = "E"

MAX_TEXT = 1024 * 1024
"""Characters of `data`: FHIR allows a string of 1 MiB, and servers refuse resources far above it."""

_MAX_SLOTS = (MAX_TEXT + 1) // 2
"""Each takes at least a character and a blank."""

_ODD_BLANKS = (*"\t\n\v\f\r\x1c\x1d\x1e\x1f", "  ")
"""What may separate data points that somebody else wrote, as `str.split` sees it; FHIR has one space. Single characters
are sought at gigabytes a second."""

_EXACT = Context(prec=120)
"""Enough for the exact product of two decimals of a stored resource; the default would round to 28 digits."""


Sample = tuple[int, str]
"""The time of a data point, and its text: a number, `E`, `U` or `L`."""


class Layout(NamedTuple):
    """Where the slots of one series are; `end` is inclusive."""

    start: int
    end: int
    period: int


def fits(length: int, period: int) -> bool:
    """Whether an Observation can hold the samples of so many ticks, even if all but empty."""
    return (length - 1) // period < _MAX_SLOTS


def count_slots(start: int, end: int, period: int, dimensions: int = 1) -> int:
    """The number of slots. Raises PeriodTooLong if even empty ones would take more than MAX_TEXT."""
    slots = (end - start) // period + 1
    if slots * dimensions > _MAX_SLOTS:
        raise _too_many(slots * dimensions)
    return slots


def _too_many(slots: int) -> PeriodTooLong:
    return PeriodTooLong(
        f"The period needs {slots} samples, and an Observation holds {_MAX_SLOTS} at most. Is a timestamp years "
        "off? If not, change the FHIR mapping: a longer defaultPeriod or a shorter periodInterval. Then replay."
    )


def build(samples: Sequence[Sample], start: int, end: int, period: int) -> str:
    """The text of a new series; `samples` in order of time, all from `start` to `end`. Raises PeriodTooLong."""
    slots = (end - start) // period + 1
    if slots > _MAX_SLOTS:
        raise _too_many(slots)
    if len(samples) == 1:
        time, text = samples[0]
        slot = (time - start) // period
        return f"{'E ' * slot}{text}{' E' * (slots - slot - 1)}"
    points = [NO_SAMPLE] * slots
    for time, text in samples:
        points[(time - start) // period] = text
    return _join(points)


def splice(data: str, samples: Sequence[Sample], layout: Layout) -> tuple[str, bool]:
    """(the series with new samples over the old ones, whether it says anything new).

    `data` has this layout already: the same start and period. `samples` are in order of time. Raises PeriodTooLong.
    """
    start, end, period = layout
    slots = count_slots(start, end, period)
    latest = {(time - start) // period: text for time, text in samples}
    stored = _count_points(data)
    appended = None if stored is None else _append(data, stored, latest, slots)
    if appended is not None:
        return appended, any(text != NO_SAMPLE for text in latest.values())
    points, before = _apart(data, stored, next(iter(latest)), next(reversed(latest)), slots)
    changed = False
    for slot, text in latest.items():
        point = points[slot - before]
        if point != text:
            changed = changed or not same_sample(point, text)
            points[slot - before] = text
    return _join(points), changed


def _apart(data: str, stored: int | None, first: int, last: int, slots: int) -> tuple[list[str], int]:
    """The text of so many slots at least, taken apart: (its pieces, the slot of the first one). `stored` as counted.

    The slots from `first` to `last` have a piece each. What stands before or after them may be one piece: readings of a
    few minutes change a small part of an hour or a day.
    """
    if stored is None:
        points = data.split()
        return points + [NO_SAMPLE] * (slots - len(points)), 0
    filled = data + " E" * (slots - stored)
    behind = max(slots, stored) - first
    if last < behind:
        return filled.split(" ", last + 1), 0
    return filled.rsplit(" ", behind), first - 1


def _append(data: str, stored: int, samples: dict[int, str], slots: int) -> str | None:
    """The series of `stored` points with samples in slots behind its last one, in order of time; None if they are not
    all behind it.

    Readings usually arrive so. A day of one sample a second is a text of 86,400 points, and neither what stands before
    the first new slot nor what follows the last one is taken apart.
    """
    first, last = next(iter(samples)), next(reversed(samples))
    if first < stored:
        empty = " E" * (stored - first)
        if not (data.endswith(empty) if first else data == empty[1:]):
            return None
        data = data[: -len(empty)] if first else ""
    points = list(samples.values())
    if len(points) <= last - first:
        points = [NO_SAMPLE] * (last + 1 - first)
        for slot, text in samples.items():
            points[slot - first] = text
    gap = "E " * (first - stored)
    behind = " E" * (max(slots, stored) - last - 1)
    return _limited(f"{data}{' ' if data else ''}{gap}{' '.join(points)}{behind}")


def _count_points(data: str) -> int | None:
    """The number of data points, None where anything but a single space stands between them or around them."""
    if not data:
        return 0
    odd = data[0] == " " or data[-1] == " " or not data.isascii() or any(blank in data for blank in _ODD_BLANKS)
    return None if odd else data.count(" ") + 1


def lay_out_anew(data: str, dimensions: int, old_start: int, old_period: int, layout: Layout) -> str:
    """The same data points in the slots of another layout, which does not start later.

    Each keeps the time of its old slot; of several in one new slot the latest stands. With several dimensions the
    numbers of one time stay together. Raises PeriodTooLong.
    """
    slots = count_slots(*layout, dimensions)
    nothing = " ".join([NO_SAMPLE] * dimensions)
    points = [nothing] * slots
    old = data.split()
    start, _, period = layout
    for index in range(0, len(old), dimensions):
        point = " ".join(old[index : index + dimensions])
        if point == nothing:
            continue
        slot = (old_start + index // dimensions * old_period - start) // period
        if slot >= len(points):
            # Somebody wrote points past the Observation's end; they stay where they are.
            points += [nothing] * (count_slots(start, start + slot * period, period, dimensions) - len(points))
        points[slot] = point
    return _join(points)


def true_values(data: str, factor: Decimal, origin: Decimal) -> str:
    """The data points with their scale applied: each number times `factor` plus `origin`; `E`, `U` and `L` stay.

    Raises NotANumber for any other point, and for a result that no decimal of ours can hold.
    """
    return " ".join(point if point in ("E", "U", "L") else _true_value(point, factor, origin) for point in data.split())


def _true_value(point: str, factor: Decimal, origin: Decimal) -> str:
    try:
        value = _EXACT.add(_EXACT.multiply(parse(point), factor), origin)
    except ArithmeticError:
        raise NotANumber from None
    scale = value.as_tuple().exponent
    if not isinstance(scale, int) or scale < -MAX_DIGITS or value.adjusted() > MAX_DIGITS:
        raise NotANumber  # before it is written out: a stored factor may be 1e999999
    text = plain(value)
    parse(text)
    return text


def _join(points: list[str]) -> str:
    return _limited(" ".join(points))


def _limited(data: str) -> str:
    if len(data) > MAX_TEXT:
        raise PeriodTooLong(
            f"The samples take {len(data)} characters, and an Observation holds {MAX_TEXT} at most. Change the FHIR "
            "mapping: a longer defaultPeriod or a shorter periodInterval. Then replay."
        )
    return data
