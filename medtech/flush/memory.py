"""How the memory of a flush is divided."""

from typing import NamedTuple, Self

from medtech.persist.client import CONCURRENT_BUNDLES

_BYTES_PER_MB = 1024 * 1024

_MOST_PACKED_BYTES = 32 * _BYTES_PER_MB
"""Of all shards: some two million measurements. More could not be unpacked and replaced within the time that is
reserved for the rows (`Budget.rows`) when a flush is cut short."""


WRITE_BYTES = 16_000
"""What an Observation takes while it is written, without its data points: stored and merged resource, request, answer,
each as text and as Python values. Measured with `python -m bench.large_windows`."""


class Memory(NamedTuple):
    """What a shard may take while others are flushed beside it, in bytes as Python takes them.

    `packed_bytes` is for portions that wait their turn, `portion_bytes` for the measurements of the one at hand,
    `run_bytes` for the drafts of some of its devices, and `writes_bytes` for those Observations, `writes_at_once` at
    most, that are on their way to the server.
    """

    packed_bytes: int
    portion_bytes: int
    run_bytes: int
    writes_bytes: int
    writes_at_once: int

    @classmethod
    def of(cls, portion_mb: int, shards_at_once: int, bundle_size: int) -> Self:
        """The share of one shard in FLUSH_PORTION_MB. Eight shards with a setting of 1 MB still take a run each."""
        share = portion_mb * _BYTES_PER_MB // shards_at_once
        writes_bytes = share // 4
        # Whole bundles: a rest would be a request of its own each time.
        bundles = min(CONCURRENT_BUNDLES, max(1, writes_bytes // (WRITE_BYTES * bundle_size)))
        return cls(
            packed_bytes=min(share * 3 // 8, _MOST_PACKED_BYTES // shards_at_once),
            portion_bytes=share // 4,
            run_bytes=share // 8,
            writes_bytes=writes_bytes,
            writes_at_once=bundle_size * bundles,
        )
