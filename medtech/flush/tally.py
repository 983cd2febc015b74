"""What a flush did, counted, and its log line."""

import logging
from collections import Counter
from dataclasses import dataclass, field

from medtech.errors import Unavailable
from medtech.persist.settle import SavedAs

_log = logging.getLogger(__name__)

_TYPES_TOLD = 5
"""Types that a log line names; the rest is summed. Templates may have hundreds."""


@dataclass(slots=True)
class Tally:
    """What became of the windows that a flush took.

    `measurements` left the buffer and `waiting` stay in it; `held_up_by` says why. `superseded` are readings of single
    values that were not written because a later one of their period or second was, by measurement type. `outages`
    concern more than the measurements at hand, and end a shard. `errors` counts measurements, or damaged rows, by
    (error, stage).
    """

    windows: int = 0
    measurements: int = 0
    observations: Counter[SavedAs] = field(default_factory=Counter)
    letters: int = 0
    waiting: int = 0
    superseded: Counter[str] = field(default_factory=Counter)
    other_encounters: int = 0
    errors: Counter[tuple[str, str]] = field(default_factory=Counter)
    held_up_by: list[Unavailable] = field(default_factory=list)
    outages: list[Unavailable] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        self.windows += other.windows
        self.measurements += other.measurements
        self.observations += other.observations
        self.letters += other.letters
        self.waiting += other.waiting
        self.superseded += other.superseded
        self.other_encounters += other.other_encounters
        self.errors += other.errors
        self.held_up_by += other.held_up_by
        self.outages += other.outages

    def log(self, seconds: float) -> None:
        """One line of what was done in `seconds`, if there was anything, and one for each kind of hindrance."""
        if self.windows:
            _log.info(
                "%d windows: %d measurements to Observations (%d created, %d updated, %d unchanged), "
                "%d dead letters, %d superseded%s, %d with another encounter, %d waiting, %.2f s%s",
                self.windows,
                self.measurements,
                self.observations[SavedAs.CREATED],
                self.observations[SavedAs.UPDATED],
                self.observations[SavedAs.NO_OPERATION],
                self.letters,
                self.superseded.total(),
                _by_type(self.superseded),
                self.other_encounters,
                self.waiting,
                seconds,
                "".join(f"; {name} ({stage}): {count}" for (name, stage), count in sorted(self.errors.items())),
            )
        # One line for each kind: a hundred Observations that wait for one server are one thing to fix.
        for message in {error.name: error.message for error in (*self.held_up_by, *self.outages)}.values():
            _log.error("The flush is held up, nothing is lost: %s", message)


def _by_type(counts: Counter[str]) -> str:
    """` (heartrate: 8, steps: 4)`: the most frequent types first; empty if there are none."""
    told = counts.most_common(_TYPES_TOLD)
    others = counts.total() - sum(count for _, count in told)
    named = [f"{name}: {count}" for name, count in told] + ([f"others: {others}"] if others else [])
    return f" ({', '.join(named)})" if named else ""
