"""What a comparison found: the tables `comparison` (counts) and `differences` (both sides of what is not the same).

    comparison    PartitionKey  `20220312100500`          the start of a window
                  RowKey        `002|0000`                its shard, and a number: a row has so many Observations
                  counts        {type: {outcome: number}}, zlib
                  time          of the last count
                  p00 …         eight bytes for each Observation that is counted in the row

    differences   PartitionKey  `20220312100500|002`
                  RowKey        the id that the app gives the Observation
                  type, outcome, elements, error, observation, time
                  p00 …         ours, a line break, and what is stored, as JSON, zlib: health data, nowhere but here

An Observation is counted once for each window that has readings of it. A flush that was killed after it had counted
finds the Observation among those of the row, and does not count it again.
"""

import hashlib
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import orjson

from medtech.dotnet import ticks
from medtech.storage.connection import Storage
from medtech.storage.payload import ROW_BYTES, Codec, PayloadDamaged, PayloadTooNew, join, split
from medtech.storage.table import Entity, Operation, OperationFailed, Table, quoted

COUNTS_TABLE = "comparison"
DIFFERENCES_TABLE = "differences"

OUTCOMES = ("same", "absent", "different")

MOST_KEPT = 100
"""Of one type and outcome in a window of a shard. A wrong setting makes every Observation absent, and a hundred say as
much as a million; all are counted."""

_OBSERVATIONS_PER_ROW = 20_000
_DIGEST_BYTES = 8
_ID_DIGITS = 16
_SIDES = Codec(max_bytes=64 * 1024 * 1024, version=1)

_ID = re.compile(r"([0-9]{14})-([0-9]{3})-([0-9a-f]{16})")
_LISTED = ["PartitionKey", "RowKey", "type", "outcome", "elements", "error", "observation", "time"]


class ComparedElsewhere(Exception):
    """Another instance counts the same window at the same time."""


class Judged(NamedTuple):
    """An Observation that was compared for good. `observation` is the id that the app gives it (64 hex digits), `found`
    the one under which it is stored; `sides` as JSON: (ours, what is stored), None for what is the same."""

    observation: str
    type: str
    outcome: str
    elements: tuple[str, ...] = ()
    error: str = ""
    found: str = ""
    sides: tuple[bytes | None, bytes | None] | None = None


@dataclass(slots=True)
class TypeCounts:
    """Of one measurement type; times are the starts of the first and the last window (ticks)."""

    type: str
    outcomes: Counter[str] = field(default_factory=Counter)
    first_window: int = ticks.MAX_TICKS
    last_window: int = 0

    @property
    def compared(self) -> int:
        return self.outcomes.total()


class Found(NamedTuple):
    """A difference as it is kept, without its sides. `window` in ticks, `time` when it was judged (ISO 8601)."""

    partition_key: str
    row_key: str
    type: str
    outcome: str
    elements: tuple[str, ...]
    error: str
    observation: str
    time: str

    @property
    def id(self) -> str:
        """`20220312100500-002-1a2b3c4d5e6f7a8b`: window, shard, and the beginning of the Observation's id."""
        window, _, shard = self.partition_key.partition("|")
        return f"{window}-{shard}-{self.row_key[:_ID_DIGITS]}"


class Sides(NamedTuple):
    """Both sides as JSON texts; None for what is not there, or was too large to be kept."""

    ours: bytes | None
    stored: bytes | None


