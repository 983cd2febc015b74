"""Observations that would be written, held against those that are stored. Only reads are sent."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import islice
from typing import NamedTuple

from medtech.errors import (
    ConversionError,
    FhirAccessDenied,
    FhirServerUnavailable,
    MedTechError,
    OutOfTime,
    Unavailable,
    UnexpectedFault,
)
from medtech.persist.answers import Interaction, Resource, Verdict
from medtech.persist.client import CONCURRENT_BUNDLES, FhirClient
from medtech.persist.observations import ObservationWrite, Waiting, located
from medtech.persist.patience import Patience
from medtech.persist.references import Identifier
from medtech.persist.settle import reply_error
from medtech.settings import ObservationLookup
from medtech.transform.comparison import Difference, Later, difference
from medtech.transform.fhir_json import dump_resource
from medtech.transform.identifier import SYSTEM
from medtech.transform.observation import create_text


class Outcome(StrEnum):
    """What a comparison found."""

    SAME = "same"
    ABSENT = "absent"
    DIFFERENT = "different"


class Compared(NamedTuple):
    """An Observation that was compared; `difference` is empty unless it is different, `stored` is what is there."""

    write: ObservationWrite
    outcome: Outcome
    difference: Difference
    stored: Resource | None

    @property
    def resource_id(self) -> str:
        """The id that the app gives the Observation; a store may keep it under another one."""
        return self.write.draft.identify(self.write.identity)[1]

    def sides(self, issued: int) -> tuple[bytes | None, bytes | None]:
        """(the Observation as it would be created, the stored one), as JSON; `issued` in ticks.

        None for what is not there, or has no form: a series that is too long, a resource nested hundreds deep.
        """
        try:
            ours = create_text(self.write.draft, self.write.identity, issued)
        except ConversionError:
            ours = None
        try:
            stored = None if self.stored is None else dump_resource(self.stored)
        except TypeError:
            stored = None
        return ours, stored


class ObservationComparer:
    """Compares the Observations of a flush; one per process, `compare` may run in several threads at once."""

    def __init__(
        self,
        client: FhirClient,
        *,
        lookup: ObservationLookup = ObservationLookup.ID,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self._client = client
        self._lookup = lookup
        self._pause = pause

    def compare(
        self, writes: Iterable[ObservationWrite], later: Mapping[ObservationWrite, Later] | None = None
    ) -> Iterator[Compared | Waiting]:
        """One result for each write, in any order, round by round (as many as fit bundles sent side by side).

        `later` has what came after a write's readings. When the server is away as a whole, or denies access, the
        writes that are left wait with that error and are not tried.
        """
        away: Unavailable | None = None
        remaining = iter(writes)
        while of_round := list(islice(remaining, self._client.bundle_size * CONCURRENT_BUNDLES)):
            if away is None:
                try:
                    found = self._read(of_round)
                except (FhirServerUnavailable, FhirAccessDenied, OutOfTime) as error:
                    away = error
            if away is not None:
                yield from (Waiting(write, away, server_away=True) for write in of_round)
                continue
            for write, stored in found.items():
                yield _judge(write, stored, (later or {}).get(write, {}))

    def _read(self, writes: Sequence[ObservationWrite]) -> dict[ObservationWrite, Resource | MedTechError | None]:
        """What is stored of each: None for nothing, or the error that stands in its place. Raises Unavailable."""
        found: dict[ObservationWrite, Resource | MedTechError | None] = {}
        ids = {write: write.draft.identify(write.identity)[1] for write in writes}
        if self._lookup is ObservationLookup.IDENTIFIER:
            identifiers = {write: Identifier(SYSTEM, write.draft.identify(write.identity)[0]) for write in writes}
            kept = located(self._client, list(identifiers.values()))
            for write, identifier in identifiers.items():
                match kept[identifier]:
                    case MedTechError() as error:
                        found[write] = error
                    case str(resource_id):
                        ids[write] = resource_id
        wanted = [write for write in writes if write not in found]
        requests = [Interaction("GET", f"Observation/{ids[write]}") for write in wanted]
        for write, reply in zip(wanted, self._client.read(requests, Patience(pause=self._pause)), strict=True):
            match reply.verdict:
                case Verdict.DONE:
                    found[write] = reply.resource
                case Verdict.ABSENT:
                    found[write] = None
                case _:
                    found[write] = reply_error(self._client, reply, f"the read of Observation/{ids[write]}")
        return found


def _absent(write: ObservationWrite) -> Compared:
    """What nobody can create, as a series that is too long, is no Observation that is missing."""
    try:
        create_text(write.draft, write.identity, 0)
    except ConversionError as error:
        return Compared(write, Outcome.DIFFERENT, Difference((), error.name), None)
    return Compared(write, Outcome.ABSENT, Difference(()), None)


def _judge(write: ObservationWrite, stored: Resource | MedTechError | None, later: Later) -> Compared | Waiting:
    match stored:
        case None:
            return _absent(write)
        case Unavailable():
            return Waiting(write, stored)
        case MedTechError():
            return Compared(write, Outcome.DIFFERENT, Difference((), stored.name), None)
    try:
        differs = difference(stored, write.draft, write.identity, later)
    except Exception as error:  # noqa: BLE001 - one resource must not hold up its shard for good
        resource_id = write.draft.identify(write.identity)[1]
        differs = Difference((), UnexpectedFault.of(error, f"comparing Observation/{resource_id}").name)
    return Compared(write, Outcome.DIFFERENT if differs else Outcome.SAME, differs, stored)
