"""Checkpoints as the Event Hubs extension of Functions keeps them: metadata of empty blobs in `AzureWebJobsStorage`.

    azure-webjobs-eventhub/NAMESPACE/HUB/CONSUMER GROUP/checkpoint/PARTITION   offset, sequencenumber, clientidentifier
    azure-webjobs-eventhub/NAMESPACE/HUB/CONSUMER GROUP/ownership/PARTITION    ownerid; '' once it is given up

Names of blobs are in lower case. The format is BlobCheckpointStoreInternal's of azure-sdk-for-net (Event Hubs 5.12). A
checkpoint is read when a listener begins with a partition, and never again; of its two positions the offset counts.
"""

import asyncio
import re
from contextlib import suppress
from typing import NamedTuple

from azure.core.exceptions import AzureError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import ContainerClient

from dev.hub import Hub, StoredEvent

CONTAINER = "azure-webjobs-eventhub"
_NO_OFFSET = "no offset"
"""What some versions of the extension wrote in place of an offset."""
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_LARGEST = 2**63 - 1
"""Of .NET's `long`; what is beyond it is no sequence number to the extension."""
RENEWAL_SECONDS = 30.0
"""How often the extension says again that it holds a partition (EventProcessorOptions.LoadBalancingUpdateInterval).
What nobody has renewed for two minutes is anybody's (PartitionOwnershipExpirationInterval)."""


class Checkpoint(NamedTuple):
    """A position, after which reading begins. `offset` is '' if only the sequence number says where."""

    offset: str
    sequence_number: int | None


class CheckpointStore:
    """The blobs of one consumer group of one hub. Every method may raise azure.core's AzureError."""

    def __init__(
        self, container: ContainerClient, namespace: str, event_hub: str, consumer_group: str, client_identifier: str
    ) -> None:
        """`client_identifier` is who writes: one for each start of a host."""
        self._container = container
        self._folder = f"{namespace}/{event_hub}/{consumer_group}".lower()
        self._client_identifier = client_identifier

    def read(self, partition: str) -> Checkpoint | None:
        """The checkpoint; None if there is none, or none that says a position."""
        try:
            metadata = self._container.get_blob_client(f"{self._folder}/checkpoint/{partition}").get_blob_properties()
        except ResourceNotFoundError:
            return None
        texts = {name.lower(): text for name, text in metadata.metadata.items()}
        offset, number = texts.get("offset", ""), texts.get("sequencenumber", "")
        sequence_number = int(number) if _INTEGER.fullmatch(number) and abs(int(number)) <= _LARGEST else None
        if offset.lower() == _NO_OFFSET:
            offset = ""
        return Checkpoint(offset, sequence_number) if offset or sequence_number is not None else None

    def write(self, partition: str, checkpoint: Checkpoint) -> None:
        self._put(
            f"checkpoint/{partition}",
            {
                "offset": checkpoint.offset,
                "sequencenumber": "" if checkpoint.sequence_number is None else str(checkpoint.sequence_number),
                "clientidentifier": self._client_identifier,
            },
        )

    def own(self, partition: str) -> None:
        """Says that this client reads the partition. Nobody is asked: a local run has one host."""
        self._put(f"ownership/{partition}", {"ownerid": self._client_identifier})

    def disown(self, partition: str) -> None:
        self._put(f"ownership/{partition}", {"ownerid": ""})

    def _put(self, name: str, metadata: dict[str, str]) -> None:
        blob = self._container.get_blob_client(f"{self._folder}/{name}")
        try:
            blob.set_blob_metadata(metadata)
        except ResourceNotFoundError:
            with suppress(ResourceExistsError):
                self._container.create_container()
            blob.upload_blob(b"", metadata=metadata, overwrite=True)


class ConsumerGroup:
    """How far a consumer group is in each partition of a hub: one object for all its listeners."""

    def __init__(self, hub: Hub, store: CheckpointStore) -> None:
        self._hub = hub
        self._store = store
        self._done: dict[str, int] = {}

    def done(self, partition: str) -> int:
        """The sequence number of the last event that is done, as last read or written, or as a listener that begins
        earlier takes it; -1 if none is known."""
        return self._done.get(partition, -1)

    def begins_at(self, partition: str, first: int) -> None:
        """A listener is about to begin at a sequence number, if the checkpoint is not an earlier one."""
        self._done[partition] = min(self.done(partition), first - 1)

    async def begin(self, partition: str, first: int | None = None) -> int:
        """Takes a partition over; returns the sequence number to read from: that after the checkpoint, or `first` if it
        is earlier. Raises AzureError, PositionInvalid."""
        await asyncio.to_thread(self._store.own, partition)
        checkpoint = await asyncio.to_thread(self._store.read, partition)
        following = 0 if checkpoint is None else self._hub.partitions[partition].after(*checkpoint)
        # No later than the checkpoint: events passed over would be lost, which Event Hubs never does.
        following = following if first is None else min(first, following)
        self._done[partition] = following - 1
        return following

    async def hold(self, partition: str, over: asyncio.Event) -> None:
        """Keeps a partition that was taken over until it is `over`. A renewal that fails is left to the next."""
        while not over.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), RENEWAL_SECONDS)
                return
            with suppress(AzureError):
                await asyncio.to_thread(self._store.own, partition)

    async def advance(self, partition: str, event: StoredEvent) -> None:
        """Everything up to an event is done. Raises AzureError."""
        await asyncio.to_thread(self._store.write, partition, Checkpoint(event.offset, event.sequence_number))
        self._done[partition] = event.sequence_number

    async def end(self, partition: str) -> None:
        """Gives a partition up. Raises AzureError."""
        await asyncio.to_thread(self._store.disown, partition)
