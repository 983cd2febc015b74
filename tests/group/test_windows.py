"""Keys, windows and shards: pinned, since rows outlive the version that wrote them."""

import pytest

from medtech.dotnet import ticks
from medtech.group import windows

_NOON = 637_826_832_000_000_000  # 2022-03-12T12:00:00Z
_SECOND = ticks.TICKS_PER_SECOND


@pytest.mark.parametrize(
    ("device", "shards", "shard"),
    [
        ("123456789", 1000, 0xCBF43926 % 1000),  # the check value that CRC-32 is published with
        ("device-1", 4, 1),
        ("device-2", 4, 3),
        ("Gerät-7", 4, 0),
        ("", 4, 0),
        ("device-1", 1, 0),
    ],
)
def test_the_shard_of_a_device_is_pinned(device: str, shards: int, shard: int) -> None:
    assert windows.shard_of(device, shards) == shard


@pytest.mark.parametrize(
    ("ticks_after_noon", "seconds", "start"),
    [
        (0, 300, "20220312120000"),
        (300 * _SECOND - 1, 300, "20220312120000"),
        (300 * _SECOND, 300, "20220312120500"),
        (7 * _SECOND, 5, "20220312120005"),
    ],
)
def test_a_window_starts_on_a_multiple_of_its_length(ticks_after_noon: int, seconds: int, start: str) -> None:
    assert ticks.format_compact(windows.window_start(_NOON + ticks_after_noon, seconds)) == start


def test_a_partition_key_reads_back() -> None:
    key = windows.partition_key(7, _NOON)
    assert key == "007|20220312120000"
    assert windows.parse_partition_key(key) == (7, _NOON)
    assert key.startswith(windows.shard_prefix(7))


@pytest.mark.parametrize(
    "key", ["", "zzz", "7|20220312120000", "007|20220312", "007|20220399120000", "٠٠٧|20220312120000"]
)
def test_a_key_that_is_not_ours_does_not_read(key: str) -> None:
    assert windows.parse_partition_key(key) is None


def test_a_row_key_has_numbers_of_fixed_width() -> None:
    prefix = windows.event_row_prefix(
        hub="0a1b2c3d", partition="3", first_sequence=12, last_sequence=511, first_enqueued=_NOON
    )
    assert windows.row_key(prefix, "00ff") == (
        "e|0a1b2c3d|0003|0000000000000000012|0000000000000000511|0637826832000000000|00ff"
    )
