"""What is looked for, besides what makes a mapping or a message fail.

A check is a function that yields findings. One that cannot decide yields none. docs/validate.md has each finding with
its cause and its fix.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from medtech.validation.checks import (
    codes,
    device_ids,
    expressions,
    literals,
    observations,
    periods,
    templates,
    times,
    types,
    units,
    values,
    vital_signs,
)
from medtech.validation.finding import Finding
from medtech.validation.mapping_pair import MappingPair
from medtech.validation.stored import StoredObservation
from medtech.validation.trial import Trial

OfMappings = Callable[[MappingPair], Iterable[Finding]]
OfMessages = Callable[[Trial], Iterable[Finding]]
OfObservations = Callable[[MappingPair, Sequence[StoredObservation]], Iterable[tuple[StoredObservation, Finding]]]

OF_MAPPINGS: Final[tuple[OfMappings, ...]] = (
    types.without_fhir_template,
    values.not_used,
    types.without_device_template,
    values.never_given,
    values.never_written,
    values.correlation_id_never_given,
    periods.without_effect,
    periods.never_fits,
    templates.duplicates,
    literals.texts_for_numbers,
    literals.names_for_literals,
    codes.without_system,
    units.not_ucum,
    vital_signs.units,
    vital_signs.category,
    vital_signs.value_types,
    vital_signs.codes,
)

OF_MESSAGES: Final[tuple[OfMessages, ...]] = (
    expressions.of_templates,
    expressions.of_fields,
    times.without_offset,
    times.numbers,
    times.out_of_range,
    times.not_plausible,
    device_ids.not_plausible,
)

OF_OBSERVATIONS: Final[tuple[OfObservations, ...]] = (
    observations.not_r4,
    observations.readings_meet,
    observations.superseded,
)
