"""Large values in the rows of a table: compressed, and split over as many binary properties as they need.

The one codec of the buffer's segments, the dead letters and the stored mappings. A payload is a version byte (stored
mappings have none) and then zlib. Its properties are `p00`, `p01` …, counted in `parts`.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PROPERTY_BYTES = 64 * 1024
"""Table storage refuses a longer binary property."""

ROW_BYTES = 11 * PROPERTY_BYTES
"""The longest payload of one row. An entity holds 1 MiB with its keys and names. The service would take 15 such
properties; Azurite counts the request body, in which they are base64, and takes 11."""


class PayloadDamaged(ValueError):
    """The payload cannot be unpacked. The message says why, as a clause of a sentence, without quoting the payload."""


class PayloadTooNew(ValueError):
    """A newer version of the app wrote the payload; `version` is its version byte."""

    def __init__(self, version: int) -> None:
        super().__init__(f"its payload has version {version}")
        self.version = version


@dataclass(frozen=True, slots=True)
class Codec:
    """One format of payloads.

    `version` is the first byte (None: the payload has none), `level` is zlib's, and `max_bytes` is what a payload may
    unpack to: zlib makes a thousand zeros one byte, so without a bound a row of 700 KB could fill the memory.
    """

    max_bytes: int
    version: int | None = None
    level: int = zlib.Z_DEFAULT_COMPRESSION

    def pack(self, content: bytes) -> bytes:
        """The payload of `content`, of which `unpack` takes up to `max_bytes`."""
        compressed = zlib.compress(content, self.level)
        return compressed if self.version is None else bytes([self.version]) + compressed

    def unpack(self, payload: bytes) -> bytes:
        """The content of a payload. Raises PayloadTooNew or PayloadDamaged."""
        if self.version is not None:
            version = payload[0] if payload else 0
            if version > self.version:
                raise PayloadTooNew(version)
            if version != self.version:
                raise PayloadDamaged("its payload is missing or has no version")
        decompressor = zlib.decompressobj()
        try:
            content = decompressor.decompress(
                memoryview(payload)[0 if self.version is None else 1 :], self.max_bytes + 1
            )
        except zlib.error:
            raise PayloadDamaged("its payload is damaged") from None
        if len(content) > self.max_bytes:
            raise PayloadDamaged(f"its payload unpacks to more than {self.max_bytes} bytes")
        if not decompressor.eof:
            raise PayloadDamaged("its payload is cut off")
        return content


def split(payload: bytes) -> dict[str, Any]:
    """The properties that hold a payload of up to ROW_BYTES in one row."""
    starts = range(0, len(payload), PROPERTY_BYTES)
    properties = {f"p{n:02d}": payload[start : start + PROPERTY_BYTES] for n, start in enumerate(starts)}
    # Counted, so that a shorter payload merged over a longer one does not end in the longer one's tail.
    return {**properties, "parts": len(starts)}


def join(entity: Mapping[str, Any]) -> bytes:
    """The payload that `split` took apart. Raises PayloadDamaged if a property is missing or not binary."""
    parts = entity.get("parts")
    if not isinstance(parts, int) or parts > len(entity):
        raise PayloadDamaged("the number of its payload properties is missing or wrong")
    pieces = [entity.get(f"p{n:02d}") for n in range(parts)]
    if not all(isinstance(piece, bytes) for piece in pieces):
        raise PayloadDamaged("a property of its payload is missing or not binary")
    return b"".join(pieces)  # type: ignore[arg-type]  # checked above
