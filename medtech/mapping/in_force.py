"""The mapping in force, one for all instances.

Instances come and go and each function scales by itself, so the last good mapping is kept in storage, not in memory:
table `mappings` has each accepted text under its hash, and per kind one row with the hash in force and, if a newer text
was refused, its issues. Every instance offers the text of its source and works by that row.
"""

import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, TypeVar

from medtech.dotnet import ticks
from medtech.errors import ErrorType, MappingInvalid, MappingIssue, StorageUnavailable, Unavailable
from medtech.storage.connection import Storage
from medtech.storage.faults import reaching
from medtech.storage.payload import ROW_BYTES, Codec, join, split
from medtech.storage.table import Entity, Operation, OperationFailed

TABLE = "mappings"
LOOK_SECONDS = 30.0
"""How old an instance's knowledge of the row and the source may be."""

MappingKind = Literal["device", "fhir"]
Mapping = TypeVar("Mapping")

_APP_FOLDER = Path(__file__).parents[2]
_IN_FORCE = "in-force"
_STORED_ISSUES = 500
_CODEC = Codec(max_bytes=32 * 1024 * 1024)
_SETTINGS = {"device": "DEVICE_MAPPING", "fhir": "FHIR_MAPPING"}
_ERROR_TYPES = {"device": ErrorType.DEVICE_TEMPLATE, "fhir": ErrorType.FHIR_TEMPLATE}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MappingState:
    """What health and /api/validate report of a mapping.

    `in_force` is the SHA-256 of the text in force, `since` the time it came into force (ISO 8601); None if none was
    ever good. `issues` are the faults of a newer text that was refused; `unavailable` says why the store or the source
    cannot be read.
    """

    kind: MappingKind
    source: str
    in_force: str | None
    since: str | None
    issues: list[MappingIssue]
    unavailable: str | None


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
        self._source = source
        self._loader = loader
        self._storage = storage
        self._table = storage.table(TABLE)
        self._monotonic = monotonic
        self._looking = threading.Lock()
        self._look_again_at = float("-inf")
        self._row: Entity | None = None
        self._compiled: Mapping | None = None
        self._compiled_hash: str | None = None
        self._unavailable: str | None = None
        self._refused: tuple[str, MappingInvalid] | None = None

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

    def state(self) -> MappingState:
        unavailable = None
        try:
            self.in_force()
        except Unavailable as error:
            unavailable = error.message
        row = self._row or {}
        return MappingState(
            kind=self._kind,
            source=self._source.partition("?")[0],
            in_force=row.get("in_force") or None,
            since=row.get("since") or None,
            issues=_stored_issues(row),
            unavailable=unavailable or self._unavailable,
        )

    def _look(self) -> None:
        self._row = self._table.get(self._kind, _IN_FORCE)
        try:
            text = self._read_source()
            offered = _hash(text)
            if self._row is None or self._row["in_force"] != offered:
                self._accept(text, offered, self._load(text, offered))
            elif self._row["refused"]:
                self._write_row(offered, self._row["since"], refused="", issues=[])
        except MappingInvalid as invalid:
            self._refuse(_hash(invalid.message), invalid)
        except Unavailable as error:
            # The source is away: its last good text stays in force. Only if there is none must the events wait.
            if not (self._row and self._row["in_force"]):
                raise
            self._unavailable = error.message
        if self._row and self._row["in_force"]:
            self._take(self._row["in_force"])

    def _load(self, text: str, offered: str) -> Mapping:
        """The compiled text; one that was refused is not compiled again at every look. Raises MappingInvalid."""
        if self._refused is not None and self._refused[0] == offered:
            raise self._refused[1]
        if self._compiled is not None and self._compiled_hash == offered:
            return self._compiled
        try:
            content = text.encode()
            if len(content) > _CODEC.max_bytes or len(_CODEC.pack(content)) > ROW_BYTES:
                raise self._invalid(
                    "The mapping is too large: it may have 32 MiB, and 704 KiB when compressed. Split or shorten it."
                )
            return self._loader(text)
        except MappingInvalid as invalid:
            self._refused = (offered, invalid)
            raise

    def _accept(self, text: str, offered: str, compiled: Mapping) -> None:
        # The text first: the row must never name a text that is not there.
        keys = {"PartitionKey": self._kind, "RowKey": _text_key(offered)}
        self._table.upsert(keys | split(_CODEC.pack(text.encode())))
        if self._write_row(offered, ticks.format_iso(ticks.now()), refused="", issues=[]):
            self._compiled, self._compiled_hash = compiled, offered
            _log.info("The %s mapping %s is in force.", self._kind, offered[:12])

    def _refuse(self, refused: str, invalid: MappingInvalid) -> None:
        row = self._row or {"in_force": "", "since": "", "refused": ""}
        if row["refused"] != refused and self._write_row(
            row["in_force"], row["since"], refused=refused, issues=invalid.issues
        ):
            consequence = "the last good one stays in force" if row["in_force"] else "none was ever good"
            _log.error("The %s mapping is refused, %s: %s", self._kind, consequence, invalid.message)

    def _write_row(self, in_force: str, since: str, *, refused: str, issues: list[MappingIssue]) -> bool:
        """Whether this instance wrote the row; if not, another one was first, and its row is the one to work by."""
        row: Entity = {
            "PartitionKey": self._kind,
            "RowKey": _IN_FORCE,
            "in_force": in_force,
            "since": since,
            "refused": refused,
            **split(_CODEC.pack(json.dumps(issues[:_STORED_ISSUES]).encode())),
        }
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
        stored = self._table.get(self._kind, _text_key(in_force))
        try:
            text = _CODEC.unpack(join(stored or {})).decode()
            self._compiled = self._loader(text)
        except ValueError:
            raise StorageUnavailable(
                f"The text of the {self._kind} mapping in force is missing from table `{TABLE}`. "
                f"Change {_SETTINGS[self._kind]} to a good mapping; until then data stays where it is."
            ) from None
        except MappingInvalid as invalid:
            raise Unavailable(
                f"The {self._kind} mapping in force does not load in this version of the app: {invalid.message}. "
                f"Change {_SETTINGS[self._kind]} to a good mapping; until then data stays where it is."
            ) from None
        self._compiled_hash = in_force

    def _read_source(self) -> str:
        """Raises MappingInvalid if there is no text, Unavailable if the blob cannot be reached."""
        is_blob = self._source.startswith(("https://", "http://"))
        raw = self._read_blob() if is_blob else self._read_file()
        try:
            return raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise self._invalid(f"The mapping is not UTF-8 (byte {error.start}). Save it in that encoding.") from None

    def _read_file(self) -> bytes:
        try:
            return (_APP_FOLDER / self._source).read_bytes()
        except OSError as error:
            raise self._invalid(
                f"The mapping file `{self._source}` cannot be read ({error.strerror}). "
                f"Set {_SETTINGS[self._kind]} to a file of the app or to a blob's address."
            ) from None

    def _read_blob(self) -> bytes:
        from azure.core.exceptions import ResourceNotFoundError

        address = self._source.partition("?")[0]
        try:
            with reaching(f"the {self._kind} mapping at {address}"):
                content: bytes = self._storage.blob_at(self._source).download_blob().readall()
        except ResourceNotFoundError:
            raise self._invalid(
                f"There is no blob at {address}. Upload the mapping there or fix {_SETTINGS[self._kind]}."
            ) from None
        return content

    def _invalid(self, message: str) -> MappingInvalid:
        return MappingInvalid(_ERROR_TYPES[self._kind], [MappingIssue(message, None, "", -1, -1)])


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _text_key(text_hash: str) -> str:
    return f"text|{text_hash}"


def _stored_issues(row: Entity) -> list[MappingIssue]:
    if not row.get("refused"):
        return []
    return [MappingIssue(*issue) for issue in json.loads(_CODEC.unpack(join(row)))]
