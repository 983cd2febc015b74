"""How long to wait for a server that is away, and when to leave the data for the next flush."""

import random
import time
from collections.abc import Callable

from medtech import deadline

MAX_RETRIES = 5


class Patience:
    """The waits of one piece of work: at most five, each longer, with jitter, together at most `seconds`.

    None is longer than the time that is left until the deadline. Jitter keeps two writers that collided from colliding
    again at once. `pause` sleeps for so many seconds; it may return early.
    """

    def __init__(self, seconds: float = 60.0, pause: Callable[[float], object] = time.sleep) -> None:
        self._left_seconds = seconds
        self._pause = pause
        self._retries = 0

    def waits(self, shortest_seconds: float, asked_seconds: float | None = None) -> bool:
        """Waits before the next try and returns True; returns False, without waiting, when there is to be no other.

        `shortest_seconds` doubles with each try; `asked_seconds` is the server's Retry-After, which is never cut short.
        """
        seconds = max(shortest_seconds * 2**self._retries * random.uniform(0.5, 1.0), asked_seconds or 0.0)
        if self._retries == MAX_RETRIES or seconds > min(self._left_seconds, deadline.seconds_left()):
            return False
        self._retries += 1
        self._left_seconds -= seconds
        if seconds > 0:
            self._pause(seconds)
        return True
