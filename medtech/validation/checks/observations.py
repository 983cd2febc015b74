"""What would be stored: is it an Observation of FHIR R4, and did readings replace each other on the way."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from medtech.mapping.fhir import Interval
from medtech.validation.finding import Finding, Name, warning
from medtech.validation.mapping_pair import MappingPair
from medtech.validation.stored import StoredObservation

Found = Iterator[tuple[StoredObservation, Finding]]


def not_r4(pair: MappingPair, stored: Sequence[StoredObservation]) -> Found:
    """Elements that FHIR R4 does not allow: a server may refuse the Observation, which is then a dead letter.

    Observations of one template that have the same values differ only in numbers, times and texts that are not blank,
    which are well-formed however they came; one of them stands for all. A look at each would take 0.5 ms.
    """
    known: dict[Any, list[Finding]] = {}
    for each in stored:
        draft = each.draft
        shape = draft.template, draft.type, tuple(map(bool, draft.readings)), draft.is_date_time
        if shape not in known:
            known[shape] = [_of_element(pair, draft.type, error) for error in _errors(each.observation)]
        for finding in known[shape]:
            yield each, finding


def readings_meet(pair: MappingPair, stored: Sequence[StoredObservation]) -> Found:
    """Readings of one second share an Observation, whose id counts whole seconds: of single values the last stands."""
    for each in stored:
        draft = each.draft
        if draft.template.interval is not Interval.SINGLE or not draft.superseded:
            continue
        same = len({measurement.occurrence_time for measurement in draft.measurements}) == 1
        yield (
            each,
            warning(
                Name.READINGS_MEET,
                f"Readings of the type '{draft.type}' {'have one time' if same else 'are within one second'}, and an "
                "Observation's id counts whole seconds: they share one Observation, in which the last one stands. Use "
                "SampledData to keep all of them, or let the device send fewer.",
                pair.place_of_template(draft.type),
            ),
        )


def superseded(pair: MappingPair, stored: Sequence[StoredObservation]) -> Found:
    """Readings of single values of one period or correlation id: the last one stands."""
    for each in stored:
        draft = each.draft
        interval = draft.template.interval
        if interval is Interval.SINGLE or not draft.superseded:
            continue
        grouped = interval is Interval.CORRELATION_ID
        yield (
            each,
            warning(
                Name.READING_SUPERSEDED,
                f"Several readings of the type '{draft.type}' have one {'correlation id' if grouped else 'period'}: of "
                "a single value only the last one stands. Use SampledData to keep all of them, or "
                f"{'another periodInterval' if grouped else 'periodInterval 0'}.",
                pair.place_of_template(draft.type),
            ),
        )


def _errors(observation: dict[str, Any]) -> list[Any]:
    from pydantic import ValidationError

    try:
        _model().model_validate(observation)
    except ValidationError as invalid:
        return list(invalid.errors(include_input=False, include_context=False, include_url=False))
    return []


def _of_element(pair: MappingPair, type_name: str, error: Any) -> Finding:
    # `Observation.code.coding[0].code`
    element = "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in error["loc"])
    reason = str(error["msg"]).removeprefix("Value error, ").rstrip(".").lower()
    if error["type"] == "string_pattern_mismatch":
        reason = "is empty, or has blanks where none may be"
    return warning(
        Name.OBSERVATION_NOT_R4,
        f"The Observations of the type '{type_name}' are not FHIR R4: Observation{element} {reason}. Fix it in the "
        "FHIR template: a server may refuse them.",
        pair.place_of_template(type_name),
    )


@lru_cache(maxsize=1)
def _model() -> Any:
    # 0.2 s, and only a validation needs it.
    from fhir.resources.R4B.observation import Observation

    return Observation
