"""Table `flushes`: which shards have a message on the queue, so that none is put twice.

    PartitionKey  `shard`
    RowKey        `shard-002`
    token         of the message that the mark goes with
    sign          ticks: when the message was put, or last begun
    tries         how often the message had been given out when it was last begun; 0: it waits
    poisoned      ticks: when the shard was found to end the process; 0: it does not

A mark goes with its message: whoever is done with the message deletes it. If nobody does, it has lapsed LIFE_SECONDS
after its last sign, and the timer puts another message. So what can happen is this:

    two timers                           both see no mark; one creates it, the other is refused, and puts nothing
    dead between mark and message        the mark lapses
    marked, but the answer was lost      no message is put; the timer knows the mark, and takes it for lapsed at once
    put, but the answer was lost         the mark was taken back: the message does nothing; or another one has come that
                                         nobody has begun: it works in that one's place, and that one does nothing
    the message comes twice              the second finds the shard begun, or no mark: it does nothing
    it comes hours later                 its mark has lapsed, or another message's mark that nobody has begun is there:
                                         it works in that one's place, and that one does nothing
    a flush that takes long              each beginning is a sign, and no invocation lasts as long as a mark lives
    dead while it flushes                the queue gives the message out again while the mark still lives

Nothing rests on the marks for safety: two flushes of a shard are kept apart by its lease, and below that by ETags.
Every change is by ETag, so that storage decides. Clocks may differ: a mark from the future lapses as one from the past
does. The table holds no health data. Ticks are stored as text: the protocol's numbers of 64 bits are text as well.
"""

import re
import uuid
from collections.abc import Callable
from typing import NamedTuple

from medtech.dotnet import ticks
from medtech.errors import Unavailable
from medtech.flush.message import FlushMessage
from medtech.group.windows import shard_name
from medtech.storage.connection import Storage
from medtech.storage.table import Entity, Operation, OperationFailed, quoted

TABLE = "flushes"

LIFE_SECONDS = 15 * 60
"""More than `functionTimeout`, and more than the 10 minutes after which the queue gives out the message of a host that
died: if the mark had lapsed by then, a new message would begin to count its tries anew, and the shard would end
processes for ever."""

POISON_SECONDS = 60 * 60
"""How long a shard that ends the process waits. What ended it may be over by then: a neighbour that took the memory, a
fault that a new version has not."""

_PARTITION = "shard"
_ATTEMPTS = 3
"""To begin a message while others change its mark."""


class ShardMark(NamedTuple):
    """A row of the table. Times are ticks; `poisoned` is 0 if the shard does not end the process."""

    shard: int
    token: str
    sign: int
    tries: int
    poisoned: int
    etag: str = ""

    def lives(self, now: int) -> bool:
        return _lives(self.sign, now)

    def is_poisoned(self, now: int) -> bool:
        """Whether the shard is not to be tried now."""
        return abs(now - self.poisoned) < POISON_SECONDS * ticks.TICKS_PER_SECOND


class ShardMarks:
    """The table; `clock` gives ticks. Everything that asks storage raises StorageUnavailable."""

    def __init__(self, storage: Storage, clock: Callable[[], int] = ticks.now) -> None:
        self._table = storage.table(TABLE)
        self._clock = clock
        self._without_message: dict[str, int] = {}

    def all(self) -> dict[int, ShardMark]:
        """The marks by shard. One of this timer's own, whose message was not put, has lapsed."""
        now = self._clock()
        self._without_message = {token: sign for token, sign in self._without_message.items() if _lives(sign, now)}
        marks = map(_read, self._table.query(f"PartitionKey eq {quoted(_PARTITION)}"))
        return {
            mark.shard: mark._replace(sign=0) if mark.token in self._without_message and not mark.tries else mark
            for mark in marks
            if mark is not None
        }

    def set(self, shard: int, before: ShardMark | None) -> ShardMark | None:
        """Marks a shard whose mark, `before`, has lapsed or is missing; None if another timer was first."""
        poisoned = before.poisoned if before is not None else 0
        mark = ShardMark(shard, uuid.uuid4().hex, self._clock(), 0, poisoned, before.etag if before else "")
        try:
            changed = self._change(mark)
            if changed is None:
                # Unless a first attempt did it, whose answer was an error: without a message, this mark would hold the
                # shard up until it lapses.
                row = self._table.get(_PARTITION, shard_name(shard))
                found = _read(row) if row is not None else None
                changed = found if found is not None and found.token == mark.token else None
        except Unavailable:  # whether it is made now, or still will be, is not known
            self._without_message[mark.token] = mark.sign
            raise
        return changed

    def take_back(self, mark: ShardMark) -> None:
        """Deletes a mark that was set, and whose message could not be put. If that fails, it has lapsed all the same:
        for this timer, and for another one in LIFE_SECONDS."""
        self._without_message[mark.token] = mark.sign
        self.end(mark)

    def begin(self, message: FlushMessage, tries: int) -> ShardMark | None:
        """Takes over the mark of a message that is carried out now; None if there is nothing to do for it."""
        for _ in range(_ATTEMPTS):
            row = self._table.get(_PARTITION, shard_name(message.shard))
            mark = _read(row) if row is not None else None
            # One that has not begun may be taken over. Without this, messages that wait longer than a mark lives would
            # each find the mark of the next, and none would ever be carried out.
            if mark is None or (mark.token != message.token and mark.tries):
                return None
            begun = mark._replace(token=message.token, sign=self._clock(), tries=max(tries, 1))
            if (changed := self._change(begun)) is not None:
                return changed
        return None

    def end(self, mark: ShardMark) -> None:
        """Deletes a mark, unless it was changed since."""
        self._table.change([Operation("delete", _keys(mark.shard), mark.etag)])

    def poison(self, mark: ShardMark) -> ShardMark | None:
        """Notes that the shard ends the process; None if the mark was changed since."""
        return self._change(mark._replace(poisoned=self._clock()))

    def _change(self, mark: ShardMark) -> ShardMark | None:
        entity = _keys(mark.shard) | {
            "token": mark.token,
            "sign": str(mark.sign),
            "tries": mark.tries,
            "poisoned": str(mark.poisoned),
        }
        operation = Operation("replace", entity, mark.etag) if mark.etag else Operation("create", entity)
        try:
            [etag] = self._table.transact([operation])
        except OperationFailed:
            return None
        return mark._replace(etag=etag)


def _lives(sign: int, now: int) -> bool:
    return abs(now - sign) < LIFE_SECONDS * ticks.TICKS_PER_SECOND


def _keys(shard: int) -> Entity:
    return {"PartitionKey": _PARTITION, "RowKey": shard_name(shard)}


def _read(row: Entity) -> ShardMark | None:
    """None for a row that is not the app's."""
    shard = re.fullmatch(r"shard-([0-9]{3})", row["RowKey"])
    if shard is None:
        return None
    tries = row.get("tries")
    return ShardMark(
        shard=int(shard[1]),
        token=str(row.get("token", "")),
        sign=_ticks(row, "sign"),
        tries=tries if type(tries) is int else 0,
        poisoned=_ticks(row, "poisoned"),
        etag=row["etag"],
    )


def _ticks(row: Entity, name: str) -> int:
    text = str(row.get(name, ""))
    return int(text) if re.fullmatch(r"[0-9]{1,19}", text) else 0
