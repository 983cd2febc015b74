"""Setting the checkpoints of a consumer group back to a time, so that the app reads again what it has read since."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from medtech.errors import MedTechError, Severity, Stage

if TYPE_CHECKING:
    from medtech.checkpoints.blobs import Checkpoint, CheckpointBlobs
    from medtech.checkpoints.hub import EventHub

_AT_ONCE = 8
"""Partitions: asking for one takes a connection and a second or two."""


class RewindRefused(MedTechError):
    """Checkpoints cannot be set back now, or not so; the message says what to do first."""

    stage = Stage.SETUP
    severity = Severity.CRITICAL


class Outcome(StrEnum):
    """What becomes of a partition's checkpoint."""

    SET_BACK = "set back"
    EARLIER = "left: it is earlier already"
    NOTHING_SINCE = "left: no event came since then"
    NO_EVENT = "left: the hub holds no event any more"
    NO_CHECKPOINT = "left: it has no checkpoint, and nothing was read"
    UNREADABLE = "left: its checkpoint has no sequence number"
    CHANGED = "left: its checkpoint changed in the meantime"


@dataclass(frozen=True, slots=True)
class Step:
    """What is done about one partition. Positions are the last event that is done; times are UTC.

    `events` come again: they were done, the first enqueued at `first_time`, the last at `last_time`. `held_from` is the
    time of the oldest event that the hub holds, where what came before it since the time asked for is gone.
    """

    partition: str
    outcome: Outcome
    checkpoint: Checkpoint | None = None
    becomes: int | None = None
    events: int = 0
    first_time: datetime | None = None
    last_time: datetime | None = None
    held_from: datetime | None = None


def plan(
    hub: EventHub,
    checkpoints: dict[str, Checkpoint],
    partitions: Sequence[str],
    to: datetime,
    looked_at: Callable[[], object] = lambda: None,
) -> list[Step]:
    """What a rewind to a time does to each of the partitions; `looked_at` is called for each. Raises HubUnavailable."""

    def step(partition: str) -> Step:
        made = _step(hub, partition, checkpoints.get(partition), to)
        looked_at()
        return made

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        return list(threads.map(step, partitions))


def carry_out(steps: Sequence[Step], blobs: CheckpointBlobs) -> list[Step]:
    """Sets the checkpoints back, and returns what became of each. Raises StorageUnavailable, StorageRefused."""
    return [_carried_out(step, blobs) for step in steps]


def chosen(partitions: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Those of a hub's partitions that are wanted; all, if none is named. Raises RewindRefused."""
    for partition in wanted:
        if partition not in partitions:
            raise RewindRefused(f"The hub has no partition {partition}: it has {', '.join(partitions)}.")
    return [partition for partition in partitions if not wanted or partition in wanted]


def refuse_while_held(held: dict[str, float], consumer_group: str) -> None:
    """Raises RewindRefused if instances hold partitions, as in CheckpointBlobs.held."""
    if held:
        raise RewindRefused(
            f"Instances of the app hold partitions of consumer group {consumer_group}: {', '.join(sorted(held))}. They "
            "would read on where they are, and write their own checkpoints over these. Stop the app (`az functionapp "
            "stop --resource-group GROUP --name APP`) and call this again. An instance that ended without giving its "
            f"partitions up holds them for another {max(held.values()):.0f} s."
        )


def _step(hub: EventHub, partition: str, checkpoint: Checkpoint | None, to: datetime) -> Step:
    if checkpoint is None:
        return Step(partition, Outcome.NO_CHECKPOINT)
    done = checkpoint.sequence_number
    if done is None:
        return Step(partition, Outcome.UNREADABLE, checkpoint)
    extent = hub.extent(partition)
    if extent.last < 0 or extent.last_enqueued_time < to:
        return Step(partition, Outcome.NOTHING_SINCE, checkpoint)
    if extent.is_empty:
        return Step(partition, Outcome.NO_EVENT, checkpoint)
    first = hub.first_from(partition, to)
    # Events from the first ever on never expired: there were none before it.
    is_cut_off = first.enqueued_time > to and first.sequence_number == extent.first > 0
    held_from = first.enqueued_time if is_cut_off else None
    becomes = first.sequence_number - 1
    if becomes >= done:
        return Step(partition, Outcome.EARLIER, checkpoint, held_from=held_from)
    # A checkpoint beyond the end is one of a hub that was deleted and created again.
    last_done = min(done, extent.last)
    last_time = (
        extent.last_enqueued_time if last_done == extent.last else hub.first_from(partition, last_done).enqueued_time
    )
    return Step(
        partition,
        Outcome.SET_BACK,
        checkpoint,
        becomes,
        last_done - becomes,
        first.enqueued_time,
        last_time,
        held_from,
    )


def _carried_out(step: Step, blobs: CheckpointBlobs) -> Step:
    if step.outcome is not Outcome.SET_BACK or step.checkpoint is None or step.becomes is None:
        return step
    if blobs.set_back(step.checkpoint, step.becomes):
        return step
    return replace(
        step, outcome=Outcome.CHANGED, becomes=None, events=0, first_time=None, last_time=None, held_from=None
    )
