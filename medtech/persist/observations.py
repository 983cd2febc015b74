"""Drafts become stored Observations: what is stored is read and merged with them, and the result is written.

For each write there is one outcome: it is saved, it will never be taken (dead letter), or it waits for the next flush.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from medtech.dotnet import ticks
from medtech.errors import MedTechError, ResourceRefused, Unavailable
from medtech.model import ResourceIdentity
from medtech.persist.answers import Resource
from medtech.persist.client import FhirClient
from medtech.persist.history import absorb
from medtech.persist.late import amended, take_back
from medtech.persist.references import Identifier, match_exactly
from medtech.persist.settle import Attempt, Failed, SavedAs, Stored, settle
from medtech.persist.watch import Watch
from medtech.settings import ObservationLookup
from medtech.transform.effective import read_moment
from medtech.transform.fhir_json import parse_resource
from medtech.transform.identifier import SYSTEM
from medtech.transform.merge import merge
from medtech.transform.observation import ObservationDraft, create_text

IDENTIFIERS_PER_SEARCH = 50


@dataclass(frozen=True, slots=True, eq=False)
class ObservationWrite:
    """One Observation of a flush: no two of a flush have the same id (drafts that meet are folded before).

    `check_history`: one of its rows was marked `creates_sent`, so an earlier flush may have created this Observation
    without seeing the answer, over another writer's. `watch` says how these creates are recognised, and others of this
    Observation that are watched. Hashable by identity, so that its rows can be looked up by it.
    """

    draft: ObservationDraft
    identity: ResourceIdentity
    check_history: bool = False
    relabel_unit: bool = False
    watch: Watch | None = None


@dataclass(frozen=True, slots=True)
class Saved:
    """The Observation is stored. `other_encounter`: it keeps another encounter than the measurements name.

    `watch`, of this and the other outcomes: a create of it may still be carried out. It is to be kept before the rows
    go that hold the measurements.
    """

    write: ObservationWrite
    operation: SavedAs
    other_encounter: bool = False
    watch: Watch | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """It will never be taken as it is: a dead letter.

    `reference_lost`: the server says that a Patient, Device or Encounter is not there, so that the identity, if it is
    from the cache, may no longer hold.
    """

    write: ObservationWrite
    error: MedTechError
    reference_lost: bool = False
    watch: Watch | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """It is not known to be stored: its rows stay for the next flush.

    `server_away`: the error is not about this Observation, it ends the flush for all of them.
    """

    write: ObservationWrite
    error: Unavailable
    server_away: bool = False
    watch: Watch | None = None


Outcome = Saved | Refused | Waiting


class ObservationWriter:
    """Writes the Observations of a flush; one per process, `write` may run in several threads at once."""

    def __init__(
        self,
        client: FhirClient,
        *,
        lookup: ObservationLookup = ObservationLookup.ID,
        now: Callable[[], int] = ticks.now,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self._client = client
        self._lookup = lookup
        self._now = now
        self._pause = pause

    def now(self) -> int:
        """The clock that `issued` is taken from, in ticks."""
        return self._now()

    def write(
        self, writes: Iterable[ObservationWrite], before_writes: Callable[[Sequence[ObservationWrite]], object]
    ) -> Iterator[Outcome]:
        """One outcome for each write, in any order, round by round (as many as fit bundles sent side by side).

        `before_writes` is called in this thread each time before bundles that write are sent, with the writes among
        them that create (there may be none): the place to mark their rows and to see whether the lease still holds.
        What it raises ends the iteration; nothing is sent after that. When the server is away as a whole, or denies
        access, the writes that are left get that error as their outcome and are not tried.
        """
        results = settle(
            self._client,
            (_ObservationAttempt(write, self._now) for write in writes),
            lambda creates: before_writes([attempt.write for attempt in creates]),
            locate=self._locate if self._lookup is ObservationLookup.IDENTIFIER else lambda attempts: {},
            pause=self._pause,
        )
        return (attempt.outcome(result) for attempt, result in results)

    def _locate(self, attempts: Sequence["_ObservationAttempt"]) -> Mapping["_ObservationAttempt", MedTechError]:
        """Takes over the ids under which a store keeps these Observations; what a search misses keeps its own."""
        found = located(self._client, [attempt.identifier for attempt in attempts])
        several: dict[_ObservationAttempt, MedTechError] = {}
        for attempt in attempts:
            match found[attempt.identifier]:
                case MedTechError() as error:
                    several[attempt] = error
                case str(resource_id):
                    attempt.resource_id = resource_id
        return several


def located(client: FhirClient, identifiers: Sequence[Identifier]) -> dict[Identifier, str | MedTechError | None]:
    """The id of the Observation that has each identifier; None for none. Raises Unavailable."""
    parts = [identifiers[at : at + IDENTIFIERS_PER_SEARCH] for at in range(0, len(identifiers), IDENTIFIERS_PER_SEARCH)]
    searches = [{"identifier": ",".join(each.search_value() for each in part), "_count": "100"} for part in parts]
    found = match_exactly(client.search("Observation", searches), identifiers)
    return {each: result["id"] if isinstance(result, dict) else result for each, result in found.items()}


class _ObservationAttempt(Attempt):
    """A write on its way. `now` gives `issued`, in ticks."""

    def __init__(self, write: ObservationWrite, now: Callable[[], int]) -> None:
        _, resource_id = write.draft.identify(write.identity)
        super().__init__("Observation", resource_id, check_history=write.check_history or write.watch is not None)
        self.write = write
        self._now = now
        self._other_encounter = False

    @property
    def identifier(self) -> Identifier:
        return Identifier(SYSTEM, self.write.draft.identify(self.write.identity)[0])

    def decide(self, current: Resource | None, earlier: Sequence[Resource]) -> Resource | bytes | None:
        write, issued = self.write, self._now()
        if current is None:
            created = create_text(write.draft, write.identity, issued, self.resource_id)
            return parse_resource(created) if write.draft.pattern.has_empties else created
        restored = absorb(take_back(current, earlier, write.watch) if write.watch else current, earlier)
        merged = merge(restored, write.draft, write.identity, issued, relabel_unit=write.relabel_unit)
        self._other_encounter = merged.other_encounter
        if merged.changed:
            return merged.resource
        if restored is current:
            return None
        return amended(restored, issued)

    def outcome(self, result: Stored | Failed) -> Outcome:
        watch = self._watch(result.unseen)
        if isinstance(result, Failed) and isinstance(result.error, Unavailable):
            # Its rows stay, and with them what they say about earlier creates.
            return Waiting(self.write, result.error, result.server_away, watch)
        if self.write.check_history and self.write.watch:
            watch = self.write.watch.joined(watch)
        if isinstance(result, Stored):
            return Saved(self.write, result.saved_as, self._other_encounter, watch)
        return Refused(self.write, result.error, self._reference_lost(result.error), watch)

    def _watch(self, unseen: Iterable[Resource]) -> Watch | None:
        issued = [read_moment(create["issued"], self.url)[0] for create in unseen]
        return Watch("Observation", self.resource_id, (min(issued), max(issued))) if issued else None

    def _reference_lost(self, error: MedTechError) -> bool:
        if not isinstance(error, ResourceRefused) or not error.outcome:
            return False
        identity = self.write.identity
        references = [f"Device/{identity.device}", f"Patient/{identity.patient}"]
        if identity.encounter is not None:
            references.append(f"Encounter/{identity.encounter}")
        return any(reference in error.outcome for reference in references)
