"""The one loop of optimistic writes, for Patients, Devices and Observations (DESIGN "Answers").

What is stored is read, an `Attempt` decides what is to be stored instead, and that is written on a condition: a create
with If-None-Match, an update with If-Match. Every reply is judged. Whatever may have changed or may not have been
carried out is read and decided again, up to five times; then it waits for the next flush.

    read ── decide ── before_writes ── write ── judge ─┬─ done, refused, given up: settled
      └────────────────── wait ────────────────────────┘

A server that ignores If-None-Match lets a create go over what somebody else has just written. Nothing is lost by that:
the version before is in the history. A create that did so, or that may have (its answer was not seen), is therefore
followed by a look at the history, and what the attempt then restores is a write like any other: an attempt is settled
only when a reply says that it was carried out, or a read shows that there is nothing left to write.

A create whose answer was not seen may go over it even later, when a gateway that still has it in hand lets it go. A
result names these creates (`unseen`), for whoever watches the resource from then on.
"""

import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import islice
from typing import Generic, NamedTuple, TypeVar

from medtech.errors import (
    FhirAccessDenied,
    FhirConflict,
    FhirServerUnavailable,
    MedTechError,
    OutOfTime,
    ResourceRefused,
    UnexpectedFault,
)
from medtech.persist.answers import Interaction, Reply, Resource, Verdict, has_predecessor, may_be_under_way
from medtech.persist.client import CONCURRENT_BUNDLES, OUTAGE_SECONDS, FhirClient
from medtech.persist.history import read_earlier
from medtech.persist.patience import Patience
from medtech.transform.fhir_json import dump_without_empties, parse_resource

CONFLICT_SECONDS = 0.05
"""The first wait after another writer was faster; it doubles."""


class SavedAs(StrEnum):
    """How a resource came to be as it should, in the words of the metric FhirResourceSaved (`operation`)."""

    CREATED = "Created"
    UPDATED = "Updated"
    NO_OPERATION = "NoOperation"


class Attempt(ABC):
    """One resource that is to be written, unless what is stored will do.

    `check_history`: an earlier flush may have created it, unseen, over another writer's version. Hashable by identity.
    """

    def __init__(self, resource_type: str, resource_id: str, *, check_history: bool = False) -> None:
        self.resource_type = resource_type
        self.resource_id = resource_id
        self.check_history = check_history

    @property
    def url(self) -> str:
        """Relative to the base, `Type/id`: how messages and logs name it too."""
        return f"{self.resource_type}/{self.resource_id}"

    @abstractmethod
    def decide(self, current: Resource | None, earlier: Sequence[Resource]) -> Resource | bytes | None:
        """What is to be stored, None when `current` will do (None: nothing is stored).

        A resource is sent without its empty elements, JSON text as it is.

        `earlier` are the versions besides `current`, newest first, back to the creation or the last deletion; empty
        unless the history had to be read. Called again after each read. What it raises settles the attempt as Failed.
        """

    def doubts(self, current: Resource) -> bool:
        """Whether the history is to be read before deciding on `current`, whoever wrote it."""
        return False


class Stored(NamedTuple):
    """It is as it should be. `resource` is what is stored now, None when nothing is, nor is to be; None too if it was
    decided on as text.

    `unseen` are the creates that were sent on the way and not answered: each may still be carried out.
    """

    saved_as: SavedAs
    resource: Resource | None
    unseen: tuple[Resource, ...] = ()


class Failed(NamedTuple):
    """It is not known to be as it should be: tried again at the next flush if the error is an Unavailable, else never.

    `server_away`: the error is not about this resource; nothing more can be written by anyone. `unseen` as in Stored.
    """

    error: MedTechError
    server_away: bool = False
    unseen: tuple[Resource, ...] = ()


A = TypeVar("A", bound=Attempt)


def settle(
    client: FhirClient,
    attempts: Iterable[A],
    before_writes: Callable[[Sequence[A]], object],
    *,
    locate: Callable[[Sequence[A]], Mapping[A, MedTechError]] = lambda attempts: {},
    pause: Callable[[float], object] = time.sleep,
) -> Iterator[tuple[A, Stored | Failed]]:
    """A result for each attempt, in any order, round by round (as many as fit bundles sent side by side).

    Two attempts at one resource conflict, and the later one is decided again. `before_writes` is called in this thread
    each time before bundles that write are sent, with the attempts among them that create (there may be none): the
    place to see whether a lease still holds. What it raises ends the iteration, and nothing is sent after that.
    `locate` is called once for each round; it may set another `resource_id`, and returns an error for what cannot be
    attempted. When the server is away as a whole or denies access, or the deadline is over, the attempts that are left
    get that error and are not tried.
    """
    away: MedTechError | None = None
    remaining = iter(attempts)
    while of_round := list(islice(remaining, client.bundle_size * CONCURRENT_BUNDLES)):
        if away is not None:
            yield from ((attempt, Failed(away, server_away=True)) for attempt in of_round)
            continue
        settling = _Round(client, of_round, before_writes, pause)
        away = settling.run(locate)
        for attempt, result in settling.results.items():
            unseen = settling.unseen.get(attempt)
            yield attempt, result._replace(unseen=tuple(unseen)) if unseen else result


