"""What a flush did, counted, and its log line."""

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from medtech.dotnet import ticks
from medtech.errors import ErrorKind, StorageUnavailable, Unavailable
from medtech.persist.comparison import Outcome
from medtech.persist.settle import SavedAs

_log = logging.getLogger(__name__)

_TYPES_TOLD = 5
"""Types that a log line names; the rest is summed. Templates may have hundreds."""

LATENCY_CLASS_MS = 100
"""Of latencies of minutes. In single ones, a window of a million measurements would have a count for each."""

_LATENCY_CLASS = LATENCY_CLASS_MS * ticks.TICKS_PER_MILLISECOND


@dataclass(slots=True)
class Tally:
    """What became of the windows that a flush took.

    `measurements` left the buffer and `waiting` stay in it; `held_up_by` says why. `superseded` are readings of single
    values that were not written because a later one of their period or second was, by measurement type. `outages`
    concern more than the measurements at hand, and end a shard. `errors` counts measurements, or damaged rows;
    `letters_by_error` counts the letters again, by (error, stage). `latencies_ms` counts written measurements by the
    time since their events were enqueued, in classes of LATENCY_CLASS_MS. `comparing`: nothing was to be written;
    `compared` counts the Observations that were compared for good, by (type, outcome).
    """

    windows: int = 0
    groups: int = 0
    measurements: int = 0
    observations: Counter[SavedAs] = field(default_factory=Counter)
    letters: int = 0
    waiting: int = 0
    superseded: Counter[str] = field(default_factory=Counter)
    other_encounters: int = 0
    errors: Counter[ErrorKind] = field(default_factory=Counter)
    letters_by_error: Counter[tuple[str, str]] = field(default_factory=Counter)
    latencies_ms: Counter[int] = field(default_factory=Counter)
    comparing: bool = False
    compared: Counter[tuple[str, str]] = field(default_factory=Counter)
    held_up_by: list[Unavailable] = field(default_factory=list)
    outages: list[Unavailable] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        self.windows += other.windows
        self.groups += other.groups
        self.measurements += other.measurements
        self.observations += other.observations
        self.letters += other.letters
        self.waiting += other.waiting
        self.superseded += other.superseded
        self.other_encounters += other.other_encounters
        self.errors += other.errors
        self.letters_by_error += other.letters_by_error
        self.latencies_ms += other.latencies_ms
        self.compared += other.compared
        self.held_up_by += other.held_up_by
        self.outages += other.outages

    def wrote(self, enqueued: Iterable[int], now: int) -> None:
        """Counts measurements that are written at `now`, by their events' enqueued times (ticks)."""
        # Clocks differ: an event may be enqueued "later" than it is written.
        for time, count in Counter(enqueued).items():
            self.latencies_ms[max(now - time, 0) // _LATENCY_CLASS * LATENCY_CLASS_MS] += count

    def counts(self) -> dict[str, int]:
        """The counts by name, for the span of a window: what it added to its shard's tally."""
        return {
            "groups": self.groups,
            "measurements": self.measurements,
            "created": self.observations[SavedAs.CREATED],
            "updated": self.observations[SavedAs.UPDATED],
            "unchanged": self.observations[SavedAs.NO_OPERATION],
            "dead_letters": self.letters,
            "waiting": self.waiting,
            "outages": len(self.outages),
        }

    def hindrances(self) -> list[str]:
        """What held it up, in one message for each kind and each account that is away: a hundred Observations that wait
        for one server are one thing to fix."""
        messages: dict[tuple[str, str], str] = {}
        for error in (*self.outages, *self.held_up_by):
            account = error.account if isinstance(error, StorageUnavailable) else ""
            messages.setdefault((error.name, account), error.message)
        return list(messages.values())

    def log(self, seconds: float) -> None:
        """One line of what was done in `seconds`, if there was anything, and one for each of the hindrances."""
        if self.windows and self.comparing:
            outcomes = Counter[str]()
            differing = Counter[str]()
            for (name, outcome), count in self.compared.items():
                outcomes[outcome] += count
                differing[name] += count if outcome != Outcome.SAME else 0
            _log.info(
                "%d windows compared, nothing written: %d Observations same, %d absent, %d different%s, "
                "%d dead letters, %d measurements waiting, %.2f s%s",
                self.windows,
                outcomes[Outcome.SAME],
                outcomes[Outcome.ABSENT],
                outcomes[Outcome.DIFFERENT],
                _by_type(+differing),
                self.letters,
                self.waiting,
                seconds,
                self._errors_told(),
            )
        elif self.windows:
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
                self._errors_told(),
            )
        for message in self.hindrances():
            _log.error("The flush is held up, nothing is lost: %s", message)

    def _errors_told(self) -> str:
        return "".join(f"; {kind.name} ({kind.stage}): {count}" for kind, count in sorted(self.errors.items()))


def _by_type(counts: Counter[str]) -> str:
    """` (heartrate: 8, steps: 4)`: the most frequent types first; empty if there are none."""
    told = counts.most_common(_TYPES_TOLD)
    others = counts.total() - sum(count for _, count in told)
    named = [f"{name}: {count}" for name, count in told] + ([f"others: {others}"] if others else [])
    return f" ({', '.join(named)})" if named else ""
