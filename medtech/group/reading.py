"""A window while it is flushed: its rows, read once, and what is left to do of each.

A window whose measurements fit into memory is one portion. A larger one is split by device, so that no group is
split, into portions that are held packed (segment's columns, compressed) until their turn comes:

    block of rows ── unpack ── split by device ──┬── chunk (block, portion 0)
                                                 ├── chunk (block, portion 1)
                                                 └── …
    portion p = its chunks of all blocks, unpacked; what waits of it is packed back into its chunks
    row       = what the chunks of its block still hold of it

Rows mix devices, so most are open until the last portion. When the flush ends before that, each open row is replaced by
what its block's chunks hold of it. If even the packed portions are too large, the last ones are not held, and are the
next round's: its reader finds the rows shrunk by what this round settled.
"""

import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from threading import Lock
from types import GenericAlias
from typing import Any, NamedTuple

import msgspec
import orjson

from medtech.dotnet import ticks
from medtech.errors import BufferCorrupt, MedTechError, Unavailable
from medtech.group import segment
from medtech.group.replayed import Replayed
from medtech.group.segment import Columns
from medtech.model import Measurement
from medtech.storage.payload import PayloadDamaged, join
from medtech.storage.table import Entity

BLOCK_ROWS = 1000
"""Rows that are read with one query: a page of Table storage has no more."""

_BLOCK_STORED_BYTES = 2 * 1024 * 1024
"""As the service sends them, rows take a third more, and the answer is held while it is taken apart."""

_MEMORY_PER_UNPACKED_BYTE = 6
"""What measurements take as Python values, per byte of the JSON that they are unpacked from. Measured (tracemalloc, of
readings of one value): 500 bytes each, and 200 in the groups and tables of the flush, of 125 in JSON. Packed, 11."""

_DEVICE_ID = Measurement._fields.index("device_id")

_decode_chunk: Callable[[bytes], tuple[tuple[list[Any], ...], list[int]]] = msgspec.json.Decoder(
    GenericAlias(tuple, (segment.columns_type(int), list[int]))
).decode
_LEVEL = 1


class Limits(NamedTuple):
    """What a window may take of the memory: the measurements of a portion as Python values, and the portions that are
    held packed."""

    portion_bytes: int
    packed_bytes: int


class Round(NamedTuple):
    """Into how many portions a window is split, and the first one that has not been worked off."""

    portions: int
    first: int


@dataclass(slots=True)
class Row:
    """One row as it was read. `etag` and `creates_sent` follow this process's own changes to it.

    `creates_sent` is the mark of creates of whose answers nothing is known, should the flush die; `creates_from` and
    `creates_to` are the first and the last time (ticks) at which it was made. `sent_before`: the row had it when it was
    read, from an earlier flush or round. `marked`: this one made it. `keeps_mark`: it stays when the row is replaced,
    since not all creates that it stands for are answered or watched.

    `fault` says why the row gave no measurements: BufferCorrupt (`payload` then goes into the dead letter), or
    Unavailable, when the row has to stay. `given_up`: it is gone, or somebody else changed it, so that it is the next
    flush's.
    """

    partition_key: str
    row_key: str
    etag: str
    hub: str
    creates_sent: bool
    stored_bytes: int
    unpacked_bytes: int
    trace_context: str = ""
    fault: MedTechError | None = None
    payload: bytes = b""
    given_up: bool = False
    sent_before: bool = False
    creates_from: int = 0
    creates_to: int = ticks.MAX_TICKS
    marked: bool = False
    keeps_mark: bool = True
    replayed: Replayed | None = None
    table: int = 0

    @property
    def place(self) -> tuple[int, str]:
        """What is the row's alone within its window: after a change of accounts two of them can hold a key."""
        return self.table, self.row_key


class Part(NamedTuple):
    """The measurements that a portion has of one block, with the number of each one's row."""

    measurements: list[Measurement]
    row_numbers: list[int]

    def unpack(self, _copies: dict[str | None, str | None]) -> "Part":
        return self