def reply_error(client: FhirClient, reply: Reply, what: str) -> MedTechError:
    """The error for a reply that did not settle `what` (`Type/id`, or words for a search)."""
    if reply.verdict is Verdict.REFUSED:
        return ResourceRefused(
            f"The FHIR server refused {what} with {reply.status}. Its reason is kept with the dead letter; fix the "
            "mapping or the server's rules, then replay.",
            outcome=reply.outcome,
        )
    if reply.verdict in (Verdict.CONFLICT, Verdict.DONE):
        return FhirConflict(
            f"Others kept changing {what}; it is tried again at the next flush. If this goes on, look for another "
            "client that writes the same resource all the time."
        )
    return client.unavailable(reply)


class _Progress(Generic[A]):
    """How far an attempt has come: the version it was decided on, and what has been written so far."""

    __slots__ = ("attempt", "check_history", "saved_as", "version")

    def __init__(self, attempt: A) -> None:
        self.attempt = attempt
        self.check_history = attempt.check_history
        self.version: str | None = None
        self.saved_as: SavedAs | None = None


class _Read(NamedTuple, Generic[A]):
    progress: _Progress[A]
    current: Resource | None
    earlier: list[Resource]

    @property
    def wants_history(self) -> bool:
        if self.current is None:
            return False
        return self.progress.check_history or self.progress.attempt.doubts(self.current)


class _Write(NamedTuple, Generic[A]):
    progress: _Progress[A]
    resource: Resource | None
    request: Interaction