class Comparisons:
    """Both tables; one per process. Whatever asks storage raises StorageUnavailable when it is away."""

    def __init__(self, storage: Storage) -> None:
        self._counts = storage.table(COUNTS_TABLE)
        self._differences = storage.table(DIFFERENCES_TABLE)

    def of(self, shard: int, window: int) -> "WindowRecord":
        """What is counted of a window (ticks), to be added to under the shard's lease."""
        return WindowRecord(self._counts, self._differences, shard, window)

    def types(self, since: int | None = None, type_name: str | None = None) -> list[TypeCounts]:
        """The counts by type, in order of their names, of windows that start at `since` (ticks) or later."""
        found: dict[str, TypeCounts] = {}
        for row in self._counts.query(_from(since), select=["PartitionKey", "RowKey", "counts"]):
            window = _window(row["PartitionKey"])
            for name, outcomes in _read_counts(row).items():
                if window is None or type_name not in (None, name):
                    continue
                counts = found.setdefault(name, TypeCounts(name))
                counts.outcomes.update({each: number for each, number in outcomes.items() if each in OUTCOMES})
                counts.first_window = min(counts.first_window, window)
                counts.last_window = max(counts.last_window, window)
        return [found[name] for name in sorted(found)]

    def differences(self, since: int | None = None, type_name: str | None = None) -> Iterator[Found]:
        """What is absent or different, the oldest window first."""
        condition = _from(since)
        if type_name is not None:
            condition += f" and type eq {quoted(type_name)}"
        for row in self._differences.query(condition, select=_LISTED):
            yield _found(row)

    def find(self, difference_id: str) -> tuple[Found, Sides] | None:
        """A difference with both sides; None for an id of none. Raises ValueError for what is no id."""
        parts = _ID.fullmatch(difference_id)
        if parts is None:
            raise ValueError(f"{difference_id[:100]!a} is not the ID of a difference. Copy it from `compare`.")
        window, shard, beginning = parts.groups()
        condition = (
            f"PartitionKey eq {quoted(f'{window}|{shard}')} and RowKey ge {quoted(beginning)} "
            f"and RowKey lt {quoted(beginning + 'g')}"
        )
        row = self._differences.first(condition)
        return None if row is None else (_found(row), _sides(row))

    def clear(self) -> int:
        """Deletes all that was counted and kept; returns how many differences there were."""
        _delete(self._counts, "PartitionKey ge '0'")
        return _delete(self._differences, "PartitionKey ge '0'")

    def expire(self, now: int, days: int) -> int:
        """Deletes what was found more than `days` days before `now` (ticks); returns how many differences."""
        oldest = max(0, now - days * ticks.TICKS_PER_DAY)
        # No window is compared before it begins, so later ones need not be looked at; old events may be compared now.
        condition = (
            f"PartitionKey lt {quoted(ticks.format_compact(oldest))} and time lt {quoted(ticks.format_iso(oldest))}"
        )
        _delete(self._counts, condition)
        return _delete(self._differences, condition)


class WindowRecord:
    """What is counted of one window of a shard. For one thread."""

    def __init__(self, counts: Table, differences: Table, shard: int, window: int) -> None:
        self._counts, self._differences = counts, differences
        self._window, self._shard = ticks.format_compact(window), f"{shard:03d}"
        self._digests: set[bytes] | None = None
        self._outcomes: Counter[tuple[str, str]] = Counter()
        self._last = _CountRow()
        self._rows = 0

    def add(self, judged: Sequence[Judged], now: int) -> list[Judged]:
        """Keeps and counts what is not counted yet; returns that. `now` in ticks.

        Raises ComparedElsewhere when somebody else has counted meanwhile.
        """
        known = self._read()
        new = [each for each in judged if _digest(each) not in known]
        self._keep(new, ticks.format_iso(now))
        remaining = new
        while remaining:
            room = _OBSERVATIONS_PER_ROW - len(self._last.digests) // _DIGEST_BYTES
            self._count(remaining[:room], ticks.format_iso(now))
            remaining = remaining[room:]
            if remaining:
                self._last = _CountRow()
                self._rows += 1
        known.update(map(_digest, new))
        self._outcomes.update((each.type, each.outcome) for each in new)
        return new

    def _read(self) -> set[bytes]:
        if self._digests is None:
            condition = (
                f"PartitionKey eq {quoted(self._window)} and RowKey ge {quoted(self._shard + '|')} "
                f"and RowKey lt {quoted(self._shard + '}')}"
            )
            digests: set[bytes] = set()
            for number, row in enumerate(self._counts.query(condition)):
                self._last, self._rows = _CountRow.of(row), number
                digests.update(self._last.each())
                for name, outcomes in self._last.counts.items():
                    self._outcomes.update({(name, outcome): count for outcome, count in outcomes.items()})
            self._digests = digests
        return self._digests

    def _keep(self, judged: Sequence[Judged], time: str) -> None:
        kept = Counter(self._outcomes)
        operations: list[Operation] = []
        for each in judged:
            if each.sides is None:
                continue
            kept[each.type, each.outcome] += 1
            if kept[each.type, each.outcome] <= MOST_KEPT:
                operations.append(Operation("upsert", self._difference(each, time)))
        results = self._differences.change(operations)
        for operation, result in zip(operations, results, strict=True):
            if result.status == 413:
                without = {name: value for name, value in operation.entity.items() if not re.fullmatch("p[0-9]+", name)}
                self._differences.upsert({**without, "parts": 0})

    def _difference(self, judged: Judged, time: str) -> Entity:
        # No text of JSON as it is written here holds a line break.
        payload = _SIDES.pack(b"\n".join(each or b"" for each in judged.sides or ()))
        if len(payload) > ROW_BYTES:
            payload = b""
        return {
            "PartitionKey": f"{self._window}|{self._shard}",
            "RowKey": judged.observation,
            "type": judged.type,
            "outcome": judged.outcome,
            "elements": json.dumps(judged.elements),
            "error": judged.error,
            "observation": judged.found or judged.observation,
            "time": time,
            **split(payload),
        }

    def _count(self, judged: Sequence[Judged], time: str) -> None:
        if not judged:
            return
        row = self._last.with_(judged)
        keys = {"PartitionKey": self._window, "RowKey": f"{self._shard}|{self._rows:04d}"}
        entity = {**keys, "time": time, "counts": zlib.compress(orjson.dumps(row.counts)), **split(row.digests)}
        operation = Operation("replace", entity, row.etag) if row.etag else Operation("create", entity)
        try:
            (row.etag,) = self._counts.transact([operation])
        except OperationFailed:
            raise ComparedElsewhere from None
        self._last = row


