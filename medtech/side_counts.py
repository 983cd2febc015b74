"""Counts of what happens far below a batch or a flush, and is no part of any result: throttled answers, Devices made.

    with collected() as counts:
        ...                             # whoever meets one, further down, says `count(Throttled("storage"))`
    counts[Throttled("storage")]

Carried by the context (`contextvars`), as the deadline is, and for its reason: the rooms in between have no use for it,
and the storage packages cannot be given it otherwise. Outside of `collected` nobody counts.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import NamedTuple


class Throttled(NamedTuple):
    """An answer 429 or 503; `server` is `fhir` or `storage`."""

    server: str


class Settled(NamedTuple):
    """A Patient or Device is stored as it should be; `operation` in the words of SavedAs."""

    resource: str
    operation: str


SideCount = Throttled | Settled

THROTTLED_STATUSES = (429, 503)

_current: ContextVar["Counter[SideCount] | None"] = ContextVar("side_counts", default=None)
_counting = Lock()


@contextmanager
def collected() -> Iterator[Counter[SideCount]]:
    """What is counted inside, by this thread and by tasks that it hands its context to."""
    counts: Counter[SideCount] = Counter()
    token = _current.set(counts)
    try:
        yield counts
    finally:
        _current.reset(token)


def counting(function: Callable[[], None]) -> Callable[[], None]:
    """The function for a thread of its own, in which it counts where the caller does; nothing else of the caller's
    context goes with it, such as its deadline."""
    counts = _current.get()

    def run() -> None:
        _current.set(counts)
        function()

    return run


def count(what: SideCount) -> None:
    counts = _current.get()
    if counts is not None:
        with _counting:
            counts[what] += 1
