"""Merging a draft into the Observation that is stored under its id.

What the mapping owns (category, values, components, period) is brought up to date; what others added stays. Whether
anything changed is judged by meaning, so that an Observation which says the same already is not written again, in
whatever form the server gave it back. Merging twice is merging once. Source: SPEC section 4 "Merging", section 6
(2 to 5, 17, 18, 22).
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

from medtech import ticks
from medtech.errors import ConversionError, ObservationMismatch, ObservationWithdrawn, UnitMismatch
from medtech.model import ResourceIdentity
from medtech.transform import sampled_data
from medtech.transform.decimals import NotANumber
from medtech.transform.effective import StoredPeriod, read_effective
from medtech.transform.identifier import SYSTEM
from medtech.transform.observation import ObservationDraft, Pattern, Target, write_new
from medtech.transform.sampled_data import Layout, Sample
from medtech.transform.values import SampledDataWriter, SingleWriter, same_concept, same_number

_WITHDRAWN = ("entered-in-error", "cancelled")

Json = dict[str, Any]


class Merged(NamedTuple):
    """`resource` is the stored one itself when nothing changed. The stored encounter stays in any case;
    `other_encounter` says that the measurements were taken in another one.
    """

    changed: bool
    resource: Json
    other_encounter: bool


def merge(
    stored: Json, draft: ObservationDraft, identity: ResourceIdentity, issued: int, *, relabel_unit: bool = False
) -> Merged:
    """The stored Observation (of `parse_resource`) with the draft's readings; `stored` itself is never changed.

    `issued` in ticks. `relabel_unit` takes a series in another unit for one in the mapping's: only the label changed.
    Raises ObservationWithdrawn, ObservationMismatch, UnitMismatch, PeriodTooLong, and ConversionError for a stored
    Observation that cannot be read.
    """
    where = f"Observation/{stored.get('id')}"
    _check_owner(stored, identity, where)
    period = read_effective(stored, where)
    span = _Span(draft, period, where, relabel_unit)
    merged = dict(stored)
    changed = _merge_category(merged, draft.pattern)
    changed = _merge_values(merged, draft, span) or changed
    changed = _merge_period(merged, period, span) or changed
    other_encounter = identity.encounter is not None and not _refers(
        stored, "encounter", "Encounter", identity.encounter
    )
    if not changed:
        return Merged(False, stored, other_encounter)
    merged["status"] = "corrected" if stored.get("status") == "corrected" else "amended"
    merged["issued"] = ticks.format_iso(issued)
    return Merged(True, merged, other_encounter)


class _Span:
    """From when to when the merged Observation lasts, and how its values are merged into that."""

    def __init__(self, draft: ObservationDraft, period: StoredPeriod, where: str, relabel_unit: bool) -> None:
        self.where = where
        self.relabel_unit = relabel_unit
        self.stored_start = period.start
        self.start = draft.start if period.start is None else min(draft.start, period.start)
        self.end = max(self.start, draft.end, period.end or 0)
        self.moved = period.start is not None and self.start < period.start

    def value(self, element: Json, target: Target, readings: list[tuple[int, Any]]) -> Json | None:
        """The Observation or component with its value of these readings; None when it says the same already."""
        writer = target.writer
        stored = element.get(writer.property)
        if isinstance(writer, SampledDataWriter):
            if isinstance(stored, dict):
                written = self._splice(stored, writer, readings)
            else:
                written = write_new(writer, readings, self.start, self.end)
        else:
            written = _unless_same(writer, stored, write_new(writer, readings, self.start, self.end))
        others = [name for name in element if _is_value(name) and name != writer.property]
        if written is None and not others:
            return None
        merged = {name: value for name, value in element.items() if name not in others}
        merged[writer.property] = stored if written is None else written
        return merged

    def untouched(self, element: Json) -> Json | None:
        """An element without new readings: its series, if it is one, is laid out anew when the start moves."""
        stored = element.get(SampledDataWriter.property)
        if not self.moved or not isinstance(stored, dict) or not stored.get("data"):
            return None
        period = self._own_period(stored)
        layout = Layout(self.start, self.end, period)
        data = sampled_data.lay_out_anew(
            self._data(stored), _dimensions(stored, self.where), self._known_start(), period, layout
        )
        return {**element, SampledDataWriter.property: {**stored, "data": data}}

    def _splice(self, stored: Json, writer: SampledDataWriter, samples: list[Sample]) -> Json | None:
        """The stored series with new samples; None when it holds them already."""
        self._check_unit(stored, writer)
        layout = Layout(self.start, self.end, writer.period)
        data = self._data(stored)
        changed = False
        if data:
            factor, origin = self._scale(stored)
            if factor != 1 or origin != 0:
                data, changed = self._reckon(data, factor, origin), True
            period = writer.period if same_number(stored.get("period"), writer.period_ms) else self._own_period(stored)
            start = self._known_start()
            if start != self.start or period != writer.period:
                data, changed = sampled_data.lay_out_anew(data, 1, start, period, layout), True
        data, spliced = sampled_data.splice(data, samples, layout)
        origin_now = stored.get("origin")
        relabelled = self.relabel_unit and _unit(stored) != (writer.unit or "")
        if not (changed or spliced or relabelled) and same_number(stored.get("period"), writer.period_ms):
            return None
        written = writer.write(data)
        if isinstance(origin_now, dict):
            # What others added to the origin, such as a coded unit, stays with it.
            written["origin"] = {**origin_now, **written["origin"]}
        return {**{name: value for name, value in stored.items() if name != "factor"}, **written}

    def _check_unit(self, stored: Json, writer: SampledDataWriter) -> None:
        dimensions = _dimensions(stored, self.where)
        if dimensions != 1:
            raise UnitMismatch(
                f"{self.where} holds a series of {dimensions} dimensions for value '{writer.name}', the mapping's has "
                "one. Move that series to another Observation, then replay the dead letter."
            )
        unit, mapped = _unit(stored), writer.unit or ""
        if unit != mapped and not self.relabel_unit:
            raise UnitMismatch(
                f"{self.where} holds a series in unit '{unit}' for value '{writer.name}', the FHIR mapping has "
                f"'{mapped}'. If only the label changed, replay with --relabel-unit; else convert what is stored, or "
                "map the type to another name."
            )

    def _data(self, stored: Json) -> str:
        data = stored.get("data", "")
        if not isinstance(data, str):
            raise self._unreadable("data that is no text")
        return data

    def _own_period(self, stored: Json) -> int:
        """The stored series' own period in ticks."""
        period = stored.get("period")
        if isinstance(period, int | Decimal) and not isinstance(period, bool):
            period_ticks = int(period * ticks.TICKS_PER_MILLISECOND)
            if period_ticks > 0:
                return period_ticks
        raise self._unreadable("no positive period")

    def _known_start(self) -> int:
        if self.stored_start is None:
            raise self._unreadable("samples, but no time when they start")
        return self.stored_start

    def _scale(self, stored: Json) -> tuple[Decimal, Decimal]:
        """(factor, origin): FHIR has true value = data point * factor + origin."""
        origin = stored.get("origin")
        value = origin.get("value") if isinstance(origin, dict) else None
        factor = stored.get("factor")
        numbers = (1 if factor is None else factor, 0 if value is None else value)
        if not all(isinstance(number, int | Decimal) for number in numbers):
            raise self._unreadable("a factor or origin that is no number")
        return Decimal(numbers[0]), Decimal(numbers[1])

    def _reckon(self, data: str, factor: Decimal, origin: Decimal) -> str:
        try:
            return sampled_data.reckon(data, factor, origin)
        except NotANumber:
            raise self._unreadable("data points that cannot be reckoned with its factor and origin") from None

    def _unreadable(self, what: str) -> ConversionError:
        return ConversionError(
            f"{self.where} has a SampledData with {what}, so that nothing can be merged into it. Mend it, then replay "
            "the dead letter."
        )


