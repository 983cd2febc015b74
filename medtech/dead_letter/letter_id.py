"""A letter's ID: a short text that names it, made of its two keys, and found again without reading the whole table.

    20220312-0a1b2c3d-0003-17-5f3a9c1be04d      day, hub, hub partition, sequence number, digest of both keys
    20220312-0a1b2c3d-row-5f3a9c1be04d          a damaged row of the buffer
    x.eizdc7c6-5f3a9c1be04d                     a PartitionKey of another form, as base32 in small letters

Only letters of one message, or the damaged rows of one day, are told apart by the digest, so looking one up reads those
alone. The characters need no quoting in a shell or an address.
"""

import base64
import hashlib
import re
from typing import NamedTuple

from medtech.storage.table import quoted

# A message can make ten thousand letters: the chance that two of them share 48 bits is one in five million.
_DIGEST_DIGITS = 12
_SEQUENCE_DIGITS = 19
_MOST_CHARACTERS = 2_500
"""A key has 512 UTF-16 units, so up to 1,536 bytes as UTF-8, which base32 makes 2,458. A longer key makes a query that
storage answers like an outage."""

_PARTITION_KEY = re.compile(r"([0-9]{8})\|([0-9A-Za-z]*)\|([0-9A-Za-z]+)")
_ROW_KEY = re.compile(r"([0-9]{19})\|([0-9]{19})\|.*", re.DOTALL)
_ID = re.compile(r"(?:([0-9]{8})-([0-9A-Za-z]*)-([0-9A-Za-z]+)(?:-([0-9]{1,19}))?|x\.([a-z2-7]*))-([0-9a-f]{12})")


class Origin(NamedTuple):
    """Where a letter's message was: `hub` is its 8 hex digits, `enqueued_time` is in ticks. A row has no such place."""

    hub: str
    partition: str
    sequence_number: int
    enqueued_time: int


def origin_of(partition_key: str, row_key: str) -> Origin | None:
    """What a letter's keys say of its message; None for a damaged row of the buffer."""
    partition, row = _PARTITION_KEY.fullmatch(partition_key), _ROW_KEY.fullmatch(row_key)
    if partition is None or row is None:
        return None
    return Origin(partition[2], partition[3].lstrip("0") or "0", int(row[1]), int(row[2]))


def letter_id(partition_key: str, row_key: str) -> str:
    """The ID of the letter with these keys."""
    digest = _digest(partition_key, row_key)
    partition, row = _PARTITION_KEY.fullmatch(partition_key), _ROW_KEY.fullmatch(row_key)
    if partition is None:
        encoded = base64.b32encode(partition_key.encode()).decode().rstrip("=").lower()
        return f"x.{encoded}-{digest}"
    place = "-".join(partition.groups())
    return f"{place}-{digest}" if row is None else f"{place}-{int(row[1])}-{digest}"


class Sought(NamedTuple):
    """Where a letter is looked for, in the order of its table: a partition, and the rows from `row_key_start` on."""

    partition_key: str
    row_key_start: str
    id: str

    @property
    def condition(self) -> str:
        """Of a table query. Letters other than the one sought can meet it: compare their IDs."""
        condition = f"PartitionKey eq {quoted(self.partition_key)}"
        if self.row_key_start:
            # '}' comes right after '|', which ends the sequence number.
            end = self.row_key_start[:-1] + "}"
            condition += f" and RowKey ge {quoted(self.row_key_start)} and RowKey lt {quoted(end)}"
        return condition


def sought(text: str) -> Sought | None:
    """Where the letter of an ID is; None if the text is no ID."""
    found = _ID.fullmatch(text) if len(text) <= _MOST_CHARACTERS else None
    if found is None:
        return None
    day, hub, partition, sequence_number, encoded, _ = found.groups()
    if day is None:
        try:
            padding = "=" * (-len(encoded) % 8)
            partition_key = base64.b32decode(encoded.upper() + padding).decode()
        except ValueError:
            return None
        return Sought(partition_key, "", text)
    row_key_start = "" if sequence_number is None else f"{int(sequence_number):0{_SEQUENCE_DIGITS}d}|"
    return Sought(f"{day}|{hub}|{partition}", row_key_start, text)


def _digest(partition_key: str, row_key: str) -> str:
    return hashlib.sha256(f"{partition_key}\n{row_key}".encode()).hexdigest()[:_DIGEST_DIGITS]
