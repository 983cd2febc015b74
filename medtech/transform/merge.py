"""Merging a draft into the Observation that is stored under its id.

What the mapping owns (category, values, components, time) is brought up to date; what others added stays. Whether
anything changed is judged by meaning, so that an Observation that says the same already is not written again, whatever
form the server returned it in. Merging twice is merging once. Source: SPEC section 4 "Merging", section 6 (2 to 5, 17,
18, 22).
"""

from typing import Any, NamedTuple

from medtech.dotnet import ticks
from medtech.errors import ObservationMismatch, ObservationWithdrawn
from medtech.model import ResourceIdentity
from medtech.transform.effective import read_effective
from medtech.transform.identifier import SYSTEM
from medtech.transform.observation import ObservationDraft
from medtech.transform.pattern import Pattern, Target
from medtech.transform.stored_series import Json, Span, StoredSeries
from medtech.transform.values import SampledDataWriter, same_concept

WITHDRAWN = ("entered-in-error", "cancelled")
"""The status of an Observation that somebody took back: nothing is merged into it or taken from it."""

_ONE_TIME = ("effectiveDateTime", "effectiveInstant")
"""The forms in which a stored Observation may have one time instead of a period."""


_NO_VALUES = {
    "category",
    "code",
    "device",
    "effectiveDateTime",
    "effectivePeriod",
    "encounter",
    "id",
    "identifier",
    "issued",
    "meta",
    "resourceType",
    "status",
    "subject",
}
"""Properties that nearly every Observation has: passed over where values are sought."""


class Merged(NamedTuple):
    """`resource` is the stored one itself if nothing changed. The stored encounter always stays; `other_encounter` says
    that the measurements were taken in another one.
    """

    changed: bool
    resource: Json
    other_encounter: bool


def merge(
    stored: Json, draft: ObservationDraft, identity: ResourceIdentity, issued: int, *, relabel_unit: bool = False
) -> Merged:
    """The stored Observation (of `parse_resource`) with the draft's readings; `stored` itself is never changed.

    `issued` in ticks. With `relabel_unit` a stored series in another unit is taken to be in the mapping's: only the
    label changed.

    Raises ObservationWithdrawn, ObservationMismatch, UnitMismatch, PeriodTooLong, and ConversionError for a stored
    Observation that cannot be read.
    """
    where = f"Observation/{stored.get('id')}"
    _check_owner(stored, identity, where)
    period = read_effective(stored, where)
    start = draft.start if period.start is None else min(draft.start, period.start)
    span = Span(period.start, period.covered, start, max(start, draft.end, period.end or 0))
    one_time = _one_time(stored, draft, span)
    if one_time is not None and period.start is not None:
        # It has no start that its samples could count from, so none is laid out anew.
        elements = _Elements(Span(start, span.end, start, span.end), where, relabel_unit)
    else:
        elements = _Elements(span, where, relabel_unit)

    merged = dict(stored)
    changed = _merge_category(merged, draft.pattern)
    changed = _merge_values(merged, draft, elements) or changed
    if one_time is None:
        changed = _merge_period(merged, span) or changed
    else:
        changed = _merge_one_time(merged, one_time, span) or changed
    encounter = identity.encounter
    other_encounter = encounter is not None and not refers(stored, "encounter", "Encounter", encounter)
    if not changed:
        return Merged(False, stored, other_encounter)
    merged["status"] = "corrected" if stored.get("status") == "corrected" else "amended"
    merged["issued"] = ticks.format_iso(issued)
    return Merged(True, merged, other_encounter)


def _one_time(stored: Json, draft: ObservationDraft, span: Span) -> str | None:
    """The property in which the merged Observation has its one time; None if it has a period.

    A stored Observation keeps its form. A time becomes a period if the interval has one, or if samples of a series
    would otherwise be at wrong times.
    """
    if isinstance(stored.get("effectivePeriod"), dict) or draft.pattern.length != 1:
        return None
    name = next((name for name in _ONE_TIME if stored.get(name) is not None), None)
    if name is None:
        return "effectiveDateTime" if draft.is_date_time else None
    stands = not (span.starts_anew or span.ends_anew)
    if stands or (draft.pattern.has_one_time(span.start, span.end) and not _has_samples_at_several_times(stored)):
        return name
    return None


def _has_samples_at_several_times(stored: Json) -> bool:
    components = stored.get("component")
    for element in (stored, *(components if isinstance(components, list) else ())):
        series = element.get(SampledDataWriter.property) if isinstance(element, dict) else None
        data = series.get("data") if isinstance(series, dict) else None
        if isinstance(data, str) and len(data.split()) > 1:
            return True
    return False


class _Elements:
    """Merges what holds a value[x]: the Observation itself, and each of its components."""

    def __init__(self, span: Span, where: str, relabel_unit: bool) -> None:
        self.span = span
        self._where = where
        self._relabel_unit = relabel_unit

    def new(self, target: Target, readings: list[tuple[int, Any]]) -> Any:
        return target.writer.write(target.writer.gather(readings, self.span.start, self.span.end))

    def updated(self, element: Json, target: Target, readings: list[tuple[int, Any]]) -> Json | None:
        """The element with these readings and without any other value; None if it says the same already."""
        writer = target.writer
        stored = element.get(writer.property)
        if isinstance(writer, SampledDataWriter):
            if isinstance(stored, dict):
                written = StoredSeries(stored, self._where).splice(writer, readings, self.span, self._relabel_unit)
            else:
                written = self.new(target, readings)
        else:
            written = self.new(target, readings)
            if writer.same(stored, written):
                written = None
        others = [name for name in element if name not in _NO_VALUES and name != writer.property and is_value(name)]
        if written is None:
            # An extension of a value that does not change belongs to whoever added it, and stays with the value.
            others = [name for name in others if name != f"_{writer.property}"]
        if written is None and not others:
            return None
        merged = dict(element)
        for name in others:
            del merged[name]
        merged[writer.property] = stored if written is None else written
        return merged

    def moved(self, element: Any) -> Json | None:
        """An element without new readings, with its series laid out from the new start; None if it has no series."""
        stored = element.get(SampledDataWriter.property) if isinstance(element, dict) else None
        if not isinstance(stored, dict):
            return None
        series = StoredSeries(stored, self._where).lay_out_anew(self.span)
        return None if series is None else {**element, SampledDataWriter.property: series}