class _Chunk(NamedTuple):
    """A part, packed. A column that has one value in all places has it once."""

    payload: bytes

    @classmethod
    def of(cls, columns: Iterable[Sequence[object]], row_numbers: Sequence[int]) -> "_Chunk":
        return cls(zlib.compress(orjson.dumps([list(columns), row_numbers]), _LEVEL))

    def unpack(self, copies: dict[str | None, str | None]) -> Part:
        columns, row_numbers = _decode_chunk(zlib.decompress(self.payload))
        size = len(row_numbers)
        whole = [column if len(column) == size else column * size for column in columns]
        return Part(segment.measurements_of(whole, copies), row_numbers)


class Portion(NamedTuple):
    """Every measurement of some of a window's devices; `parts` has them by block. `rows` are the window's."""

    number: int
    rows: list[Row]
    parts: list[Part]

    def measurements(self) -> list[Measurement]:
        return list(chain.from_iterable(part.measurements for part in self.parts))

    def unsettled(self) -> "Unsettled":
        """All of it, as long as nothing is settled."""
        measurements = self.measurements()
        numbers = list(chain.from_iterable(part.row_numbers for part in self.parts))
        unsettled = Unsettled(dict(zip(measurements, numbers, strict=True)), self.rows, [])
        if len(unsettled.holders) < len(measurements):
            unsettled.join(measurements, numbers)
        return unsettled


class Unsettled(NamedTuple):
    """Measurements that are not settled, each once, and the rows that hold them: several, if it came twice.

    `holders` has a row's number for each measurement; from the number of rows on it counts in `several`.
    """

    holders: dict[Measurement, int]
    rows: list[Row]
    several: list[tuple[Row, ...]]

    def join(self, measurements: Iterable[Measurement], numbers: Iterable[int]) -> None:
        """Finds all rows of what came twice."""
        self.holders.clear()
        joined: dict[tuple[int, int], int] = {}
        for measurement, number in zip(measurements, numbers, strict=True):
            known = self.holders.setdefault(measurement, number)
            if known == number:
                continue
            if (known, number) not in joined:
                joined[known, number] = len(self.rows) + len(self.several)
                self.several.append((*self._held(known), self.rows[number]))
            self.holders[measurement] = joined[known, number]

    def rows_with(self, measurements: Iterable[Measurement]) -> list[Row]:
        """The rows that hold any of these, none of which is settled: each row once, but for those of copies."""
        # An hour of one reading a second comes in a few rows.
        numbers = dict.fromkeys(map(self.holders.__getitem__, measurements))
        return [row for number in numbers for row in self._held(number)]

    def settle(self, measurements: Iterable[Measurement]) -> None:
        for measurement in measurements:
            self.holders.pop(measurement, None)

    def _held(self, number: int) -> tuple[Row, ...]:
        single = len(self.rows)
        return (self.rows[number],) if number < single else self.several[number - single]


class Left(NamedTuple):
    """A row of which a part is settled, and the measurements that are not."""

    row: Row
    measurements: list[Measurement]


class _Block(NamedTuple):
    """Rows that follow each other in the table, by number: those from `start` until before `stop`."""

    start: int
    stop: int


Fetch = Callable[[Sequence[Row]], list[tuple[Row, Entity]]]
"""Reads rows that follow each other in their table; rows that somebody changed or deleted meanwhile are left out."""

_unpacking = Lock()
"""A row of 4 MiB takes 20 while it is unpacked: that much for one shard at a time, and not for eight at once. The work
is the processor's, so nobody is the slower for it."""


