"""A SampledData of a stored Observation: new samples spliced in, or laid out anew when the Observation's start moves.

Others write SampledData too, and servers may hold anything, so every part is checked when it is read. What cannot be
read is a ConversionError, which names the Observation and what to fix. Source: SPEC section 6 (4, 5, 17, 22).
"""

from decimal import Decimal
from typing import Any, NamedTuple

from medtech.dotnet.decimals import NotANumber
from medtech.dotnet.ticks import MAX_TICKS, TICKS_PER_MILLISECOND
from medtech.errors import ConversionError, UnitMismatch
from medtech.transform import sampled_data
from medtech.transform.sampled_data import Layout, Sample
from medtech.transform.values import SampledDataWriter, same_number

Json = dict[str, Any]

_LONGEST_PERIOD = MAX_TICKS // TICKS_PER_MILLISECOND
"""Milliseconds: all the time that ticks can express. Computing with more could take for ever (1e999999999)."""


class Span(NamedTuple):
    """From when to when an Observation lasts, in ticks: as it is stored (None: it does not say), and as it will be.

    `stored_end` is the last tick that the stored end covers.
    """

    stored_start: int | None
    stored_end: int | None
    start: int
    end: int

    @property
    def moved(self) -> bool:
        return self.stored_start is not None and self.start < self.stored_start

    @property
    def starts_anew(self) -> bool:
        return self.stored_start is None or self.moved

    @property
    def ends_anew(self) -> bool:
        return self.stored_end is None or self.end > self.stored_end


class StoredSeries:
    def __init__(self, stored: Json, where: str) -> None:
        self._stored = stored
        self._where = where

    def splice(self, writer: SampledDataWriter, samples: list[Sample], span: Span, relabel_unit: bool) -> Json | None:
        """The series with new samples over the old ones; None if it says the same already.

        Raises UnitMismatch, PeriodTooLong, and ConversionError if what is stored cannot be read.
        """
        stored = self._stored
        self._check_unit(writer, relabel_unit)
        layout = Layout(span.start, span.end, writer.period)
        same_period = same_number(stored.get("period"), writer.period_ms)
        data = self._data()
        rewritten = not same_period or self._unit() != (writer.unit or "")
        if data:
            factor, origin = self._scale()
            if factor != 1 or origin != 0:
                data, rewritten = self._true_values(data, factor, origin), True
            start = self._start(span)
            if start != span.start or not same_period:
                period = writer.period if same_period else self._period()
                data, rewritten = sampled_data.lay_out_anew(data, 1, start, period, layout), True
        spliced, says_more = sampled_data.splice(data, samples, layout)
        # An Observation that lasts longer is written in any case, and then its series up to the new end.
        if not (rewritten or says_more or (span.ends_anew and spliced != data)):
            return None
        written = writer.write(spliced)
        if isinstance(stored.get("origin"), dict):
            # What others added to the origin, such as a coded unit, stays with it.
            others = {name: value for name, value in stored["origin"].items() if name != "unit"}
            written["origin"] = {**others, **written["origin"]}
        return {**{name: value for name, value in stored.items() if name != "factor"}, **written}

    def lay_out_anew(self, span: Span) -> Json | None:
        """The series without new samples, at its own period, from the new start to the new end; None if it is empty.

        Raises PeriodTooLong, and ConversionError if what is stored cannot be read.
        """
        data = self._data()
        if not data:
            return None
        period = self._period()
        layout = Layout(span.start, span.end, period)
        data = sampled_data.lay_out_anew(data, self._dimensions(), self._start(span), period, layout)
        return {**self._stored, "data": data}

    def _check_unit(self, writer: SampledDataWriter, relabel_unit: bool) -> None:
        dimensions = self._dimensions()
        if dimensions != 1:
            raise UnitMismatch(
                f"{self._where} holds a series of {dimensions} dimensions for value '{writer.name}', and the mapping's "
                "has one. Move that series to another Observation, then replay the dead letter."
            )
        unit, mapped = self._unit(), writer.unit or ""
        if unit != mapped and not relabel_unit:
            raise UnitMismatch(
                f"{self._where} holds a series in unit '{unit}' for value '{writer.name}', and the FHIR mapping has "
                f"'{mapped}'. If only the label changed, replay with --relabel-unit; if not, convert what is stored, "
                "or give the type another name, and replay then."
            )

    def _unit(self) -> str:
        origin = self._stored.get("origin")
        unit = origin.get("unit") if isinstance(origin, dict) else None
        return unit if isinstance(unit, str) else ""

    def _dimensions(self) -> int:
        dimensions = self._stored.get("dimensions", 1)
        if not isinstance(dimensions, int) or not 1 <= dimensions <= sampled_data.MAX_TEXT:
            raise self._unreadable("dimensions that are not a positive number")
        return dimensions

    def _data(self) -> str:
        data = self._stored.get("data", "")
        if not isinstance(data, str):
            raise self._unreadable("data that is not text")
        return data

    def _period(self) -> int:
        """Its own period, in ticks."""
        period = self._stored.get("period")
        if isinstance(period, int | Decimal) and 0 < period < _LONGEST_PERIOD:
            period_ticks = int(period * TICKS_PER_MILLISECOND)
            if period_ticks > 0:
                return period_ticks
        raise self._unreadable("no positive period")

    def _start(self, span: Span) -> int:
        if span.stored_start is None:
            raise self._unreadable("samples, but no time at which they start")
        return span.stored_start

    def _scale(self) -> tuple[Decimal, Decimal]:
        """(factor, origin): a data point stands for point * factor + origin (FHIR R4, SampledData)."""
        factor, origin = self._stored.get("factor"), self._stored.get("origin")
        value = origin.get("value") if isinstance(origin, dict) else None
        numbers = (1 if factor is None else factor, 0 if value is None else value)
        if not all(isinstance(number, int | Decimal) for number in numbers):
            raise self._unreadable("a factor or an origin that is not a number")
        return Decimal(numbers[0]), Decimal(numbers[1])

    def _true_values(self, data: str, factor: Decimal, origin: Decimal) -> str:
        try:
            return sampled_data.true_values(data, factor, origin)
        except NotANumber:
            raise self._unreadable("data points that its factor and origin cannot be applied to") from None

    def _unreadable(self, what: str) -> ConversionError:
        return ConversionError(
            f"{self._where} has a SampledData with {what}, so nothing can be merged into it. Fix it, then replay the "
            "dead letter."
        )
