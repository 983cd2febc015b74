"""Windows, shards and the keys of the buffer's rows.

All of it is a function of the events alone: the same batch, delivered again to whatever instance, makes the same keys
and so overwrites itself.
"""

from datetime import datetime
from zlib import crc32

from medtech.dotnet import ticks

SHARD_DIGITS = 3


def window_start(enqueued_time: int, window_seconds: int) -> int:
    """The start, in ticks, of the window that an enqueued time (ticks) belongs to."""
    return ticks.floor(enqueued_time, window_seconds * ticks.TICKS_PER_SECOND)


def shard_of(device_id: str, shards: int) -> int:
    """The shard of a device: pinned, since instances of two versions must agree on it."""
    return crc32(device_id.encode()) % shards


def partition_key(shard: int, window: int) -> str:
    """`002|20220312100500`: the shard comes first, which spreads the writes over the storage servers."""
    return f"{shard:0{SHARD_DIGITS}d}|{ticks.format_compact(window)}"


def parse_partition_key(key: str) -> tuple[int, int]:
    """Shard and window start (ticks) of a partition key."""
    shard, _, start = key.partition("|")
    return int(shard), ticks.from_datetime(datetime.strptime(start, "%Y%m%d%H%M%S"))


def event_row_prefix(*, hub: str, partition: str, first_sequence: int, last_sequence: int, first_enqueued: int) -> str:
    """What the row keys of a batch begin with. The enqueued time (ticks) tells a recreated hub from the old one.

    Borders of the batch are part of the key: a shorter or longer redelivery is a row of its own and cannot wipe out
    another's events.
    """
    return f"e|{hub}|{partition:0>4}|{first_sequence:019d}|{last_sequence:019d}|{first_enqueued:019d}"


def row_key(prefix: str, segment: int) -> str:
    """The row of the n-th segment that a batch has in a (window, shard)."""
    return f"{prefix}|{segment:04d}"
