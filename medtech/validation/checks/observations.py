"""What would be stored: is it an Observation of FHIR R4, and did readings replace each other on the way."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from medtech.mapping.fhir import Interval
from medtech.validation.finding import Finding, Name, warning
from medtech.validation.mapping_pair import MappingPair
from medtech.validation.stored import StoredObservation


def not_r4(pair: MappingPair, stored: StoredObservation) -> Iterator[Finding]:
    """Elements that FHIR R4 does not allow: a server may refuse the Observation, which is then a dead letter."""
    from pydantic import ValidationError

    try:
        _model().model_validate(stored.observation)
    except ValidationError as invalid:
        for error in invalid.errors(include_input=False, include_context=False, include_url=False):
            element = _element(error["loc"])
            yield warning(
                Name.OBSERVATION_NOT_R4,
                f"The Observations of the type '{_type(stored)}' are not FHIR R4: {element} {_reason(error)}. Fix it "
                "in the FHIR template: a server may refuse them.",
                pair.place_of_template(_type(stored)),
            )


def readings_meet(pair: MappingPair, stored: StoredObservation) -> Iterator[Finding]:
    """Readings of one second share an Observation, whose id counts whole seconds: of single values the last stands."""
    draft = stored.draft
    times = {each.occurrence_time for each in draft.measurements}
    if draft.template.interval is not Interval.SINGLE or len(draft.measurements) < 2:
        return
    same = len(times) == 1
    if same and not draft.superseded:
        return
    yield warning(
        Name.READINGS_MEET,
        f"Readings of the type '{draft.type}' {'have one time' if same else 'are within one second'}, and an "
        "Observation's id counts whole seconds: they share one Observation, in which the last one stands. Use "
        "SampledData to keep all of them, or let the device send fewer.",
        pair.place_of_template(draft.type),
    )


def superseded(pair: MappingPair, stored: StoredObservation) -> Iterator[Finding]:
    """Readings of single values of one period or correlation id: the last one stands."""
    draft = stored.draft
    if not draft.superseded or draft.template.interval is Interval.SINGLE:
        return
    period = "correlation id" if draft.template.interval is Interval.CORRELATION_ID else "period"
    yield warning(
        Name.READING_SUPERSEDED,
        f"Several readings of the type '{draft.type}' are of one {period}: of a single value only the last one stands. "
        "Use SampledData to keep all of them"
        + (", or periodInterval 0." if period == "period" else ", or another periodInterval."),
        pair.place_of_template(draft.type),
    )


def _type(stored: StoredObservation) -> str:
    return stored.draft.type


def _element(location: tuple[Any, ...]) -> str:
    """`Observation.code.coding[0].code`"""
    return "Observation" + "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in location)


def _reason(error: Any) -> str:
    if error["type"] == "string_pattern_mismatch":
        return "is empty, or has blanks where none may be"
    return str(error["msg"]).removeprefix("Value error, ").rstrip(".").lower()


@lru_cache(maxsize=1)
def _model() -> Any:
    # 0.2 s, and only a validation needs it.
    from fhir.resources.R4B.observation import Observation

    return Observation