class _Round(Generic[A]):
    """The attempts whose bundles are sent side by side, until each has a result."""

    def __init__(
        self,
        client: FhirClient,
        attempts: Sequence[A],
        before_writes: Callable[[Sequence[A]], object],
        pause: Callable[[float], object],
    ) -> None:
        self.results: dict[A, Stored | Failed] = {}
        self.unseen: defaultdict[A, list[Resource]] = defaultdict(list)
        self._client = client
        self._attempts = attempts
        self._before_writes = before_writes
        self._reading, self._writing = Patience(pause=pause), Patience(pause=pause)

    def run(self, locate: Callable[[Sequence[A]], Mapping[A, MedTechError]]) -> MedTechError | None:
        """Fills `results`; returns the error of a server that is away as a whole, or of a deadline that is over."""
        try:
            self.results.update({attempt: Failed(error) for attempt, error in locate(self._attempts).items()})
            return self._settle([_Progress(attempt) for attempt in self._attempts if attempt not in self.results])
        except (FhirServerUnavailable, FhirAccessDenied, OutOfTime) as error:
            for attempt in self._attempts:
                self.results.setdefault(attempt, Failed(error, server_away=True))
            return error

    def _settle(self, unsettled: list[_Progress[A]]) -> MedTechError | None:
        while writes := self._decide(self._read(unsettled)):
            self._before_writes([write.progress.attempt for write in writes if write.request.if_none_match])
            replies = self._exchange(writes)
            errors, shortest_seconds, asked_seconds = self._judge(zip(writes, replies, strict=True))
            if errors and not self._writing.waits(shortest_seconds, asked_seconds):
                # A single resource that the server cannot take is not an outage.
                away = all(reply.away for reply in replies)
                self.results.update({each.attempt: Failed(error, away) for each, error in errors.items()})
                return next(iter(errors.values())) if away else None
            unsettled = list(errors)
        return None

    def _exchange(self, writes: Sequence[_Write[A]]) -> list[Reply]:
        try:
            replies = self._client.exchange([write.request for write in writes])
        except (FhirServerUnavailable, FhirAccessDenied, OutOfTime):
            # Raised for one bundle; those beside it may have been sent.
            self._remember_unseen(writes)
            raise
        self._remember_unseen(write for write, reply in zip(writes, replies, strict=True) if may_be_under_way(reply))
        return replies

    def _remember_unseen(self, writes: Iterable[_Write[A]]) -> None:
        for progress, _, request in writes:
            if request.if_none_match and request.body is not None:
                self.unseen[progress.attempt].append(parse_resource(request.body))

    def _read(self, unsettled: Sequence[_Progress[A]]) -> list[_Read[A]]:
        """What is stored, with its history where that is wanted; what cannot be read is settled."""
        replies = self._client.read([Interaction("GET", each.attempt.url) for each in unsettled], self._reading)
        found: list[_Read[A]] = []
        for progress, reply in zip(unsettled, replies, strict=True):
            verdict = reply.verdict
            if verdict not in (Verdict.DONE, Verdict.ABSENT):
                self._fail(progress, reply_error(self._client, reply, progress.attempt.url))
                continue
            progress.version = reply.version
            found.append(_Read(progress, reply.resource if verdict is Verdict.DONE else None, []))
        self._read_histories([each for each in found if each.wants_history])
        return [each for each in found if each.progress.attempt not in self.results]

    def _read_histories(self, wanted: Sequence[_Read[A]]) -> None:
        requests = [Interaction("GET", f"{each.progress.attempt.url}/_history") for each in wanted]
        for each, reply in zip(wanted, self._client.read(requests, self._reading), strict=True):
            if reply.verdict is not Verdict.DONE:
                what = f"the history of {each.progress.attempt.url}"
                self._fail(each.progress, reply_error(self._client, reply, what))
                continue
            try:
                each.earlier.extend(read_earlier(self._client, reply, each.progress.version))
            except FhirServerUnavailable as error:
                self._fail(each.progress, error)

    def _decide(self, known: Iterable[_Read[A]]) -> list[_Write[A]]:
        """The writes that say something new; the other attempts are settled."""
        writes: list[_Write[A]] = []
        for progress, current, earlier in known:
            attempt = progress.attempt
            try:
                decided = attempt.decide(current, earlier)
                resource, body = (None, decided) if isinstance(decided, bytes) else _as_sent(decided)
            except MedTechError as error:
                self._fail(progress, error)
                continue
            except Exception as error:  # noqa: BLE001 - one resource must not hold up its shard for good
                self._fail(progress, UnexpectedFault.of(error, f"deciding on {attempt.url}"))
                continue
            if body is None:
                self.results[attempt] = Stored(progress.saved_as or SavedAs.NO_OPERATION, current)
                continue
            creates = current is None
            if not creates and progress.version is None:
                # Of this resource alone: it may be older than the server's versions are.
                self._fail(progress, _without_a_version(attempt.url))
                continue
            version = None if creates else progress.version
            request = Interaction("PUT", attempt.url, body, version, if_none_match=creates)
            writes.append(_Write(progress, resource, request))
        return writes

    def _judge(
        self, answered: Iterable[tuple[_Write[A], Reply]]
    ) -> tuple[dict[_Progress[A], MedTechError], float, float]:
        """(what is still unsettled and why, how long to wait at least, how long the server asked for), in seconds."""
        errors: dict[_Progress[A], MedTechError] = {}
        denied: Reply | None = None
        shortest_seconds = asked_seconds = 0.0
        for (progress, resource, request), reply in answered:
            creates = request.if_none_match
            saved_as = progress.saved_as or (SavedAs.CREATED if creates else SavedAs.UPDATED)
            match reply.verdict:
                case Verdict.DONE if not has_predecessor(reply):
                    self.results[progress.attempt] = Stored(saved_as, resource)
                    continue
                case Verdict.REFUSED:
                    self._fail(progress, reply_error(self._client, reply, progress.attempt.url))
                    continue
                case Verdict.DENIED:
                    denied = reply
                    continue
                case Verdict.DONE:
                    progress.saved_as = saved_as
                    progress.check_history = True
                case Verdict.CONFLICT:
                    shortest_seconds = max(shortest_seconds, CONFLICT_SECONDS)
                case _:
                    # Carried out or not: if the next read finds it there, it was this write that did it.
                    progress.saved_as = saved_as
                    progress.check_history = progress.check_history or creates
                    shortest_seconds = max(shortest_seconds, OUTAGE_SECONDS)
                    asked_seconds = max(asked_seconds, reply.retry_after_seconds or 0.0)
            errors[progress] = reply_error(self._client, reply, progress.attempt.url)
        if denied is not None:
            raise self._client.unavailable(denied)
        return errors, shortest_seconds, asked_seconds

    def _fail(self, progress: _Progress[A], error: MedTechError) -> None:
        self.results[progress.attempt] = Failed(error)


def _without_a_version(url: str) -> FhirAccessDenied:
    return FhirAccessDenied(
        f"The FHIR server returned {url} without a version, so it cannot be changed safely. Turn versioning on in the "
        "server; until then its measurements stay in the buffer."
    )


def _as_sent(resource: Resource | None) -> tuple[Resource | None, bytes | None]:
    return resource, None if resource is None else dump_without_empties(resource)