def _check_owner(stored: Json, identity: ResourceIdentity, where: str) -> None:
    if stored.get("resourceType") != "Observation":
        raise ObservationMismatch(
            f"{where} is not an Observation. Check which server answers at FHIR_SERVICE_URL, then replay the "
            "dead letter."
        )
    status = stored.get("status")
    if status in WITHDRAWN:
        raise ObservationWithdrawn(
            f"{where} is {status}: readings are not merged into it. Delete it or fix its status, then replay the dead "
            "letter."
        )
    for name, kind, resource_id in (("subject", "Patient", identity.patient), ("device", "Device", identity.device)):
        if not refers(stored, name, kind, resource_id):
            raise ObservationMismatch(
                f"{where} has another {name} than {kind}/{resource_id}. Fix the Observation or the Device's patient, "
                "then replay the dead letter."
            )


def refers(stored: Json, name: str, kind: str, resource_id: str) -> bool:
    """Whether a reference, relative, absolute or versioned, names this resource."""
    reference = stored.get(name)
    text = reference.get("reference") if isinstance(reference, dict) else None
    if not isinstance(text, str):
        return False
    if text == f"{kind}/{resource_id}":
        return True
    return text.partition("/_history/")[0].split("/")[-2:] == [kind, resource_id]


def _merge_category(merged: Json, pattern: Pattern) -> bool:
    """Replaces the category, and says whether it changed; a template without one removes it, as in the connector."""
    stored, category = merged.get("category") or [], pattern.category
    if stored == category:
        return False
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


def _merge_values(merged: Json, draft: ObservationDraft, elements: _Elements) -> bool:
    """Brings the Observation's value and its components up to date, and says whether anything changed."""
    stored = merged.get("component")
    components: list[Any] = list(stored) if isinstance(stored, list) else []
    taken: set[int] = set()
    has_new_value = False
    changed = False
    for target, readings in zip(draft.pattern.targets, draft.readings, strict=True):
        if not readings:
            continue
        if target.code is None:
            has_new_value = True
            changed = _replace(merged, elements.updated(merged, target, readings)) or changed
            continue
        index = find_component(components, target.writer.name, taken)
        if index is None:
            taken.add(len(components))
            components.append({"code": target.code, target.writer.property: elements.new(target, readings)})
            changed = True
        else:
            taken.add(index)
            changed = _put(components, index, elements.updated(components[index], target, readings)) or changed
    if elements.span.moved:
        if not has_new_value:
            changed = _replace(merged, elements.moved(merged)) or changed
        for index, component in enumerate(components):
            if index not in taken:
                changed = _put(components, index, elements.moved(component)) or changed
    if changed and components:
        merged["component"] = components
    return changed


def _replace(merged: Json, element: Json | None) -> bool:
    """Makes it the element, unless that is None, and says whether it did."""
    if element is None:
        return False
    merged.clear()
    merged.update(element)
    return True


def _put(components: list[Any], index: int, element: Json | None) -> bool:
    """Puts the element in place of a component, unless it is None, and says whether it did."""
    if element is None:
        return False
    components[index] = element
    return True


def find_component(components: list[Any], name: str, taken: set[int]) -> int | None:
    """The first component not yet taken whose code names the value in the service's system."""
    for index, component in enumerate(components):
        code = component.get("code") if isinstance(component, dict) and index not in taken else None
        coding = code.get("coding") if isinstance(code, dict) else None
        for each in coding if isinstance(coding, list) else ():
            if isinstance(each, dict) and each.get("code") == name and each.get("system") == SYSTEM:
                return index
    return None


def _merge_period(merged: Json, span: Span) -> bool:
    """Widens the period, and says whether it had to; a stored time becomes a period with the next change."""
    stored = merged.get("effectivePeriod")
    starts_anew, ends_anew = span.starts_anew, span.ends_anew
    if isinstance(stored, dict):
        if not (starts_anew or ends_anew):
            return False
        written = dict(stored)
        if starts_anew:
            written["start"] = ticks.format_iso(span.start)
        if ends_anew:
            written["end"] = ticks.format_iso(span.end)
    else:
        written = {"start": ticks.format_iso(span.start), "end": ticks.format_iso(span.end)}
        for name in _ONE_TIME:
            merged.pop(name, None)
            merged.pop(f"_{name}", None)
    merged["effectivePeriod"] = written
    return starts_anew or ends_anew


def _merge_one_time(merged: Json, name: str, span: Span) -> bool:
    """Sets the time to that of the later reading, and says whether it changed; an earlier one changes nothing."""
    if not span.ends_anew:
        return False
    merged[name] = ticks.format_iso(span.end)
    merged.pop(f"_{name}", None)
    return True


def is_value(name: str) -> bool:
    """Whether a property is a value[x], its extensions, or the reason why there is none."""
    return name.startswith(("value", "_value", "dataAbsentReason", "_dataAbsentReason"))
