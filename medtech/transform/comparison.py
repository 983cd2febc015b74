"""What would be stored, held against what is stored.

They differ where merging the one into the other would change something, and in what merging does not bring up to date:
code (the Observation's and those of its components), subject, device and encounter. Samples and values that only the
store has are no difference, since merging keeps them; but a value that the mapping never writes is one of another
mapping.

The store may be ahead: where two readings share a slot, or a single value its period, it may hold a reading that came
after those of the draft. Such a value is explained by the later readings themselves (`Later`): whatever one of them
would have left there is no difference.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from medtech.errors import MedTechError, ObservationWithdrawn, UnitMismatch
from medtech.model import ResourceIdentity
from medtech.transform.effective import read_effective
from medtech.transform.fhir_json import without_empties
from medtech.transform.identifier import SYSTEM
from medtech.transform.merge import find_component, is_value, merge, refers
from medtech.transform.observation import ObservationDraft
from medtech.transform.pattern import Target
from medtech.transform.stored_series import Json
from medtech.transform.values import SampledDataWriter, same_concept, write_named_concept

Readings = Sequence[tuple[int, Any]]
"""As in ObservationDraft: (time in ticks, what is written)."""

Later = Mapping[int, Iterable[tuple[int, Any]]]
"""By the index of the pattern's target: readings of the same Observation that came after those of the draft."""

_NONE: Later = {}


class Difference(NamedTuple):
    """How a stored Observation differs: `category`, `code`, `subject`, `device`, `encounter`, `effective`, `status`,
    `value`, `component:systolic` (by the name of its value). Empty if it does not.

    `error` names what keeps the draft from being merged, as UnitMismatch; empty if nothing does.
    """

    elements: tuple[str, ...]
    error: str = ""

    def __bool__(self) -> bool:
        return bool(self.elements or self.error)

    @property
    def is_of_values(self) -> bool:
        """Whether later readings can explain it."""
        return not self.error and all(each == _VALUE or each.startswith(_COMPONENT) for each in self.elements)


_VALUE, _COMPONENT = "value", "component:"


def difference(stored: Json, draft: ObservationDraft, identity: ResourceIdentity, later: Later = _NONE) -> Difference:
    """How `stored` (of `parse_resource`) differs from what the draft says."""
    found: list[str] = []
    if not _has_code(stored, write_named_concept(draft.template.codes, draft.type), draft):
        found.append("code")
    for name, kind, resource_id in (("subject", "Patient", identity.patient), ("device", "Device", identity.device)):
        if not refers(stored, name, kind, resource_id):
            found.append(name)
    found += _of_other_codes(stored, draft)
    found += _never_written(stored, draft)
    try:
        explained = _explained(stored, draft, identity, later) if later else draft
        merged = merge(stored, explained, identity, 0)
    except ObservationWithdrawn as error:
        return Difference((*found, "status"), error.name)
    except UnitMismatch as error:
        return Difference(tuple(dict.fromkeys((*found, *_in_other_units(stored, draft, identity)))), error.name)
    except MedTechError as error:
        return Difference(tuple(found), error.name)
    if merged.other_encounter:
        found.append("encounter")
    if merged.changed:
        found += _changed(stored, merged.resource)
    return Difference(tuple(dict.fromkeys(found)))


