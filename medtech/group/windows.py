"""Windows, shards and the keys of the buffer's rows.

All of them are functions of the events, the mapping and the number of shards: the same batch, delivered again to an
instance that works by the same ones, makes the same keys and so overwrites itself.
"""

import re
from datetime import datetime
from zlib import crc32

from medtech.dotnet import ticks

SHARD_DIGITS = 3

REPLAYED = "r|"
"""What the row keys of all replayed letters begin with, and no other."""

_PARTITION_KEY = re.compile(rf"([0-9]{{{SHARD_DIGITS}}})\|([0-9]{{14}})")


def window_start(enqueued_time: int, window_seconds: int) -> int:
    """The start (ticks) of the window that an enqueued time (ticks) belongs to."""
    return ticks.floor(enqueued_time, window_seconds * ticks.TICKS_PER_SECOND)


def overdue_seconds(window: int, now: int, window_seconds: int, grace_seconds: int) -> float:
    """How long the window that starts at `window` has been due at `now` (ticks); 0 if it is not due yet."""
    due = window + (window_seconds + grace_seconds) * ticks.TICKS_PER_SECOND
    return max(0, now - due) / ticks.TICKS_PER_SECOND


def shard_of(device_id: str, shards: int) -> int:
    """The shard of a device. A test pins it, since instances of two versions must agree on it."""
    return crc32(device_id.encode()) % shards


def shard_name(shard: int) -> str:
    """`shard-002`: the name of the lease under which an instance flushes the shard."""
    return f"shard-{shard:0{SHARD_DIGITS}d}"


def shard_prefix(shard: int) -> str:
    """`002|`: what all partition keys of a shard begin with, and no other."""
    return f"{shard:0{SHARD_DIGITS}d}|"


def partition_key(shard: int, window: int) -> str:
    """`002|20220312100500`: the shard comes first, which spreads the writes over the storage servers."""
    return f"{shard_prefix(shard)}{ticks.format_compact(window)}"


def shard_in(partition_key: str) -> int:
    """The shard of a partition key that `partition_key` made."""
    return int(partition_key.partition("|")[0])


def parse_partition_key(key: str) -> tuple[int, int] | None:
    """Shard and window start (ticks) of a partition key; None if it is not one of the app's."""
    parts = _PARTITION_KEY.fullmatch(key)
    if parts is None:
        return None
    try:
        start = datetime.strptime(parts[2], "%Y%m%d%H%M%S")
    except ValueError:
        return None
    return int(parts[1]), ticks.from_datetime(start)


def event_row_prefix(*, hub: str, partition: str, first_sequence: int, last_sequence: int, first_enqueued: int) -> str:
    """What the row keys of a batch begin with. A recreated hub differs from the old one in the enqueued time (ticks).

    The borders of the batch are part of the key: a shorter or longer redelivery is a row of its own.
    """
    return f"e|{hub}|{partition:0>4}|{first_sequence:019d}|{last_sequence:019d}|{first_enqueued:019d}"


def replay_row_prefix(letter_id: str) -> str:
    """What the row keys of a replayed letter begin with."""
    return f"{REPLAYED}{letter_id}"


def row_key(prefix: str, digest: str) -> str:
    """The key of a segment of a batch; `digest` is of its measurements.

    Without the digest, an instance that still stores the batch under other shards or another mapping would overwrite
    measurements that its own segment does not hold. Rows of earlier versions have the segment's number in its place.
    """
    return f"{prefix}|{digest}"


def row_name(partition_key: str, row_key: str) -> str:
    """`002|20220312100500|<digest>`: what names a row among those of one replayed letter."""
    return f"{partition_key}|{row_key.rpartition('|')[2]}"
