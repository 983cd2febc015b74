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

_ODD_BLANKS = ("  ", "\n", "\t", "\r")
"""What may separate data points that somebody else wrote; FHIR has one space."""

_EXACT = Context(prec=120)
"""Enough for the exact product of two decimals of a stored resource; the default would round to 28 digits."""


Sample = tuple[int, str]
"""The time of a data point, and its text: a number, `E`, `U` or `L`."""


class Layout(NamedTuple):
    """Where the slots of one series are; `end` is inclusive."""

    start: int
    end: int
    period: int


def count_slots(start: int, end: int, period: int) -> int:
    """The number of slots. Raises PeriodTooLong if even empty ones would take more than MAX_TEXT."""
    slots = (end - start) // period + 1
    if slots > _MAX_SLOTS:
        raise PeriodTooLong(
            f"The period needs {slots} samples, and an Observation holds {_MAX_SLOTS} at most. Is a timestamp years "
            "off? If not, change the FHIR mapping: a longer defaultPeriod or a shorter periodInterval. Then replay."
        )
    return slots


def build(samples: Sequence[Sample], layout: Layout) -> str:
    """The text of a new series; `samples` in order of time, all within the layout. Raises PeriodTooLong."""
    start, end, period = layout
    slots = count_slots(start, end, period)
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
    appended = _append(data, latest, slots)
    if appended is not None:
        return appended, any(text != NO_SAMPLE for text in latest.values())
    points = data.split()
    changed = False
    if len(points) < slots:
        points += [NO_SAMPLE] * (slots - len(points))
    for slot, text in latest.items():
        if points[slot] != text:
            changed = changed or not same_sample(points[slot], text)
            points[slot] = text
    return _join(points), changed


def _append(data: str, samples: dict[int, str], slots: int) -> str | None:
    """The series with samples that all come after its last one; None if they do not.

    Readings usually arrive so, and it saves splitting and joining a long series.
    """
    head = data.rstrip(" E")
    empty = (len(data) - len(head) + 1) // 2
    tail = " E" * empty if head else (" E" * empty)[1:]
    if data[len(head) :] != tail or any(mark in head for mark in _ODD_BLANKS):
        return None
    used = head.count(" ") + 1 if head else 0
    if min(samples) < used:
        return None
    last = max(samples)
    points = [NO_SAMPLE] * (last + 1 - used)
    for slot, text in samples.items():
        points[slot - used] = text
    slots = max(slots, used + empty)
    return _limited(f"{head}{' ' if head else ''}{' '.join(points)}{' E' * (slots - last - 1)}")


def lay_out_anew(data: str, dimensions: int, old_start: int, old_period: int, layout: Layout) -> str:
    """The same data points in the slots of another layout, which does not start later.

    Each keeps the time of its old slot; of several in one new slot the latest stands. With several dimensions the
    numbers of one time stay together. Raises PeriodTooLong.
    """
    nothing = " ".join([NO_SAMPLE] * dimensions)
    points = [nothing] * count_slots(*layout)
    old = data.split()
    start, _, period = layout
    for index in range(0, len(old), dimensions):
        point = " ".join(old[index : index + dimensions])
        if point == nothing:
            continue
        slot = (old_start + index // dimensions * old_period - start) // period
        if slot >= len(points):
            # Somebody wrote points past the Observation's end; they stay where they are.
            points += [nothing] * (count_slots(start, start + slot * period, period) - len(points))
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