def may_explain(draft: ObservationDraft, other: ObservationDraft) -> dict[int, list[tuple[int, Any]]]:
    """The readings of another draft of the same Observation that may stand where those of `draft` would."""
    found: dict[int, list[tuple[int, Any]]] = {}
    for index, (target, own, others) in enumerate(
        zip(draft.pattern.targets, draft.readings, other.readings, strict=True)
    ):
        if not own:
            continue
        # Of a single value only what was read counts; its time would make many of one.
        near = [(draft.start, written) for written in dict.fromkeys(written for _, written in others)]
        if isinstance(target.writer, SampledDataWriter):
            # Where slots begin is known only with the stored Observation: of readings a period apart or less, some
            # share one.
            period = target.writer.period
            periods = {time // period + step for time, _ in own for step in (-1, 0, 1)}
            near = [each for each in others if each[0] // period in periods]
        if near:
            found[index] = near
    return found


def _has_code(element: Any, code: Json, draft: ObservationDraft) -> bool:
    """Whether an Observation or a component has the code that would be written."""
    stored = element.get("code") if isinstance(element, dict) else None
    return same_concept(stored, without_empties(code) if draft.pattern.has_empties else code)


def _of_other_codes(stored: Json, draft: ObservationDraft) -> list[str]:
    """The components that are stored, and have another code than they would be created with."""
    components = stored.get("component")
    if not isinstance(components, list):
        return []
    found: list[str] = []
    taken: set[int] = set()
    for target, readings in zip(draft.pattern.targets, draft.readings, strict=True):
        if target.code is None or not readings:
            continue
        index = find_component(components, target.writer.name, taken)
        if index is not None:
            taken.add(index)
            if not _has_code(components[index], target.code, draft):
                found.append(_element(target))
    return found


def _never_written(stored: Json, draft: ObservationDraft) -> list[str]:
    """Values in the store that only another mapping can have written: this one knows none by that name."""
    found: list[str] = []
    targets = draft.pattern.targets
    if all(target.code is not None for target in targets) and any(name.startswith("value") for name in stored):
        found.append(_VALUE)
    known = {target.writer.name for target in targets if target.code is not None}
    components = stored.get("component")
    for component in components if isinstance(components, list) else ():
        name = _own_name(component)
        if name is not None and name not in known:
            found.append(f"{_COMPONENT}{name}")
    return found


def _changed(stored: Json, merged: Json) -> list[str]:
    """The elements that merging has changed."""
    found: list[str] = []
    if (stored.get("category") or []) != (merged.get("category") or []):
        found.append("category")
    if _values(stored) != _values(merged):
        found.append(_VALUE)
    before, after = stored.get("component"), merged.get("component")
    components = before if isinstance(before, list) else []
    for index, component in enumerate(after if isinstance(after, list) else []):
        if index >= len(components) or components[index] != component:
            found.append(f"{_COMPONENT}{_name(component, index)}")
    where = f"Observation/{stored.get('id')}"
    was, would_be = read_effective(stored, where), read_effective(merged, where)
    starts = would_be.start is not None and (was.start is None or would_be.start < was.start)
    ends = would_be.end is not None and (was.covered is None or would_be.end > was.covered)
    if starts or ends:
        found.append("effective")
    return found


def _values(resource: Json) -> Json:
    return {name: value for name, value in resource.items() if is_value(name)}


def _name(component: Any, index: int) -> str:
    """The name of a component's value; its place if others have written it without."""
    return _own_name(component) or str(index)


def _own_name(component: Any) -> str | None:
    """The name of the value that a mapping makes a component of; None for what others have written."""
    code = component.get("code") if isinstance(component, dict) else None
    coding = code.get("coding") if isinstance(code, dict) else None
    for each in coding if isinstance(coding, list) else ():
        if isinstance(each, dict) and each.get("system") == SYSTEM:
            return str(each.get("code"))
    return None


def _element(target: Target) -> str:
    return _VALUE if target.code is None else f"{_COMPONENT}{target.writer.name}"


def _in_other_units(stored: Json, draft: ObservationDraft, identity: ResourceIdentity) -> list[str]:
    found: list[str] = []
    for index, target in enumerate(draft.pattern.targets):
        try:
            merge(stored, _only(draft, {index: draft.readings[index]}), identity, 0)
        except UnitMismatch:
            found.append(_element(target))
    return found


def _explained(stored: Json, draft: ObservationDraft, identity: ResourceIdentity, later: Later) -> ObservationDraft:
    """The draft with later readings in place of its own where the store holds these."""
    start = read_effective(stored, f"Observation/{stored.get('id')}").start
    first = draft.start if start is None else min(draft.start, start)
    readings: dict[int, Readings] = dict(enumerate(draft.readings))
    for index, candidates in later.items():
        target = draft.pattern.targets[index]
        own = draft.readings[index]
        if not isinstance(target.writer, SampledDataWriter):
            readings[index] = [_held(stored, draft, identity, index, own[-1], candidates)]
            continue
        period = target.writer.period
        by_slot: dict[int, list[tuple[int, Any]]] = {}
        for each in candidates:
            by_slot.setdefault((each[0] - first) // period, []).append(each)
        # Of several readings in one slot the last one stands.
        latest = {(time - first) // period: (time, text) for time, text in own}
        readings[index] = [
            _held(stored, draft, identity, index, sample, by_slot[slot]) if slot in by_slot else sample
            for slot, sample in latest.items()
        ]
    return _only(draft, readings)


def _held(
    stored: Json,
    draft: ObservationDraft,
    identity: ResourceIdentity,
    index: int,
    own: tuple[int, Any],
    candidates: Iterable[tuple[int, Any]],
) -> tuple[int, Any]:
    """The reading that the store holds in the place of `own`; `own` itself if it is none of those that came later."""
    time, _ = own
    element = _element(draft.pattern.targets[index])
    for written in dict.fromkeys([own[1], *(written for _, written in candidates)]):
        # At the time of the draft's own: a later one in the same slot says nothing else.
        merged = merge(stored, _only(draft, {index: [(time, written)]}), identity, 0)
        if element not in _changed(stored, merged.resource):
            return time, written
    return own


def _only(draft: ObservationDraft, readings: Mapping[int, Readings]) -> ObservationDraft:
    """The draft with these readings, by target, and no others."""
    return ObservationDraft(
        draft.pattern,
        draft.type,
        (draft.start, draft.end),
        draft.correlation_id,
        draft.measurements,
        [list(readings.get(index, ())) for index in range(len(draft.readings))],
        draft.superseded,
    )