def _check_owner(stored: Json, identity: ResourceIdentity, where: str) -> None:
    status = stored.get("status")
    if status in _WITHDRAWN:
        raise ObservationWithdrawn(
            f"{where} is {status}: readings are not merged into it. Delete it or mend its status, then replay the dead "
            "letter."
        )
    if stored.get("resourceType") != "Observation":
        raise ObservationMismatch(f"{where} is no Observation. Look at what answers under the FHIR server's address.")
    for name, kind, resource_id in (("subject", "Patient", identity.patient), ("device", "Device", identity.device)):
        if not _refers(stored, name, kind, resource_id):
            raise ObservationMismatch(
                f"{where} has another {name} than {kind}/{resource_id}. Mend the Observation or the Device's patient, "
                "then replay the dead letter."
            )


def _refers(stored: Json, name: str, kind: str, resource_id: str) -> bool:
    """Does a reference, relative, absolute or versioned, name this resource?"""
    reference = stored.get(name)
    text = reference.get("reference") if isinstance(reference, dict) else None
    if not isinstance(text, str):
        return False
    parts = text.split("/_history/")[0].split("/")
    return parts[-2:] == [kind, resource_id]


def _merge_category(merged: Json, pattern: Pattern) -> bool:
    """Replaces the category; a template without one removes it, as the connector does."""
    stored, category = merged.get("category") or [], pattern.category
    if (
        isinstance(stored, list)
        and len(stored) == len(category)
        and all(same_concept(*pair) for pair in zip(stored, category, strict=True))
    ):
        return False
    merged.pop("category", None)
    if category:
        merged["category"] = category
    return True


