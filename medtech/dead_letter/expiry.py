"""Dead letters are kept for some days, not for ever: they hold health data."""

import logging
import time
from collections.abc import Callable

from medtech.dead_letter.store import DeadLetters
from medtech.errors import Unavailable

_log = logging.getLogger(__name__)

PAUSE_SECONDS = 3600.0


class Expiry:
    """Deletes letters that are older than `days`, once an hour and process; 0 keeps them for ever."""

    def __init__(self, dead_letters: DeadLetters, days: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._dead_letters = dead_letters
        self._days = days
        self._monotonic = monotonic
        self._next = float("-inf")

    def run(self, now: int) -> int:
        """How many letters were deleted; `now` in ticks. Storage that is away is logged, and tried again later."""
        if not self._days or self._monotonic() < self._next:
            return 0
        self._next = self._monotonic() + PAUSE_SECONDS
        try:
            expired = self._dead_letters.expire(now, self._days)
        except Unavailable as error:
            _log.error("Dead letters could not be expired: %s", error.message)
            return 0
        if expired:
            _log.warning("%d dead letters have expired: last written over %d days ago", expired, self._days)
        return expired