@dataclass(slots=True)
class _CountRow:
    """A row of the table `comparison`."""

    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    digests: bytes = b""
    etag: str = ""

    @classmethod
    def of(cls, row: Entity) -> "_CountRow":
        try:
            digests = join(row)
        except PayloadDamaged:
            digests = b""
        return cls(_read_counts(row), digests, row["etag"])

    def with_(self, judged: Sequence[Judged]) -> "_CountRow":
        counts = {name: Counter(outcomes) for name, outcomes in self.counts.items()}
        for each in judged:
            counts.setdefault(each.type, Counter())[each.outcome] += 1
        digests = self.digests + b"".join(map(_digest, judged))
        return _CountRow({name: dict(outcomes) for name, outcomes in counts.items()}, digests, self.etag)

    def each(self) -> Iterable[bytes]:
        return (self.digests[at : at + _DIGEST_BYTES] for at in range(0, len(self.digests), _DIGEST_BYTES))


def _digest(judged: Judged) -> bytes:
    return hashlib.sha256(judged.observation.encode()).digest()[:_DIGEST_BYTES]


def _read_counts(row: Entity) -> dict[str, dict[str, int]]:
    """Empty for a row that cannot be read: it is not worth more than the others."""
    try:
        counts: dict[str, dict[str, int]] = orjson.loads(zlib.decompress(row["counts"]))
    except (KeyError, TypeError, ValueError, zlib.error):
        return {}
    return counts


def _found(row: Entity) -> Found:
    texts = {name: str(row.get(name) or "") for name in ("type", "outcome", "error", "observation", "time")}
    try:
        elements = tuple(map(str, json.loads(str(row.get("elements") or "[]"))))
    except ValueError:
        elements = ()
    return Found(row["PartitionKey"], row["RowKey"], elements=elements, **texts)


def _sides(row: Entity) -> Sides:
    try:
        ours, _, stored = _SIDES.unpack(join(row)).partition(b"\n")
    except (PayloadDamaged, PayloadTooNew):
        return Sides(None, None)
    return Sides(ours or None, stored or None)


def _from(since: int | None) -> str:
    return f"PartitionKey ge {quoted('0' if since is None else ticks.format_compact(since))}"


def _window(partition_key: str) -> int | None:
    try:
        return ticks.from_datetime(datetime.strptime(partition_key, "%Y%m%d%H%M%S"))
    except ValueError:
        return None


def _delete(table: Table, condition: str) -> int:
    deleted = 0
    partition_key, operations = "", list[Operation]()
    for row in table.query(condition, select=["PartitionKey", "RowKey"]):
        keys = {"PartitionKey": row["PartitionKey"], "RowKey": row["RowKey"]}
        if operations and row["PartitionKey"] != partition_key:
            deleted += sum(result.status == 204 for result in table.change(operations))
            operations = []
        partition_key = row["PartitionKey"]
        operations.append(Operation("delete", keys))
    return deleted + sum(result.status == 204 for result in table.change(operations))
