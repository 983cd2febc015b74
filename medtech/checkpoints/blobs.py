"""Checkpoints as the Event Hubs extension of Functions keeps them: metadata of empty blobs in `AzureWebJobsStorage`.

    azure-webjobs-eventhub/NAMESPACE/HUB/CONSUMER GROUP/checkpoint/PARTITION   offset, sequencenumber, clientidentifier
    azure-webjobs-eventhub/NAMESPACE/HUB/CONSUMER GROUP/ownership/PARTITION    ownerid; '' once it is given up

Names of blobs are in lower case. A checkpoint is the last event that is done. The offset counts, and the sequence
number only where there is no offset. An instance reads a checkpoint when it takes a partition over, and never again; it
writes without asking what is there. The format is BlobCheckpointStoreInternal's of azure-sdk-for-net (Event Hubs 5.12),
the times are EventProcessorOptions'.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from medtech.storage.faults import reaching

if TYPE_CHECKING:
    from collections.abc import Iterator

    from azure.storage.blob import BlobProperties

    from medtech.checkpoints.connection import HubConnection
    from medtech.storage.connection import Storage

CONTAINER = "azure-webjobs-eventhub"
OWNERSHIP_SECONDS = 120
"""An instance renews what it holds every 30 s. What was not renewed for so long is anybody's."""

_CLIENT = "medtech-rewind"
_START = -1
"""The sequence number, and the offset, before the first event that a partition ever had."""
_LARGEST = 2**63 - 1
_SEQUENCE_NUMBER = re.compile(r"[+-]?[0-9]{1,19}")
_WHAT = f"container {CONTAINER}"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a partition is done. `sequence_number` is None if the blob does not say it; `version` is its ETag."""

    partition: str
    sequence_number: int | None
    version: str


class CheckpointBlobs:
    """The blobs of one consumer group. Every method may raise StorageUnavailable and StorageRefused."""

    def __init__(self, storage: Storage, connection: HubConnection) -> None:
        self._container = storage.container(CONTAINER)
        names = (connection.namespace, connection.event_hub, connection.consumer_group)
        self._folder = "/".join(names).lower()

    def checkpoints(self) -> dict[str, Checkpoint]:
        """By partition; none if the consumer group was never read."""
        return {
            partition: Checkpoint(partition, _sequence_number(_metadata(blob).get("sequencenumber", "")), blob.etag)
            for partition, blob, _ in self._list("checkpoint")
        }

    def held(self) -> dict[str, float]:
        """The partitions that instances hold, with the seconds after which that ends if nobody renews it."""
        left = {
            partition: OWNERSHIP_SECONDS - (now - blob.last_modified).total_seconds()
            for partition, blob, now in self._list("ownership")
            if _metadata(blob).get("ownerid")
        }
        return {partition: seconds for partition, seconds in left.items() if seconds > 0}

    def set_back(self, checkpoint: Checkpoint, sequence_number: int) -> bool:
        """Makes an event the last that is done; -1 means that none is. Returns whether it is: a checkpoint that has
        changed since it was read is left as it is."""
        from azure.core import MatchConditions
        from azure.core.exceptions import ResourceModifiedError, ResourceNotFoundError

        blob = self._container.get_blob_client(f"{self._folder}/checkpoint/{checkpoint.partition}")
        metadata = {
            "offset": str(_START) if sequence_number == _START else "",
            "sequencenumber": str(sequence_number),
            "clientidentifier": _CLIENT,
        }
        unchanged = MatchConditions.IfNotModified
        try:
            with reaching(_WHAT):
                try:
                    blob.set_blob_metadata(metadata, etag=checkpoint.version, match_condition=unchanged)
                except ResourceModifiedError:
                    # The answer to the first attempt may be lost: then the second meets what the first has written.
                    found = _metadata(blob.get_blob_properties())
                    return {name: found.get(name, "") for name in metadata} == metadata
        except ResourceNotFoundError:
            return False
        return True

    def _list(self, kind: str) -> Iterator[tuple[str, BlobProperties, datetime]]:
        """The blobs of a kind, by partition, and what the time is by the clock of storage."""
        from azure.core.exceptions import ResourceNotFoundError

        now = datetime.now(UTC)

        def read_clock(response: Any) -> None:
            nonlocal now
            if date := response.http_response.headers.get("Date"):
                now = parsedate_to_datetime(date)

        prefix = f"{self._folder}/{kind}/"
        try:
            with reaching(_WHAT):
                for blob in self._container.list_blobs(prefix, include=["metadata"], raw_response_hook=read_clock):
                    yield blob.name.removeprefix(prefix), blob, now
        except ResourceNotFoundError:  # no app has read a hub with this storage
            return


def _metadata(blob: BlobProperties) -> dict[str, str]:
    """Names are not case-sensitive; in lists an empty text comes as None."""
    return {name.lower(): text or "" for name, text in (blob.metadata or {}).items()}


def _sequence_number(text: str) -> int | None:
    """As .NET's `long` is read; None for what is none."""
    text = text.strip()
    if not _SEQUENCE_NUMBER.fullmatch(text) or not _START <= int(text) <= _LARGEST:
        return None
    return int(text)
