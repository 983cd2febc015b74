"""When work has to be over, known to everything that the work calls.

A flush sets its deadline for a block of code; whoever waits, further down, asks how much time is left:

    with within(Deadline(240)):
        ...                             # each request, wait and retry asks `seconds_left()`

It is carried by the context (`contextvars`), like a trace id: between a flush and a socket lie rooms whose functions
have no use for it, and the storage packages, whose retries cannot be given it otherwise. A thread starts without it;
a pool's task gets it by `copy_context().run`. Without a deadline there is time without end, as for ingest, whose batch
comes again.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from medtech.errors import OutOfTime


class Deadline:
    """`seconds` from now, by `monotonic` (seconds)."""

    def __init__(self, seconds: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._end = monotonic() + seconds

    def earlier(self, seconds: float) -> "Deadline":
        """One that comes so many seconds before this one."""
        return Deadline(self._end - seconds - self._monotonic(), self._monotonic)

    def seconds_left(self) -> float:
        """Never less than 0."""
        return max(0.0, self._end - self._monotonic())

    @property
    def over(self) -> bool:
        return self.seconds_left() == 0.0


_current: ContextVar[Deadline | None] = ContextVar("deadline", default=None)


@contextmanager
def within(deadline: Deadline) -> Iterator[None]:
    """Sets the deadline of what is called inside, in place of the one outside, which may be the earlier one."""
    token = _current.set(deadline)
    try:
        yield
    finally:
        _current.reset(token)


def seconds_left() -> float:
    """Until the deadline in force, infinite without one."""
    deadline = _current.get()
    return math.inf if deadline is None else deadline.seconds_left()


def ask(before: str) -> float:
    """`seconds_left()`, which is more than 0. Raises OutOfTime; `before` says what is not begun any more."""
    seconds = seconds_left()
    if not seconds:
        raise OutOfTime(before)
    return seconds
