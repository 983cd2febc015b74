"""Which messages of a partition may be the ones that end the process, and what to try next. Values only: no storage.

The messages of a batch are one suspect, a range of sequence numbers with `CHANCES` chances; each death while it is
tried takes one. A range without any is split into `PARTS`, each with a single chance, so that the deaths close in on
the message: of 500 messages one is found after two more. Parts that go through are marked as stored. A message that
is alone and has no chance left is not tried again.

Deaths and not failures: what Python sees as an exception is dealt with elsewhere.
"""

import json
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from typing import NamedTuple

from medtech.model import DeviceEvent

CHANCES = 3
"""A deployment or an instance that is taken away ends a process too, so one death says little."""
PARTS = 32
"""Each level of splitting costs a death, which takes a start of the worker and a growing wait of the retry policy; a
part that goes through costs two writes of a row. With 32 parts, 500 messages take two levels; with halves, nine."""

_number = attrgetter("sequence_number")


class Suspect(NamedTuple):
    """Sequence numbers `first` to `last`, both included; `newest` is the latest enqueued time (ticks) among them.

    `deaths` is how often the process ended while they, or a range that held them, were tried.
    """

    first: int
    last: int
    newest: int
    deaths: int = 0
    chances: int = CHANCES
    stored: bool = False


class Trial(NamedTuple):
    """Events to try together. `hopeless`: it is one event, which has no chance left."""

    events: Sequence[DeviceEvent]
    deaths: int
    hopeless: bool

    @property
    def borders(self) -> tuple[int, int]:
        """The first and the last sequence number."""
        return self.events[0].sequence_number, self.events[-1].sequence_number


@dataclass(frozen=True, slots=True)
class Suspects:
    """Ranges that do not overlap, in order of their numbers."""

    ranges: tuple[Suspect, ...] = ()

    def of_batch(self, events: Sequence[DeviceEvent]) -> "Suspects":
        """These ranges as far as the batch leaves them standing, and the events outside of them as suspects too.

        Ranges before the batch are behind the checkpoint. A range that holds an event enqueued later than any that it
        was made of is about another hub of the same name, whose numbers began again.
        """
        valid = [
            each
            for each in self.ranges
            if each.last >= events[0].sequence_number
            and all(event.enqueued_time <= each.newest for event in _within(events, each.first, each.last))
        ]
        fresh: list[Suspect] = []
        for run in _outside(events, valid):
            newest = max(event.enqueued_time for event in run)
            fresh.append(Suspect(run[0].sequence_number, run[-1].sequence_number, newest))
        return Suspects(tuple(sorted(valid + fresh)))

    def next_trial(self, events: Sequence[DeviceEvent]) -> Trial | None:
        """The least suspected events of the batch that are not stored; None if all are."""
        trials = (
            Trial(within, each.deaths, each.first == each.last and not each.chances)
            for each in self.ranges
            if not each.stored and (within := _within(events, each.first, each.last))
        )
        return min(trials, key=attrgetter("deaths"), default=None)

    def after_death(self, first: int, last: int) -> "Suspects":
        """After a process has ended while it tried these numbers."""
        return self._changed(first, last, _after_death)

    def after_storing(self, first: int, last: int) -> "Suspects":
        """After these numbers have gone through."""
        return Suspects(tuple(_joined(self._changed(first, last, lambda part: [part._replace(stored=True)]).ranges)))

    def after_batch(self, events: Sequence[DeviceEvent]) -> "Suspects":
        """What is left for later batches: ranges beyond this one, unless they are all stored."""
        rest = tuple(each for each in self.ranges if each.last > events[-1].sequence_number)
        return Suspects() if all(each.stored for each in rest) else Suspects(rest)

    def to_json(self) -> str:
        return json.dumps(self.ranges, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> "Suspects":
        """Raises ValueError or TypeError for what `to_json` did not write."""
        ranges: list[Suspect] = []
        for first, last, newest, deaths, chances, stored in json.loads(text):
            ranges.append(Suspect(int(first), int(last), int(newest), int(deaths), int(chances), bool(stored)))
        return cls(tuple(ranges))

    def _changed(self, first: int, last: int, change: Callable[[Suspect], list[Suspect]]) -> "Suspects":
        """With `change` made to what lies within `first` to `last`; ranges that cross a border are cut there."""
        changed: list[Suspect] = []
        for each in self.ranges:
            start, end = max(each.first, first), min(each.last, last)
            if start > end:
                changed.append(each)
                continue
            if each.first < start:
                changed.append(each._replace(last=start - 1))
            changed += change(each._replace(first=start, last=end))
            if end < each.last:
                changed.append(each._replace(first=end + 1))
        return Suspects(tuple(changed))


def _after_death(suspect: Suspect) -> list[Suspect]:
    if suspect.stored:
        return [suspect]
    suspect = suspect._replace(deaths=suspect.deaths + 1, chances=max(0, suspect.chances - 1))
    count = suspect.last - suspect.first + 1
    if suspect.chances or count == 1:
        return [suspect]
    size = -(-count // PARTS)
    return [
        suspect._replace(first=start, last=min(start + size - 1, suspect.last), chances=1)
        for start in range(suspect.first, suspect.last + 1, size)
    ]


def _joined(ranges: Sequence[Suspect]) -> Iterator[Suspect]:
    """Stored ranges that meet as one, so that batches with ever other borders do not fill the row."""
    last: Suspect | None = None
    for each in ranges:
        if last is not None and last.stored and each.stored and last.last + 1 == each.first:
            last = last._replace(last=each.last, newest=max(last.newest, each.newest))
            continue
        if last is not None:
            yield last
        last = each
    if last is not None:
        yield last


def _within(events: Sequence[DeviceEvent], first: int, last: int) -> Sequence[DeviceEvent]:
    """The events of a batch, which is in order, from one sequence number to another."""
    return events[bisect_left(events, first, key=_number) : bisect_right(events, last, key=_number)]


def _outside(events: Sequence[DeviceEvent], ranges: Sequence[Suspect]) -> Iterator[Sequence[DeviceEvent]]:
    """The runs of events between ranges, which are in order."""
    start = 0
    borders = chain.from_iterable((each.first, each.last + 1) for each in ranges)
    places = [bisect_left(events, border, key=_number) for border in borders] + [len(events)]
    for begin, end in zip(places[::2], [*places[1::2], len(events)], strict=True):
        if start < begin:
            yield events[start:begin]
        start = end
