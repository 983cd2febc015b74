"""The mapping in force, one for all instances.

Instances come and go and each function scales by itself, so the last good mapping is kept in storage, not in memory:
table `mappings` has each accepted text under its hash, and per kind one row with the hash in force and, if a newer text
was refused, its hash and its issues. Every instance offers the text of its source and works by that row.

Instances may offer different texts: during a rolling deployment, in slots, after a rollback. The row has the time of
the offer in force (`source` says what that is), and only a newer offer displaces it, or `accept`.

| what an instance offers                        | what becomes of it                                               |
|------------------------------------------------|------------------------------------------------------------------|
| the text in force                              | nothing; the row takes a newer time of it                        |
| a good text, newer than the one in force       | in force                                                         |
| a text as old as the one in force, or older    | held back: told once in the log, and in the state, until then    |
| a broken text, newer than the one in force     | refused; of two the newer one's issues stay                      |
"""

import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from medtech.dotnet import ticks
from medtech.errors import MappingInvalid, MappingIssue, StorageUnavailable, Unavailable
from medtech.mapping.source import SETTINGS, MappingKind, MappingSource, Offer
from medtech.storage.connection import Storage
from medtech.storage.payload import ROW_BYTES, Codec, join, split
from medtech.storage.table import Entity, Operation, OperationFailed, quoted

TABLE = "mappings"
LOOK_SECONDS = 30.0
"""How old an instance's knowledge of the row and the source may be."""

Mapping = TypeVar("Mapping")

