"""The blob container that Event Hubs Capture writes to: which files of a hub it holds, and their bytes."""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from medtech.backfill.capture_file import CaptureDamaged
from medtech.backfill.path_format import FilePlace, Level, PathFormat
from medtech.dotnet import ticks
from medtech.errors import SettingInvalid, StorageUnavailable
from medtech.setup.hub_place import HubPlace
from medtech.storage.connection import Storage
from medtech.storage.faults import Fault, reaching

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9]|-(?=[a-z0-9])){2,62}")
_ADDRESS = re.compile(r"https?://[^/?#\s]+(?:/[^/?#\s]+)?/[^/?#\s]+/?(?:\?[^#\s]*)?")
_MOST_OTHERS = 20
_ARCHIVED = {"BlobArchived", "BlobBeingRehydrated"}
"""Codes of the answer to who reads a blob of the archive tier."""


class CaptureBlob(NamedTuple):
    """A Capture file in its container. Files are in the order of their times, whatever the format."""

    time: int
    partition: str
    name: str
    size_bytes: int


class CaptureContainer:
    """A container: by its name in the app's storage account, or by its address, with or without a signature.

    Whatever asks storage raises StorageUnavailable: also where there is no such container, since it may come.
    """

    def __init__(self, storage: Storage, address: str, path_format: PathFormat, hub: HubPlace) -> None:
        self._storage = storage
        self._address = address
        self._format = path_format
        self._hub = hub
        self._opened: ContainerClient | None = None
        self.others: dict[str, None] = {}
        """Where files of other hubs were met and left out: their folders, or `namespace/hub`."""

    @property
    def name(self) -> str:
        """Without a signature."""
        return shown(self._address)

    def files(self, day: int, partition: str | None) -> list[CaptureBlob]:
        """The files of the app's hub that are named for a day (its start, in ticks), the oldest first."""
        date = datetime.min + timedelta(days=day // ticks.TICKS_PER_DAY)
        found = []
        for prefix in self._prefixes(date, partition):
            for blob in self._listed(self._client().list_blobs, prefix):
                place = self._format.read(blob.name)
                if place is None or ticks.floor(place.time, ticks.TICKS_PER_DAY) != day:
                    continue
                if self._is_wanted(place, partition):
                    found.append(CaptureBlob(place.time, place.partition, blob.name, blob.size))
        return sorted(found, key=lambda each: each[:3])

    def read(self, name: str, offset: int, length: int) -> bytes:
        """Bytes of a file; fewer where it ends. Raises CaptureDamaged if it is gone, archived or shorter than that."""
        from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

        try:
            with reaching(f"the Capture file {name}"):
                content: bytes = self._client().download_blob(name, offset=offset, length=length).readall()
        except ResourceNotFoundError:
            raise CaptureDamaged("it was deleted meanwhile") from None
        except HttpResponseError as refused:
            fault = Fault.of(refused)
            if fault.code in _ARCHIVED:
                raise CaptureDamaged(
                    "it is in the archive tier; set its tier to Hot or Cool (`az storage blob set-tier`), wait hours "
                    "until it is, and backfill its time again"
                ) from None
            raise CaptureDamaged(f"storage does not give it ({fault.status} {fault.code})") from None
        return content

    def _prefixes(self, date: datetime, partition: str | None) -> list[str]:
        """Where the files of a day are. Folders that no date names are looked up, down to the first one of a time: a
        request for each folder of a minute would be one for each file."""
        prefixes = [""]
        for level in self._format.folders:
            if level.is_of_time:
                break
            if level.is_of_date:
                prefixes = [f"{prefix}{level.name_on(date)}/" for prefix in prefixes]
            else:
                prefixes = [each for prefix in prefixes for each in self._subfolders(prefix, level, date, partition)]
        return prefixes

    def _subfolders(self, prefix: str, level: Level, date: datetime, partition: str | None) -> Iterator[str]:
        def walk(name_starts_with: str) -> Any:
            return self._client().walk_blobs(name_starts_with=name_starts_with, delimiter="/")

        for found in self._listed(walk, prefix):
            name = found.name.removeprefix(prefix)
            parts = level.pattern.fullmatch(name.removesuffix("/")) if name.endswith("/") else None
            if parts is None:
                continue
            named = parts.groupdict()
            dates = {"Year": date.year, "Month": date.month, "Day": date.day}
            if any(int(named[part]) != number for part, number in dates.items() if part in named):
                continue
            is_ours = self._is_ours(named.get("Namespace"), named.get("EventHub"), found.name)
            if is_ours and _is(named.get("PartitionId"), partition):
                yield found.name

    def _is_wanted(self, place: FilePlace, partition: str | None) -> bool:
        shown_as = f"{place.namespace}/{place.event_hub}"
        return self._is_ours(place.namespace, place.event_hub, shown_as) and _is(place.partition, partition)

    def _is_ours(self, namespace: str | None, event_hub: str | None, shown_as: str) -> bool:
        """Names of Event Hubs are not case-sensitive."""
        if _is(namespace, self._hub.namespace) and _is(event_hub, self._hub.event_hub):
            return True
        if len(self.others) < _MOST_OTHERS:
            self.others[shown_as] = None
        return False

    def _client(self) -> "ContainerClient":
        if self._opened is None:
            self._opened = self._storage.container_at(self._address)
        return self._opened

    def _listed(self, lister: Any, prefix: str) -> list[Any]:
        from azure.core.exceptions import ResourceNotFoundError

        try:
            with reaching(f"the container {self.name}"):
                return list(lister(name_starts_with=prefix))
        except ResourceNotFoundError:
            raise StorageUnavailable(
                f"There is no container {self.name}. Give the name of one in the app's storage account, or its address "
                "(https://ACCOUNT.blob.core.windows.net/CONTAINER)."
            ) from None


def check_address(address: str) -> None:
    """Raises SettingInvalid for what neither names a container nor is the address of one."""
    if not (_NAME.fullmatch(address) or _ADDRESS.fullmatch(address)):
        raise SettingInvalid(
            f"{shown(address)!a:.200} is no container. Write its name (3 to 63 small letters, digits and single "
            "hyphens), or its address: https://ACCOUNT.blob.core.windows.net/CONTAINER."
        )


def shown(address: str) -> str:
    """An address without its signature."""
    return address.partition("?")[0]


def _is(name: str | None, wanted: str | None) -> bool:
    return name is None or wanted is None or name.casefold() == wanted.casefold()
