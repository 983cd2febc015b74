"""Drafts become stored Observations: read what is there, merge, write, and settle every answer (DESIGN "The flush").

For each write there is one outcome: it is written (or says nothing new), it will never be taken (dead letter), or it
has to wait for the next flush (Unavailable: its rows stay).
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Any

from medtech.dotnet import ticks
from medtech.errors import (
    FhirAccessDenied,
    FhirConflict,
    FhirServerUnavailable,
    MedTechError,
    MultipleResourceFound,
    ResourceRefused,
    UnexpectedFault,
)
from medtech.model import ResourceIdentity
from medtech.persist.answers import Interaction, Reply, Resource, Verdict, has_predecessor
from medtech.persist.client import CONCURRENT_BUNDLES, OUTAGE_SECONDS, FhirClient
from medtech.persist.history import absorb, read_earlier
from medtech.persist.identity.resolve import CONFLICT_SECONDS
from medtech.persist.patience import Patience
from medtech.persist.references import Identifier
from medtech.settings import ObservationLookup
from medtech.transform.fhir_json import dump_resource
from medtech.transform.identifier import SYSTEM
from medtech.transform.merge import merge
from medtech.transform.observation import ObservationDraft, create

IDENTIFIERS_PER_SEARCH = 50
_READ = (Verdict.DONE, Verdict.ABSENT)
_EMPTIES = (b'""', b"{}", b"[]")


class Operation(StrEnum):
    """What became of an Observation, in the words of the metric FhirResourceSaved."""

    CREATED = "Created"
    UPDATED = "Updated"
    NO_OPERATION = "NoOperation"


@dataclass(frozen=True, slots=True, eq=False)
class ObservationWrite:
    """One Observation of a flush: no two of a flush have the same id (drafts that meet are folded before).

    `check_history`: a row behind it was marked `creates_sent`, so an earlier flush may have created this Observation
    without seeing the answer, over another writer's. Hashable by identity, so that rows can be found by it.
    """

    draft: ObservationDraft
    identity: ResourceIdentity
    check_history: bool = False
    relabel_unit: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """`operation` when it is settled; else `error`: an Unavailable means that its rows stay, any other a dead letter.

    `other_encounter`: the stored Observation keeps another encounter than the measurements name. `reference_lost`: the
    server says that a Patient, Device or Encounter is not there, so that the identity in the cache no longer holds.
    `server_away`: the error is not about this Observation, it ends the flush for all of them.
    """

    write: ObservationWrite
    operation: Operation | None = None
    error: MedTechError | None = None
    other_encounter: bool = False
    reference_lost: bool = False
    server_away: bool = False


class _Attempt:
    """A write on its way: what is stored, what was tried, why it is not settled."""

    __slots__ = ("check_history", "error", "id", "identifier", "operation", "other_encounter", "version", "write")

    def __init__(self, write: ObservationWrite) -> None:
        self.write = write
        self.identifier, self.id = write.draft.identify(write.identity)
        self.check_history = write.check_history
        self.version: str | None = None
        self.operation: Operation | None = None
        self.error: MedTechError | None = None
        self.other_encounter = False

    def settled(
        self, operation: Operation | None = None, error: MedTechError | None = None, *, server_away: bool = False
    ) -> Outcome:
        lost = self._reference_lost(error)
        return Outcome(self.write, operation, error, self.other_encounter, lost, server_away)

    def _reference_lost(self, error: MedTechError | None) -> bool:
        if not isinstance(error, ResourceRefused) or not error.outcome:
            return False
        identity = self.write.identity
        references = [f"Device/{identity.device}", f"Patient/{identity.patient}"]
        if identity.encounter is not None:
            references.append(f"Encounter/{identity.encounter}")
        return any(reference in error.outcome for reference in references)


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
        self._portion = client.bundle_size * CONCURRENT_BUNDLES

    def write(
        self, writes: Iterable[ObservationWrite], before_writes: Callable[[Sequence[ObservationWrite]], object]
    ) -> Iterator[Outcome]:
        """One outcome for each write, in any order, portion by portion (so many bundles as are sent side by side).

        `before_writes` is called, in this thread, before bundles that write are sent, with the writes among them that
        create (there may be none): the place to mark their rows and to see whether the lease still holds. What it
        raises ends the iteration; nothing is sent after that. When the server is away as a whole, or denies access,
        the writes that are left get that error as their outcome and are not tried.
        """
        away: MedTechError | None = None
        remaining = iter(writes)
        while portion := [_Attempt(write) for write in islice(remaining, self._portion)]:
            if away is None:
                outcomes: list[Outcome] = []
                away = self._write_portion(portion, before_writes, outcomes)
                yield from outcomes
            else:
                yield from (attempt.settled(error=away, server_away=True) for attempt in portion)

    def _write_portion(
        self,
        portion: list[_Attempt],
        before_writes: Callable[[Sequence[ObservationWrite]], object],
        outcomes: list[Outcome],
    ) -> MedTechError | None:
        """Adds an outcome for each attempt; gives the error of a server that is away as a whole."""
        open_attempts = portion
        patience, reading = Patience(pause=self._pause), Patience(pause=self._pause)
        while open_attempts:
            try:
                requests = self._merge(self._read(open_attempts, reading, outcomes), outcomes)
            except (FhirServerUnavailable, FhirAccessDenied) as error:
                _leave(portion, outcomes, error)
                return error
            if not requests:
                break
            before_writes([attempt.write for attempt, request in requests if request.if_none_match])
            try:
                replies = self._client.exchange([request for _, request in requests])
                answered = [(attempt, reply) for (attempt, _), reply in zip(requests, replies, strict=True)]
                open_attempts, shortest, asked = self._judge(answered, outcomes)
            except (FhirServerUnavailable, FhirAccessDenied) as error:
                _leave(portion, outcomes, error)
                return error
            if open_attempts and not patience.waits(shortest, asked):
                # One Observation that a server cannot take is no outage.
                away = all(reply.away for reply in replies)
                outcomes.extend(each.settled(error=each.error, server_away=away) for each in open_attempts)
                return open_attempts[0].error if away else None
        return None

    def _read(
        self, attempts: Sequence[_Attempt], patience: Patience, outcomes: list[Outcome]
    ) -> list[tuple[_Attempt, Resource | None, list[Resource]]]:
        """What is stored of each (None: nothing), and its overwritten versions where the history was asked for."""
        if self._lookup is ObservationLookup.IDENTIFIER:
            attempts = self._find(attempts, outcomes)
        doubtful = [attempt for attempt in attempts if attempt.check_history]
        requests = [Interaction("GET", f"Observation/{attempt.id}") for attempt in attempts]
        requests += [Interaction("GET", f"Observation/{attempt.id}/_history") for attempt in doubtful]
        replies = self._client.read(requests, patience)
        histories = dict(zip(doubtful, replies[len(attempts) :], strict=True))
        found: list[tuple[_Attempt, Resource | None, list[Resource]]] = []
        for attempt, reply in zip(attempts, replies[: len(attempts)], strict=True):
            history = histories.get(attempt, reply)
            unread = next((each for each in (reply, history) if each.verdict not in _READ), None)
            if unread:
                outcomes.append(attempt.settled(error=self._error(attempt, unread)))
                continue
            attempt.version = reply.version
            if reply.verdict is Verdict.ABSENT:
                found.append((attempt, None, []))
                continue
            try:
                earlier = [] if history is reply else read_earlier(self._client, history, reply.version)
            except FhirServerUnavailable as error:
                outcomes.append(attempt.settled(error=error))
                continue
            found.append((attempt, reply.resource, earlier))
        return found

    def _find(self, attempts: Sequence[_Attempt], outcomes: list[Outcome]) -> list[_Attempt]:
        """Takes over the ids under which a store keeps these Observations; what a search misses keeps its own."""
        identifiers = {attempt: Identifier(SYSTEM, attempt.identifier) for attempt in attempts}
        parts = [attempts[at : at + IDENTIFIERS_PER_SEARCH] for at in range(0, len(attempts), IDENTIFIERS_PER_SEARCH)]
        searches = [
            {"identifier": ",".join(identifiers[each].search_value() for each in part), "_count": "100"}
            for part in parts
        ]
        by_value: dict[str, dict[str, Resource]] = {}
        for resource in self._client.search("Observation", searches):
            for value in {each.get("value") for each in resource.get("identifier") or []}:
                by_value.setdefault(value, {})[resource["id"]] = resource
        found: list[_Attempt] = []
        for attempt, identifier in identifiers.items():
            ids = [key for key, each in by_value.get(identifier.value, {}).items() if identifier.is_on(each)]
            if len(ids) > 1:
                names = ", ".join(f"Observation/{each}" for each in ids[:5])
                error = MultipleResourceFound(
                    f"{len(ids)} Observations have one identifier: {names}. Leave it on one of them, then replay."
                )
                outcomes.append(attempt.settled(error=error))
                continue
            attempt.id = ids[0] if ids else attempt.id
            found.append(attempt)
        return found

    def _merge(
        self, stored: Iterable[tuple[_Attempt, Resource | None, list[Resource]]], outcomes: list[Outcome]
    ) -> list[tuple[_Attempt, Interaction]]:
        """The writes that say something new; the others are settled."""
        requests: list[tuple[_Attempt, Interaction]] = []
        for attempt, current, earlier in stored:
            try:
                resource = self._merged(attempt, current, earlier)
            except MedTechError as error:
                outcomes.append(attempt.settled(error=error))
                continue
            except Exception as error:  # noqa: BLE001 - one Observation must not hold up its shard for good
                fault = UnexpectedFault.of(error, f"merging into Observation/{attempt.id}")
                outcomes.append(attempt.settled(error=fault))
                continue
            if resource is None:
                outcomes.append(attempt.settled(attempt.operation or Operation.NO_OPERATION))
                continue
            url = f"Observation/{attempt.id}"
            if current is not None and attempt.version is None:
                raise FhirAccessDenied(
                    f"The FHIR server gave {url} without a version, so it cannot be changed safely. Turn versioning on."
                )
            body = _as_sent(resource)
            creates = current is None
            version = None if creates else attempt.version
            requests.append((attempt, Interaction("PUT", url, body, version, if_none_match=creates)))
        return requests

    def _merged(self, attempt: _Attempt, current: Resource | None, earlier: list[Resource]) -> Resource | None:
        """The Observation to be written, None when the stored one says the same already."""
        write, issued = attempt.write, self._now()
        if current is None:
            return create(write.draft, write.identity, issued) | {"id": attempt.id}
        restored = absorb(current, earlier)
        merged = merge(restored, write.draft, write.identity, issued, relabel_unit=write.relabel_unit)
        attempt.other_encounter = merged.other_encounter
        if merged.changed:
            return merged.resource
        if restored is current:
            return None
        status = "corrected" if current.get("status") == "corrected" else "amended"
        return {**restored, "status": status, "issued": ticks.format_iso(issued)}

    def _judge(
        self, replies: Iterable[tuple[_Attempt, Reply]], outcomes: list[Outcome]
    ) -> tuple[list[_Attempt], float, float]:
        """(attempts that are still open, how long to wait at least, what the server asked for), the others settled."""
        open_attempts: list[_Attempt] = []
        shortest = asked = 0.0
        for attempt, reply in replies:
            creates = reply.interaction.if_none_match
            intended = Operation.CREATED if creates else Operation.UPDATED
            match reply.verdict:
                case Verdict.DONE if not has_predecessor(reply):
                    outcomes.append(attempt.settled(attempt.operation or intended))
                    continue
                case Verdict.REFUSED:
                    outcomes.append(attempt.settled(error=self._error(attempt, reply)))
                    continue
                case Verdict.DONE:
                    attempt.operation = intended
                    attempt.check_history = True
                    attempt.error = self._error(attempt, reply)
                case Verdict.CONFLICT:
                    attempt.error = self._error(attempt, reply)
                    shortest = max(shortest, CONFLICT_SECONDS)
                case Verdict.DENIED:
                    raise self._client.unavailable(reply)
                case _:
                    # Carried out or not: if the next look finds it there, it was this write that did it.
                    attempt.operation = attempt.operation or intended
                    attempt.check_history = attempt.check_history or creates
                    attempt.error = self._error(attempt, reply)
                    shortest = max(shortest, OUTAGE_SECONDS)
                    asked = max(asked, reply.retry_after_seconds or 0.0)
            open_attempts.append(attempt)
        return open_attempts, shortest, asked

    def _error(self, attempt: _Attempt, reply: Reply) -> MedTechError:
        where = f"Observation/{attempt.id}"
        if reply.verdict is Verdict.REFUSED:
            return ResourceRefused(
                f"The FHIR server refused {where} with {reply.status}. Its reason is kept with the dead letter; mend "
                "the mapping or the server's rules, then replay.",
                outcome=reply.outcome,
            )
        if reply.verdict in (Verdict.CONFLICT, Verdict.DONE):
            return FhirConflict(f"Others kept changing {where}; it is tried again at the next flush.")
        return self._client.unavailable(reply)


def _leave(portion: Sequence[_Attempt], outcomes: list[Outcome], error: MedTechError) -> None:
    """What has no outcome yet waits for the next flush."""
    settled = {outcome.write for outcome in outcomes}
    outcomes.extend(
        attempt.settled(error=error, server_away=True) for attempt in portion if attempt.write not in settled
    )


def _as_sent(resource: Resource) -> bytes:
    """As FHIR has it: without empty strings and objects.

    Published mappings say `"unit": ""`, the service's conversion keeps it, and strict servers refuse the Observation.
    """
    body = dump_resource(resource)
    # Most have none, and are not walked.
    return dump_resource(_without_empties(resource)) if any(empty in body for empty in _EMPTIES) else body


def _without_empties(element: Any) -> Any:
    """In a list only objects go: elsewhere the place of an element counts."""
    if isinstance(element, dict):
        kept = {name: _without_empties(each) for name, each in element.items()}
        return {name: each for name, each in kept.items() if each not in ("", {}, [])}
    if isinstance(element, list):
        return [each for each in map(_without_empties, element) if each != {}]
    return element