def _merge_values(merged: Json, draft: ObservationDraft, span: _Span) -> bool:
    """Brings the Observation's value and its components up to date; says whether anything changed."""
    stored = merged.get("component")
    components: list[Any] = list(stored) if isinstance(stored, list) else []
    owned: set[int] = set()
    own_value = False
    changed = False
    for target, readings in zip(draft.pattern.targets, draft.readings, strict=True):
        if not readings:
            continue
        if target.code is None:
            own_value = True
            changed = _replace(merged, span.value(merged, target, readings)) or changed
            continue
        index = _find_component(components, target.writer.name, owned)
        if index is None:
            owned.add(len(components))
            value = write_new(target.writer, readings, span.start, span.end)
            components.append({"code": target.code, target.writer.property: value})
            changed = True
            continue
        owned.add(index)
        component = span.value(components[index], target, readings)
        if component is not None:
            components[index] = component
            changed = True
    if span.moved:
        changed = (not own_value and _replace(merged, span.untouched(merged))) or changed
        changed = _each_untouched(components, owned, span.untouched) or changed
    if changed and components:
        merged["component"] = components
    return changed


def _replace(merged: Json, element: Json | None) -> bool:
    if element is None:
        return False
    merged.clear()
    merged.update(element)
    return True


def _each_untouched(components: list[Any], owned: set[int], untouched: Callable[[Json], Json | None]) -> bool:
    changed = False
    for index, component in enumerate(components):
        if index not in owned and isinstance(component, dict):
            moved = untouched(component)
            if moved is not None:
                components[index] = moved
                changed = True
    return changed


def _find_component(components: list[Any], name: str, owned: set[int]) -> int | None:
    """The first component not yet taken whose code names the value in the service's system."""
    for index, component in enumerate(components):
        if index in owned or not isinstance(component, dict):
            continue
        code = component.get("code")
        coding = code.get("coding") if isinstance(code, dict) else None
        for each in coding if isinstance(coding, list) else ():
            if isinstance(each, dict) and each.get("code") == name and each.get("system") == SYSTEM:
                return index
    return None


def _merge_period(merged: Json, period: StoredPeriod, span: _Span) -> bool:
    """Widens the period; a stored moment becomes a period as soon as anything is written."""
    stored = merged.get("effectivePeriod")
    covered = period.covered
    widened = span.moved or period.start is None or covered is None or span.end > covered
    if not isinstance(stored, dict):
        for name in ("effectiveDateTime", "_effectiveDateTime", "effectiveInstant", "_effectiveInstant"):
            merged.pop(name, None)
        stored = {}
    elif not widened:
        return False
    written = dict(stored)
    if span.moved or period.start is None or "start" not in stored:
        written["start"] = ticks.format_iso(span.start)
    if covered is None or span.end > covered or "end" not in stored:
        written["end"] = ticks.format_iso(span.end)
    merged["effectivePeriod"] = written
    return widened


def _unless_same(writer: SingleWriter, stored: Any, written: Any) -> Any:
    return None if writer.same(stored, written) else written


def _is_value(name: str) -> bool:
    """Is it a value[x], its extensions, or the reason why there is none?"""
    return name.startswith(("value", "_value", "dataAbsentReason", "_dataAbsentReason"))


def _unit(stored: Json) -> str:
    origin = stored.get("origin")
    unit = origin.get("unit") if isinstance(origin, dict) else None
    return unit if isinstance(unit, str) else ""


def _dimensions(stored: Json, where: str) -> int:
    dimensions = stored.get("dimensions", 1)
    if not isinstance(dimensions, int) or dimensions < 1:
        raise ConversionError(f"{where} has a SampledData whose dimensions are no positive number. Mend it.")
    return dimensions
