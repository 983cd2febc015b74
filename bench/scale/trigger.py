"""The Event Hubs trigger of one instance, batch by batch: how large batches get, and how busy the core is with them.

Each partition has one batch in hand at a time. What arrives meanwhile is the next one, up to the largest size.
Partitions share the core, first come, first served; while a batch waits for tables or its checkpoint the core is free.

    arrives ──► waits in the hub ──► core ──► writes and checkpoint ──► done
                     ▲                                 │
                     └────── the partition's next ─────┘
"""

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

_BILLED_STEP_SECONDS = 0.1
"""The time that an instance works is billed in steps of this: Flex Consumption's billing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """`maxEventBatchSize`, `minEventBatchSize` and `maxWaitTime` of host.json."""

    most: int = 500
    least: int = 1
    longest_wait_seconds: float = 60


EACH_AS_IT_COMES = Sizes()
"""As in host.json: the trigger waits for nothing."""


class Pace(NamedTuple):
    """What one instance did in `seconds`. Messages are `arrived` = `done` + `in_hand` + `waiting`, all from the start.

    `billed_seconds` is how long at least one batch was in hand, as it is billed; `batches` are those that were begun.
    """

    seconds: float
    arrived: int
    done: int
    in_hand: int
    waiting: int
    batches: int
    core_seconds: float
    billed_seconds: float

    @property
    def load(self) -> float:
        """Of the core, from 0 to 1."""
        return self.core_seconds / self.seconds

    @property
    def batch(self) -> float:
        """Messages in a batch, on average."""
        return (self.done + self.in_hand) / self.batches if self.batches else 0.0


def simulate(
    partitions: int,
    rate: float,
    sizes: Sizes,
    core_seconds: Callable[[int], float],
    wait_seconds: float,
    *,
    seconds: float,
    billed_seconds: float = 1.0,
) -> Pace:
    """One instance with `partitions`, each of which gets `rate` messages a second, evenly, from time 0 on.

    `core_seconds` is what a batch of so many messages takes of the core, `wait_seconds` what it waits after that.
    """
    taken = [0] * partitions
    # Partitions are not in step: each has its first message at another time.
    phases = [(number + 1) / partitions for number in range(partitions)]
    ready = [(_ready(0, phases[number], rate, sizes, 0.0), number) for number in range(partitions)]
    heapq.heapify(ready)
    core_free = core = billed = billed_until = 0.0
    in_hand: list[tuple[float, int]] = []
    batches = done = 0
    while ready and ready[0][0] <= seconds:
        begins, number = heapq.heappop(ready)
        size = min(sizes.most, max(1, _arrived(begins, phases[number], rate) - taken[number]))
        taken[number] += size
        batches += 1
        on_core = max(begins, core_free)
        core_free = on_core + core_seconds(size)
        core += max(0.0, min(core_free, seconds) - min(on_core, seconds))
        ends = core_free + wait_seconds
        in_hand.append((ends, size))
        billed_to = max(ends, begins + billed_seconds)
        billed += max(0.0, min(billed_to, seconds) - max(begins, min(billed_until, seconds)))
        billed_until = max(billed_until, billed_to)
        heapq.heappush(ready, (_ready(taken[number], phases[number], rate, sizes, ends), number))
    done = sum(size for ends, size in in_hand if ends <= seconds)
    working = sum(size for ends, size in in_hand if ends > seconds)
    arrived = sum(_arrived(seconds, phase, rate) for phase in phases)
    billed = min(seconds, math.ceil(round(billed / _BILLED_STEP_SECONDS, 6)) * _BILLED_STEP_SECONDS)
    return Pace(seconds, arrived, done, working, arrived - sum(taken), batches, core, billed)


def _arrived(time: float, phase: float, rate: float) -> int:
    # The first message of a partition comes at phase / rate. Rounded, since a batch begins at the moment of an arrival.
    return max(0, math.floor(round(time * rate - phase, 6)) + 1)


def _ready(taken: int, phase: float, rate: float, sizes: Sizes, free: float) -> float:
    """When the partition's next batch begins, if it is free from `free` on and has taken so many messages."""
    first = (taken + phase) / rate
    enough = (taken + sizes.least - 1 + phase) / rate
    return max(free, min(enough, max(first, free) + sizes.longest_wait_seconds) if sizes.least > 1 else first)
