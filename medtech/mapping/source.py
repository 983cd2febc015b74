"""Where a deployment has the text of a mapping, and when it offered it.

Instances with different texts run side by side during a rolling deployment and in slots, so each offer has a time, and
an older one never displaces a newer one by itself (`in_force`).

A blob was offered when it was last modified; the service's clock says so. A file of the app was offered when its
package was built: that is the newest modification time of the file and of `function_app.py`. A checkout gives both the
time of the build, zip deployment keeps times, and a build of an older commit is a newer offer. Other files tell no
more, and the platform names no time of deployment on every plan. Times may be hours off where a package was zipped in
another time zone, but alike for all builds of one machine, and only compared with each other. Tools that make packages
reproducible write a fixed time, often of 1980; then the time is unknown, and the text counts as offered when an
instance first had it.
"""

import codecs
import hashlib
from datetime import date
from pathlib import Path
from typing import Literal, NamedTuple

from medtech.dotnet import ticks
from medtech.errors import ErrorType, MappingInvalid, MappingIssue
from medtech.storage.connection import Storage
from medtech.storage.faults import reaching

MappingKind = Literal["device", "fhir"]

SETTINGS = {"device": "DEVICE_MAPPING", "fhir": "FHIR_MAPPING"}

_ERROR_TYPES = {"device": ErrorType.DEVICE_TEMPLATE, "fhir": ErrorType.FHIR_TEMPLATE}
_APP_FOLDER = Path(__file__).parents[2]
_ENTRY_POINT = _APP_FOLDER / "function_app.py"

_FIRST_BUILD = (date(2025, 1, 1).toordinal() - 1) * ticks.TICKS_PER_DAY
"""No package of this app is older: an earlier time is what a tool writes in place of one."""

_MOST_AHEAD = ticks.TICKS_PER_DAY
"""Zip files have local times, at most 14 hours ahead of UTC. A time further ahead is no time of a build."""


class Offer(NamedTuple):
    """The text that a deployment offers, in UTF-8 if it is any good; `time` is in ticks, None if it is unknown."""

    content: bytes
    time: int | None

    @property
    def hash(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


class MappingSource:
    """The source of one mapping: the address of a blob, or a path relative to the folder of the app."""

    def __init__(self, kind: MappingKind, address: str, storage: Storage) -> None:
        self._kind = kind
        self._address = address
        self._storage = storage

    @property
    def name(self) -> str:
        """The address without its shared access signature."""
        return self._address.partition("?")[0]

    def read(self) -> Offer:
        """Raises MappingInvalid if there is no such file or blob, Unavailable if the blob cannot be reached."""
        is_blob = self._address.startswith(("https://", "http://"))
        content, time = self._read_blob() if is_blob else self._read_file()
        return Offer(content.removeprefix(codecs.BOM_UTF8), time)

    def text(self, offer: Offer) -> str:
        """The text of an offer; raises MappingInvalid."""
        try:
            return offer.content.decode()
        except UnicodeDecodeError as error:
            raise self.invalid(f"The mapping is not UTF-8 (byte {error.start}). Save it in that encoding.") from None

    def invalid(self, message: str) -> MappingInvalid:
        """The error of a text that is refused as a whole."""
        return MappingInvalid(_ERROR_TYPES[self._kind], [MappingIssue(message, None, "", -1, -1)])

    def _read_file(self) -> tuple[bytes, int | None]:
        path = _APP_FOLDER / self._address
        try:
            return path.read_bytes(), _build_time(path)
        except OSError as error:
            raise self.invalid(
                f"The mapping file `{self._address}` cannot be read ({error.strerror}). "
                f"Set {SETTINGS[self._kind]} to a file of the app or to a blob's address."
            ) from None

    def _read_blob(self) -> tuple[bytes, int | None]:
        from azure.core.exceptions import ResourceNotFoundError

        try:
            with reaching(f"the {self._kind} mapping at {self.name}"):
                blob = self._storage.blob_at(self._address).download_blob()
                content: bytes = blob.readall()
        except ResourceNotFoundError:
            raise self.invalid(
                f"There is no blob at {self.name}. Upload the mapping there or fix {SETTINGS[self._kind]}."
            ) from None
        return content, ticks.from_datetime(blob.properties.last_modified)


def _build_time(path: Path) -> int | None:
    modified = max(file.stat().st_mtime_ns for file in (path, _ENTRY_POINT))
    time = ticks.UNIX_EPOCH + modified // 100
    return time if _FIRST_BUILD <= time <= ticks.now() + _MOST_AHEAD else None