_IN_FORCE = "in-force"
_STORED_ISSUES = 500
_CODEC = Codec(max_bytes=32 * 1024 * 1024)
_ACCEPT_ATTEMPTS = 5
"""Another instance writes the row once per deployment; five in a row are a fault of something else."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MappingState:
    """What health and /api/validate report of a mapping.

    `in_force` is the SHA-256 of the text in force, `since` the time it came into force (ISO 8601); None if none was
    ever good. `issues` are the faults of a newer text that was refused; `held_back` says that this deployment's text is
    an older one, and what to do about it; `unavailable` says why the store or the source cannot be read.
    """

    kind: MappingKind
    source: str
    in_force: str | None
    since: str | None
    issues: list[MappingIssue]
    held_back: str | None
    unavailable: str | None


class Current(NamedTuple, Generic[Mapping]):
    """The mapping in force, None if there is none, or none that this process knows; `storage_away` says why the table
    could not be read at the last look.
    """

    mapping: Mapping | None
    state: MappingState
    storage_away: str | None


class Accepted(NamedTuple):
    """The hashes of the text that was put in force and of the one that was in force before, None if none was."""

    text: str
    before: str | None


class MappingStore(Generic[Mapping]):
    """The mapping of one kind: read from a file of the app or from a blob, loaded, and kept as long as it is good."""

    def __init__(
        self,
        kind: MappingKind,
        source: str,
        loader: Callable[[str], Mapping],
        storage: Storage,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`loader` compiles a text or raises MappingInvalid. `source` is the URL of a blob, or a path relative to the
        folder of the app.
        """
        self._kind = kind
        self._source = MappingSource(kind, source, storage)
        self._loader = loader
        self._table = storage.table(TABLE)
        self._monotonic = monotonic
        self._looking = threading.Lock()
        self._look_again_at = float("-inf")
        self._row: Entity | None = None
        self._compiled: Mapping | None = None
        self._compiled_hash: str | None = None
        self._unavailable: str | None = None
        self._storage_away: str | None = None
        self._held_back: str | None = None
        self._told: str | None = None
        self._refused: tuple[str, MappingInvalid] | None = None
        self._own_refusal = ""
        self._first_seen = ("", "")
        self._read_hash: str | None = None
        self._displaced_hash: str | None = None

    def in_force(self) -> Mapping | None:
        """The mapping that every instance works by; None if none was ever good.

        Raises Unavailable if that cannot be known: storage or the source is away and this process has no mapping yet.
        """
        if self._monotonic() < self._look_again_at:
            return self._compiled
        with self._looking:
            if self._monotonic() >= self._look_again_at:
                try:
                    self._unavailable = None
                    self._look()
                except Unavailable as error:
                    self._unavailable = error.message
                    if self._compiled is None:
                        raise
                self._look_again_at = self._monotonic() + LOOK_SECONDS
            return self._compiled

    def stored(self) -> Mapping | None:
        """The mapping in force, None if none was ever good, without offering this deployment's: for who only looks.

        Raises Unavailable.
        """
        with self._looking:
            row = self._table.get(self._kind, _IN_FORCE)
            if row is None or not row["in_force"]:
                return None
            self._take(row["in_force"])
            return self._compiled

    def stored_text(self) -> str | None:
        """The text of the mapping in force, None if none was ever good; nothing is offered or written.

        Raises Unavailable.
        """
        with self._looking:
            row = self._table.get(self._kind, _IN_FORCE)
            return self._text(row["in_force"]) if row is not None and row["in_force"] else None

    def inspect(self) -> MappingState:
        """The state that the next look would find, without offering this deployment's text and so without a write.

        `issues` are also those of this deployment's text, if the next look would refuse it. With nothing in force and
        neither issues nor `unavailable`, the text is good and comes into force at the next look.

        Raises Unavailable if the table cannot be read, or this version cannot load what is in force.
        """
        with self._looking:
            row = self._row = self._table.get(self._kind, _IN_FORCE)
            issues = _stored_issues(row or {})
            held_back = unavailable = None
            try:
                offer = self._source.read()
                if row is None or row["in_force"] != offer.hash:
                    offered = self._offered_at(offer)
                    if row is not None and row["in_force"] and not self._is_newer(row, offered):
                        held_back = self._why_held_back(row, offer.hash, offered)
                    else:
                        self._load(offer)
            except MappingInvalid as invalid:
                issues = invalid.issues
            except Unavailable as error:
                unavailable = error.message
            if row is not None and row["in_force"]:
                self._take(row["in_force"])
            return self._state(row or {}, issues, held_back, unavailable)

    def current(self, storage_away: str | None = None) -> Current[Mapping]:
        """The mapping in force and its state, from one look at most.

        `storage_away` is that of another store of the same storage, looked at just before: waiting for storage once is
        enough, so this one then reports what the process knows.
        """
        unavailable = storage_away
        if storage_away is None:
            try:
                self.in_force()
            except Unavailable as error:
                unavailable = error.message
        row = self._row or {}
        state = self._state(row, _stored_issues(row), self._held_back, unavailable or self._unavailable)
        return Current(self._compiled, state, storage_away or self._storage_away)

    def _state(
        self, row: Entity, issues: list[MappingIssue], held_back: str | None, unavailable: str | None
    ) -> MappingState:
        return MappingState(
            kind=self._kind,
            source=self._source.name,
            in_force=row.get("in_force") or None,
            since=row.get("since") or None,
            issues=issues,
            held_back=held_back,
            unavailable=unavailable,
        )

    def accept(self) -> Accepted:
        """Puts this deployment's text in force whatever its age, until a newer one is offered; for a rollback.

        Raises MappingInvalid if it is broken, Unavailable if the source or storage is away. Nothing has changed then.
        """
        with self._looking:
            offer = self._source.read()
            compiled = self._load(offer)
            for _ in range(_ACCEPT_ATTEMPTS):
                self._row = self._table.get(self._kind, _IN_FORCE)
                before = None if self._row is None else self._row["in_force"] or None
                # Not before the offer that it displaces, whose clock may be ahead of this one's.
                offered = max(ticks.format_iso(ticks.now()), _offered(self._row))
                if self._accept(offer, offered, compiled):
                    return Accepted(offer.hash, before)
        raise StorageUnavailable(
            f"Others kept changing which {self._kind} mapping is in force. Try again; if this goes on, see whether two "
            "deployments with different mappings share this storage account."
        )

    def _look(self) -> None:
        self._storage_away = self._held_back = None
        try:
            self._row = self._table.get(self._kind, _IN_FORCE)
        except StorageUnavailable as error:
            self._storage_away = error.message
            raise
        try:
            offer = self._source.read()
        except MappingInvalid as invalid:
            key = hashlib.sha256(invalid.message.encode()).hexdigest()
            self._refuse(key, self._time_of_first_sight(key), invalid)
        except Unavailable as error:
            # The source is away: its last good text stays in force. Only if there is none must the events wait.
            if not (self._row and self._row["in_force"]):
                raise
            self._unavailable = error.message
        else:
            self._consider(offer)
        if self._row and self._row["in_force"]:
            self._take(self._row["in_force"])

    def _consider(self, offer: Offer) -> None:
        row, text_hash = self._row, offer.hash
        if text_hash != self._read_hash:
            self._displaced_hash, self._read_hash = self._read_hash, text_hash
        offered = self._offered_at(offer)
        if row is not None and row["in_force"] == text_hash:
            self._confirm(row, offered)
        elif row is not None and row["in_force"] and not self._is_newer(row, offered):
            self._hold_back(row, text_hash, offered)
        else:
            try:
                compiled = self._load(offer)
            except MappingInvalid as invalid:
                self._refuse(text_hash, offered, invalid)
            else:
                self._accept(offer, offered, compiled)

    def _offered_at(self, offer: Offer) -> str:
        return self._time_of_first_sight(offer.hash) if offer.time is None else ticks.format_iso(offer.time)

    def _is_newer(self, row: Entity, offered: str) -> bool:
        # Times of blobs are whole seconds. What this process has seen change in its own source needs no clock.
        in_force = _offered(row)
        return offered > in_force or (offered == in_force and row["in_force"] == self._displaced_hash)

    def _confirm(self, row: Entity, offered: str) -> None:
        """The text in force is offered. It takes a refusal back that is older, or that this process wrote."""
        is_taken_back = bool(row["refused"]) and (
            row["refused"] == self._own_refusal or offered >= _refused_offered(row)
        )
        if is_taken_back or offered > _offered(row):
            self._write_row(
                row
                | {"offered": max(offered, _offered(row)), "offered_text": row["in_force"]}
                | (_refusal() if is_taken_back else {})
            )
        self._own_refusal = ""

    def _hold_back(self, row: Entity, text_hash: str, offered: str) -> None:
        self._held_back = self._why_held_back(row, text_hash, offered)
        if self._held_back != self._told:
            _log.warning(self._held_back)
            self._told = self._held_back

    def _why_held_back(self, row: Entity, text_hash: str, offered: str) -> str:
        return (
            f"The {self._kind} mapping of this deployment ({text_hash[:12]}, offered {offered or 'long ago'}) is not "
            f"newer than the one in force ({row['in_force'][:12]}, offered {_offered(row) or 'long ago'}), and is held "
            "back. In a rolling deployment there is nothing to do; to go back to it, run `python -m medtech mapping "
            f"accept --kind {self._kind}` with the settings of this deployment."
        )

    def _time_of_first_sight(self, text_hash: str) -> str:
        """When a text without a time of its own was offered: as it was stored with it, else now."""
        if self._first_seen[0] != text_hash:
            row = self._row or {}
            stored = self._table.first(
                f"PartitionKey eq {quoted(self._kind)} and RowKey eq {quoted(_text_key(text_hash))}",
                select=["PartitionKey", "RowKey", "offered"],
            )
            if row.get("refused") == text_hash:
                seen = _refused_offered(row)
            else:
                seen = ticks.format_iso(ticks.now()) if stored is None else stored.get("offered") or ""
            self._first_seen = text_hash, seen
        return self._first_seen[1]

    def _load(self, offer: Offer) -> Mapping:
        """The compiled text; one that was refused is not compiled again at every look. Raises MappingInvalid."""
        text_hash = offer.hash
        if self._refused is not None and self._refused[0] == text_hash:
            raise self._refused[1]
        if self._compiled is not None and self._compiled_hash == text_hash:
            return self._compiled
        try:
            if len(offer.content) > _CODEC.max_bytes or len(_CODEC.pack(offer.content)) > ROW_BYTES:
                raise self._source.invalid(
                    "The mapping is too large: it may have 32 MiB, and 704 KiB when compressed. Split or shorten it."
                )
            return self._loader(self._source.text(offer))
        except MappingInvalid as invalid:
            self._refused = (text_hash, invalid)
            raise

    def _accept(self, offer: Offer, offered: str, compiled: Mapping) -> bool:
        """Whether this instance put it in force; if not, another one was first."""
        # The text first: the row must never name a text that is not there.
        text_hash = offer.hash
        keys = {"PartitionKey": self._kind, "RowKey": _text_key(text_hash)}
        self._table.upsert(keys | {"offered": offered} | split(_CODEC.pack(offer.content)))
        before = self._row or {"in_force": ""}
        is_new = before["in_force"] != text_hash
        since = ticks.format_iso(ticks.now()) if is_new else before["since"]
        row = {"in_force": text_hash, "since": since, "offered": offered, "offered_text": text_hash}
        if not self._write_row(row | _refusal()):
            return False
        self._compiled, self._compiled_hash, self._held_back = compiled, text_hash, None
        self._own_refusal = ""
        if is_new:
            _log.info("The %s mapping %s is in force.", self._kind, text_hash[:12])
        return True

    def _refuse(self, refused: str, offered: str, invalid: MappingInvalid) -> None:
        # Once per process: where an instance with a good text has taken the refusal back, the two would not end.
        row = self._row or {"in_force": "", "since": "", "refused": ""}
        if row["refused"] == refused:
            self._own_refusal = refused
        if self._own_refusal == refused or (row["refused"] and offered <= _refused_offered(row)):
            return
        if self._write_row(row | _refusal(refused, offered, invalid.issues)):
            self._own_refusal = refused
            consequence = "the last good one stays in force" if row["in_force"] else "none was ever good"
            _log.error("The %s mapping is refused, %s: %s", self._kind, consequence, invalid.message)

    def _write_row(self, properties: Entity) -> bool:
        """Whether this instance wrote the row; if not, another one was first, and its row is the one to work by."""
        row: Entity = {name: value for name, value in properties.items() if name != "etag"}
        row |= {"PartitionKey": self._kind, "RowKey": _IN_FORCE}
        operation = Operation("create", row) if self._row is None else Operation("merge", row, self._row["etag"])
        try:
            [etag] = self._table.transact([operation])
        except OperationFailed:
            self._row = self._table.get(self._kind, _IN_FORCE)
            return False
        self._row = row | {"etag": etag}
        return True

    def _take(self, in_force: str) -> None:
        """Compiles the text in force, unless this process has done so."""
        if self._compiled_hash == in_force:
            return
        text = self._text(in_force)
        try:
            self._compiled = self._loader(text)
        except MappingInvalid as invalid:
            raise Unavailable(
                f"The {self._kind} mapping in force does not load in this version of the app: {invalid.message}. "
                f"{self._how_to_replace}"
            ) from None
        self._compiled_hash = in_force

    def _text(self, in_force: str) -> str:
        stored = self._table.get(self._kind, _text_key(in_force))
        try:
            return _CODEC.unpack(join(stored or {})).decode()
        except ValueError:
            raise StorageUnavailable(
                f"The text of the {self._kind} mapping in force is missing from table `{TABLE}`. {self._how_to_replace}"
            ) from None

    @property
    def _how_to_replace(self) -> str:
        return (
            f"Change {SETTINGS[self._kind]} to a good mapping, or put this deployment's in force with `python -m "
            f"medtech mapping accept --kind {self._kind}`; until then data stays where it is."
        )


def _text_key(text_hash: str) -> str:
    return f"text|{text_hash}"


def _refusal(refused: str = "", offered: str = "", issues: list[MappingIssue] | None = None) -> Entity:
    """The properties of the row that say which text was refused, when it was offered, and why; or that none was."""
    stored = json.dumps((issues or [])[:_STORED_ISSUES]).encode()
    return {"refused": refused, "refused_offered": offered, "refused_text": refused, **split(_CODEC.pack(stored))}


# The version of the app before knew no times. It may still run and merge its texts into the row, and then the times
# that are left there are those of others.


def _offered(row: Entity | None) -> str:
    """When the text in force was offered; empty, which is before any time, if that is unknown."""
    return str(row.get("offered") or "") if row and row.get("offered_text") == row["in_force"] else ""


def _refused_offered(row: Entity) -> str:
    return str(row.get("refused_offered") or "") if row.get("refused_text") == row["refused"] else ""


def _stored_issues(row: Entity) -> list[MappingIssue]:
    if not row.get("refused"):
        return []
    return [MappingIssue(*issue) for issue in json.loads(_CODEC.unpack(join(row)))]
