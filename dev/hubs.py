"""The event hubs of a folder by their names, and what there is to say of them."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from dev.hub import EventRefused, Hub, Partition


class Hubs:
    """Those that were opened; `partition_count` and `retention` are of a hub that is new."""

    def __init__(self, folder: Path, partition_count: int, retention: timedelta | None = None) -> None:
        self._folder = folder
        self._partition_count = partition_count
        self._retention = retention
        self._opened: dict[str, Hub] = {}

    def open(self, name: str) -> Hub:
        """A hub, which is created if it is not there."""
        if name not in self._opened:
            self._opened[name] = Hub(self._folder / name, self._partition_count, self._retention)
        return self._opened[name]

    def hub(self, name: str | None) -> Hub:
        """The hub with this name, or the only one if no name is given. Raises EventRefused."""
        if name is None and len(self._opened) == 1:
            return next(iter(self._opened.values()))
        if name not in self._opened:
            known = ", ".join(self._opened) or "none"
            raise EventRefused(f"Name one of the hubs with ?hub=NAME. There are: {known}.")
        return self._opened[name]

    def states(self) -> dict[str, dict[str, dict[str, Any]]]:
        """By hub and partition what the partition holds. Sequence numbers are -1 where there is none."""
        return {
            name: {partition_id: _state(partition) for partition_id, partition in hub.partitions.items()}
            for name, hub in self._opened.items()
        }

    def created(self) -> dict[str, str]:
        """When each hub was created: its name to a time in ISO 8601."""
        return {name: hub.created.isoformat() for name, hub in self._opened.items()}

    def consumer_groups(self) -> dict[str, dict[str, bool]]:
        """By hub and consumer group: whether an app reads it."""
        return {name: hub.consumer_groups() for name, hub in self._opened.items()}

    def close(self) -> None:
        for hub in self._opened.values():
            hub.close()


def _state(partition: Partition) -> dict[str, Any]:
    offset, time = partition.last_enqueued or (None, None)
    return {
        "firstSequenceNumber": partition.first_sequence_number,
        "lastSequenceNumber": partition.next_sequence_number - 1,
        "lastOffset": offset,
        "lastEnqueuedTime": None if time is None else time.isoformat(),
    }