class WindowReading:
    """The rows of a window, and its portions when it is iterated. Portions are made one at a time: let each go.

    Rows that come after the first look are left to the next flush, as are rows that somebody changes before they are
    read: they keep their old etag, so they cannot be deleted.

    `enough` is asked after each block of rows; from then on no further rows are read, and these are left to the next
    flush too: a window that takes too long to be read is worked off all the same, a part of its rows at each flush.
    """

    def __init__(self, rows: list[Row], fetch: Fetch, limits: Limits, of_round: Round | None) -> None:
        self.rows = rows
        self.cut_off = False
        self._fetch = fetch
        self._limits = limits
        self._blocks = list(_blocks(rows, limits.portion_bytes // _MEMORY_PER_UNPACKED_BYTE))
        if of_round is None:
            memory_bytes = sum(row.unpacked_bytes for row in rows) * _MEMORY_PER_UNPACKED_BYTE
            of_round = Round(max(1, -(-memory_bytes // limits.portion_bytes)), 0)
        self._portions, self._first = of_round
        self._stop = self._portions
        """The first portion that is not held."""
        self._chunks: list[dict[int, _Chunk | Part]] = []
        """What is not settled, by block and portion."""
        self._worked_off: set[int] = set()
        self._sizes: dict[int, int] = {}
        """How many measurements each row had that was read, by its number; `_open`: how many are not settled."""
        self._open: dict[int, int] = {}

    def __iter__(self) -> Iterator[Portion]:
        return self.portions(lambda: False)

    def portions(self, enough: Callable[[], bool]) -> Iterator[Portion]:
        if not self.rows:
            return
        packed_bytes = 0
        for number, block in enumerate(self._blocks):
            fetched = self._fetch(self.rows[block.start : block.stop])
            with _unpacking:
                packed_bytes = self._hold(block, fetched, packed_bytes)
            if number + 1 < len(self._blocks) and enough():
                self.cut_off = True
                del self._blocks[number + 1 :]
        for portion in range(self._first, self._stop):
            # Made in a call, so that nothing here still holds a portion while the next one is made.
            yield self._portion(portion)

    @property
    def next_round(self) -> Round | None:
        """What is left to another round; None if all portions were held."""
        return Round(self._portions, self._stop) if self._stop < self._portions else None

    @property
    def waiting(self) -> int:
        """How many measurements of its rows are not settled."""
        return sum(self._open.values())

    def settle(self, portion: Portion, waiting: Collection[Measurement]) -> int:
        """The portion is worked off, but for what waits of it; returns how many measurements are settled."""
        settled = 0
        for chunks, part in zip(self._chunks, portion.parts, strict=True):
            left: list[tuple[Measurement, int]] = []
            if waiting:
                pairs = zip(part.measurements, part.row_numbers, strict=True)
                left = [pair for pair in pairs if pair[0] in waiting]
            done = Counter(part.row_numbers)
            done.subtract(number for _, number in left)
            for number, count in done.items():
                self._open[number] -= count
            settled += len(part.measurements) - len(left)
            chunks.pop(portion.number, None)
            if left:
                measurements, numbers = map(list, zip(*left, strict=True))
                packed = self._portions > 1
                chunks[portion.number] = (
                    _Chunk.of(zip(*measurements, strict=True), numbers) if packed else Part(measurements, numbers)
                )
        self._worked_off.add(portion.number)
        return settled

    def settled_rows(self) -> list[Row]:
        """Rows that nothing is left of, and that are still there."""
        rows = (self.rows[number] for number, left in self._open.items() if not left)
        return [row for row in rows if not row.given_up]

    def faulty_rows(self) -> list[Row]:
        return [row for row in self.rows if row.fault]

    def left(self) -> Iterator[list[Left]]:
        """The rows of which a part is settled, block by block."""
        for number, block in enumerate(self._blocks[: len(self._chunks)]):
            rows = {
                index: Left(self.rows[index], [])
                for index in range(block.start, block.stop)
                if 0 < self._open.get(index, 0) < self._sizes[index]
            }
            if rows:
                yield self._left_of(number, block, rows)

    def _left_of(self, number: int, block: _Block, rows: dict[int, Left]) -> list[Left]:
        held = [chunk.unpack({}) for chunk in self._chunks[number].values()]
        if self._first == 0 and self._stop == self._portions:
            for part in held:
                for measurement, row_number in zip(part.measurements, part.row_numbers, strict=True):
                    if (left := rows.get(row_number)) is not None:
                        left.measurements.append(measurement)
            return list(rows.values())
        # What other rounds' portions have of the rows is not held: they are read once more.
        waiting = {measurement for part in held for measurement in part.measurements}
        of_row = {left.row.place: left for left in rows.values()}
        found: list[Left] = []
        for row, entity in self._fetch(self.rows[block.start : block.stop]):
            left = of_row.get(row.place)
            if left is not None and (columns := _unpack(row, entity)) is not None:
                left.measurements.extend(
                    each
                    for each in segment.measurements_of(columns, {})
                    if each in waiting or self._portion_of(each.device_id) not in self._worked_off
                )
                found.append(left)
        return found

    def _portion_of(self, device_id: str) -> int:
        # Not the CRC that made the shard: within a shard its remainders repeat. Python's own hash differs from process
        # to process, which does not matter to the portions of one flush.
        return hash(device_id) % self._portions

    def _hold(self, block: _Block, fetched: list[tuple[Row, Entity]], packed_bytes: int) -> int:
        """Holds what rows have of this round's portions; returns how many bytes are held packed then."""
        numbers = {self.rows[number].place: number for number in range(block.start, block.stop)}
        row_numbers: list[int] = []
        merged: Columns = [[] for _ in Measurement._fields]
        for row, entity in fetched:
            if (columns := _unpack(row, entity)) is not None:
                number, size = numbers[row.place], len(columns[_DEVICE_ID])
                self._sizes[number] = self._open[number] = size
                row_numbers += [number] * size
                for of_field, column in zip(merged, columns, strict=True):
                    of_field.extend(column)
        if self._portions == 1:
            self._chunks.append({0: Part(segment.measurements_of(merged, {}), row_numbers)} if row_numbers else {})
            return 0
        members: defaultdict[int, list[int]] = defaultdict(list)
        for index, device_id in enumerate(merged[_DEVICE_ID]):
            members[self._portion_of(device_id)].append(index)
        # Half of the columns of most blocks have one value: nothing is picked from them.
        repeated = [column[:1] if row_numbers and column.count(column[0]) == len(column) else [] for column in merged]
        chunks: dict[int, _Chunk | Part] = {}
        for portion, indexes in members.items():
            if self._first <= portion < self._stop:
                # A second index, since `itemgetter` gives no tuple for a single one.
                pick = itemgetter(*indexes, indexes[0])
                columns = [once or pick(column)[:-1] for once, column in zip(repeated, merged, strict=True)]
                chunks[portion] = _Chunk.of(columns, pick(row_numbers)[:-1])
        self._chunks.append(chunks)
        packed_bytes += _packed_bytes(chunks.values())
        while packed_bytes > self._limits.packed_bytes and self._stop - self._first > 1:
            self._stop -= 1
            packed_bytes -= _packed_bytes(
                chunk for chunks in self._chunks if (chunk := chunks.pop(self._stop, None)) is not None
            )
        return packed_bytes

    def _portion(self, number: int) -> Portion:
        copies: dict[str | None, str | None] = {}
        nothing = Part([], [])
        parts = [(chunks.get(number) or nothing).unpack(copies) for chunks in self._chunks]
        return Portion(number, self.rows, parts)


def _unpack(row: Row, entity: Entity) -> Columns | None:
    """The columns of a row; None if it has a fault, and the row says why."""
    try:
        row.payload = join(entity)
        row.trace_context, columns = segment.unpack_columns(row.payload)
    except PayloadDamaged as damaged:
        row.fault = segment.corrupt(f"is damaged: {damaged}")
        return None
    except (BufferCorrupt, Unavailable) as fault:
        row.fault = fault
        return None
    row.payload = b""
    return columns


def _packed_bytes(chunks: Iterable[_Chunk | Part]) -> int:
    return sum(len(chunk.payload) for chunk in chunks if isinstance(chunk, _Chunk))


def _blocks(rows: Sequence[Row], unpacked_bytes: int) -> Iterator[_Block]:
    """Rows in runs that are read with one query, and take no more memory than a portion while they are split."""
    start = stored = unpacked = 0
    for number, row in enumerate(rows):
        stored += row.stored_bytes
        unpacked += row.unpacked_bytes
        if number > start and (
            number - start == BLOCK_ROWS or stored > _BLOCK_STORED_BYTES or unpacked > unpacked_bytes
        ):
            yield _Block(start, number)
            start, stored, unpacked = number, row.stored_bytes, row.unpacked_bytes
    if rows:
        yield _Block(start, len(rows))
