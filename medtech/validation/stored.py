"""What the pipeline would store of several messages: the same groups, the same Observations, the same folding."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from medtech.errors import MedTechError
from medtech.group.groups import group_measurements
from medtech.mapping.fhir import FhirMapping
from medtech.model import Measurement, MeasurementGroup, ResourceIdentity
from medtech.transform.observation import ObservationDraft, convert, create, fold, meetings
from medtech.validation.finding import Finding

IDENTITY = ResourceIdentity(device="devId", patient="patId", encounter=None)
"""Whom the Observations of a validation refer to."""


@dataclass(frozen=True, slots=True)
class StoredObservation:
    """An Observation that messages (their numbers, in order) make together; `device_id` is the measurements'.

    If aggregated, it has one finding, which `aggregated_count` Observations had.
    """

    observation: dict[str, Any]
    device_id: str
    messages: tuple[int, ...]
    draft: ObservationDraft
    findings: list[Finding] = field(default_factory=list)
    aggregated_count: int = 0


class Loss(NamedTuple):
    """A measurement that is not, or only partly, in an Observation."""

    error: MedTechError
    measurement: Measurement


class Stored(NamedTuple):
    observations: list[StoredObservation]
    losses: list[Loss]


class Numbered:
    """Made-up identities: the first device is `devId`, others are `devId-2` and so on."""

    def __init__(self) -> None:
        self._identities: dict[str, ResourceIdentity] = {}

    def __call__(self, group: MeasurementGroup) -> ResourceIdentity:
        number = len(self._identities) + 1
        numbered = IDENTITY if number == 1 else IDENTITY._replace(device=f"{IDENTITY.device}-{number}")
        return self._identities.setdefault(group.device_id, numbered)


def store(
    measurements: Iterable[Measurement],
    mapping: FhirMapping,
    issued: int,
    identify: Callable[[MeasurementGroup], ResourceIdentity] | None = None,
) -> Stored:
    """What is stored of measurements that one flush has; `issued` in ticks.

    `identify` must tell devices apart, whose readings would meet otherwise; it is Numbered unless another is given.
    """
    identify = identify or Numbered()
    losses: list[Loss] = []
    drafts: list[tuple[ResourceIdentity, ObservationDraft]] = []
    for group in group_measurements(measurements):
        identity = identify(group)
        conversion = convert(mapping, group)
        drafts += ((identity, draft) for draft in conversion.drafts)
        losses += (Loss(failure.error, failure.measurement) for failure in conversion.failures)
    observations: list[StoredObservation] = []
    for members in meetings(drafts).values():
        try:
            observations.append(_stored(members, issued))
        except MedTechError as error:
            losses += (Loss(error, each) for _, draft in members for each in draft.measurements)
    return Stored(observations, losses)


def _stored(members: Sequence[tuple[ResourceIdentity, ObservationDraft]], issued: int) -> StoredObservation:
    draft = fold([draft for _, draft in members])
    messages = sorted({each.sequence_number for each in draft.measurements})
    observation = create(draft, members[0][0], issued)
    return StoredObservation(observation, draft.measurements[0].device_id, tuple(messages), draft)
