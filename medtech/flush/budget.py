"""How the time of a flush is divided."""

from collections.abc import Callable
from typing import NamedTuple, Self

from medtech.deadline import Deadline

_SHARE = 1 / 12
"""Of the budget, for the letters and for the rows each: 20 s of 240. Without time of their own, a flush that is cut
short would have written Observations and not settled a row, and so would the next one."""


class Budget(NamedTuple):
    """What comes later may take what is left by what comes before.

    `work` is when reading, converting and writing to the FHIR server end, `letters` when dead letters do, and `rows`
    when the buffer's rows are settled and the flush is over.
    """

    work: Deadline
    letters: Deadline
    rows: Deadline

    @classmethod
    def of(cls, seconds: float, monotonic: Callable[[], float]) -> Self:
        """The budget of a flush that starts now; `monotonic` gives seconds."""
        rows = Deadline(seconds, monotonic)
        return cls(rows.earlier(2 * _SHARE * seconds), rows.earlier(_SHARE * seconds), rows)
