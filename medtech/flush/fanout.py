"""A flush on several instances: the timer puts a message for each shard that is due, and whoever gets it flushes it.

    Fanout.run         the timer: marks and messages, and what was found on the poison queue
    Fanout.carry_out   a message: its shard, under the lease that every flush takes

The messages are put by the app and not by an output binding: a binding puts them after the function has returned, when
nobody can take a mark back whose message could not be put, and it keeps neither the flush's deadline nor its count of
throttled requests.

What holds a shard up is no failure of its message: its rows wait, the message is done, and the next tick puts another.
Only what ends the process leaves the message on the queue, which gives it out again until the host has moved it to the
poison queue.
"""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from medtech.deadline import Deadline, within
from medtech.dotnet import ticks
from medtech.errors import PoisonShard, Unavailable
from medtech.flush.message import FlushMessage
from medtech.flush.run import Flush
from medtech.flush.shard_marks import POISON_SECONDS, ShardMark, ShardMarks
from medtech.flush.tally import Tally
from medtech.storage.queue import Queue

_log = logging.getLogger(__name__)

TICK_SECONDS = 60
"""What the timer may take to find the shards that are due, and to put their messages."""

_MARK_SECONDS = 30
"""What the mark of a message may take before its flush, and after it again."""

_AGAIN_SECONDS = 30
"""After which a message is tried again whose mark could not be read or deleted."""

MOST_POISON_MESSAGES = 320
"""Looked at in a tick. There is one for each shard that ends the process; more are somebody else's, and without a bound
they would take the tick's time from the shards."""


class Put(NamedTuple):
    """What a tick did. `tally` has what kept it from more; `put` messages are new, `under_way` are older ones'."""

    tally: Tally
    put: int
    under_way: int


@dataclass(frozen=True, kw_only=True)
class Fanout:
    """What the timer and the messages need; one per process. `poison` is the queue to which the host moves messages."""

    flush: Flush
    marks: ShardMarks
    queue: Queue
    poison: Queue
    clock: Callable[[], int] = ticks.now

    def run(self, trace_context: str) -> Put:
        """Puts a message for each shard that is due and has none; `trace_context` is the timer's."""
        tally, put, under_way = Tally(), 0, 0
        try:
            with within(Deadline(TICK_SECONDS)):
                marks = self._poisoned(self.marks.all())
                now = self.clock()
                due = self.flush.due()
                tally.outages += self.flush.buffer.away()
                waiting = [shard for shard in due if shard in marks and marks[shard].is_poisoned(now)]
                if waiting:
                    tally.held_up_by.append(_poison_shard(waiting))
                for shard in due:
                    if shard in waiting:
                        continue
                    before = marks.get(shard)
                    if (before is None or not before.lives(now)) and self._put(shard, before, trace_context):
                        put += 1
                    else:
                        under_way += 1
        except Unavailable as error:
            tally.outages.append(error)
        if put:
            _log.info("%d shards are put on the queue to be flushed, %d are under way", put, under_way)
        tally.log(0.0)
        return Put(tally, put, under_way)

    def carry_out(self, message: FlushMessage, tries: int) -> Tally | None:
        """Flushes the shard of a message that was given out for the `tries`-th time; None if there was nothing to do.

        Raises no Unavailable: the tally has it.
        """
        try:
            with within(Deadline(_MARK_SECONDS)):
                mark = self.marks.begin(message, tries)
        except Unavailable as error:
            self._put_back(message)
            tally = Tally(outages=[error])
            tally.log(0.0)
            return tally
        if mark is None:
            _log.debug("Shard %d: a message came late or twice, and nothing is left to do for it.", message.shard)
            return None
        tally = self.flush.run_shard(message.shard)
        try:
            with within(Deadline(_MARK_SECONDS)):
                self.marks.end(mark)
        except Unavailable:
            self._put_back(message)
        return tally

    def _put(self, shard: int, before: ShardMark | None, trace_context: str) -> bool:
        """Whether a message was put; not if another timer was first."""
        mark = self.marks.set(shard, before)
        if mark is None:
            return False
        try:
            self.queue.put(FlushMessage(shard, mark.token, trace_context).write())
        except Unavailable:
            # The tick may be over, which is why the message was not put.
            with suppress(Unavailable), within(Deadline(_MARK_SECONDS)):
                self.marks.take_back(mark)
            raise
        return True

    def _put_back(self, message: FlushMessage) -> None:
        """In place of a failure, which would count towards the poison queue. If it fails too, the mark lapses."""
        with suppress(Unavailable), within(Deadline(_MARK_SECONDS)):
            self.queue.put(message.write(), after_seconds=_AGAIN_SECONDS)

    def _poisoned(self, marks: Mapping[int, ShardMark]) -> dict[int, ShardMark]:
        """The marks, with what the poison queue says."""
        found = dict(marks)
        for taken in islice(self.poison.take(), MOST_POISON_MESSAGES):
            message = FlushMessage.read(taken.body)
            mark = found.get(message.shard) if message is not None else None
            # Of another message's mark it says nothing: that one is tried by itself. One that was never begun failed
            # before the app was asked, as while no worker starts.
            if message is not None and mark is not None and mark.token == message.token:
                if mark.tries:
                    if (changed := self.marks.poison(mark)) is not None:
                        found[mark.shard] = changed
                else:
                    self.marks.end(mark)
                    del found[mark.shard]
            self.poison.delete(taken)
        return found


def _poison_shard(shards: list[int]) -> PoisonShard:
    named = ", ".join(map(str, shards))
    return PoisonShard(
        f"The flush of shard {named} ended the process, or failed, each time it was tried. Its measurements stay in "
        f"the buffer, the other shards go on, and it is tried again {POISON_SECONDS // 60} minutes later. Look in the "
        "host's log for what ended the process; for want of memory, give instances more, or make FLUSH_PORTION_MB "
        "smaller."
    )
