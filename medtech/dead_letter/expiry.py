"""Dead letters hold health data, so they are kept for some days, not for ever."""

import logging
import time
from collections.abc import Callable

from medtech.dead_letter.store import DeadLetters
from medtech.errors import Unavailable, UnexpectedFault

_log = logging.getLogger(__name__)

PAUSE_SECONDS = 3600.0


class Expiry:
    """Deletes letters older than `days`, once an hour in each process; 0 keeps them for ever.

    `also` is called with the time (ticks) and the days, for other health data that is kept as long.
    """

    def __init__(
        self,
        dead_letters: DeadLetters,
        days: int,
        monotonic: Callable[[], float] = time.monotonic,
        also: Callable[[int, int], object] = lambda now, days: None,
    ) -> None:
        self._dead_letters = dead_letters
        self._also = also
        self._days = days
        self._monotonic = monotonic
        self._next = float("-inf")

    def run(self, now: int) -> int:
        """Returns how many letters were deleted; `now` is in ticks.

        What goes wrong is logged, and not raised: the next hour tries again.
        """
        if not self._days or self._monotonic() < self._next:
            return 0
        self._next = self._monotonic() + PAUSE_SECONDS
        try:
            expired = self._dead_letters.expire(now, self._days)
            self._also(now, self._days)
        except Unavailable as error:
            _log.error("Dead letters or differences that are too old could not be deleted: %s", error.message)
            return 0
        except Exception as error:  # noqa: BLE001 - it must not hide what the flush before it raised
            fault = UnexpectedFault.of(error, "deleting old dead letters", then="Report it; the next hour tries again.")
            _log.error("%s", fault.message)
            return 0
        if expired:
            _log.warning(
                "%d dead letters were deleted: last written over %d days ago (DEAD_LETTER_DAYS)", expired, self._days
            )
        return expired
