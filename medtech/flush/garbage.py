"""Python's garbage collector while a shard is flushed.

A flush makes containers by the million and no cycles among its readings, so their memory is freed without the
collector, which would look for cycles every 2,000 containers all the same. While a flush lasts, what was there before
it, such as modules and mappings, is set aside, and what it makes is looked through less often.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

_CONTAINERS_MADE = 200_000
"""A window of 60,000 readings is flushed without a look. The collector belongs to the process: what batches beside the
flush leave in cycles stays until so many containers were made, which take some 30 MB."""

_changing = Lock()
_flushes = 0
_usual = gc.get_threshold()


@contextmanager
def rarely_collected() -> Iterator[None]:
    """What is called inside is seldom interrupted by the collector. When the last of several ends, all is as before.

    Cycles that come of what was there before are collected after that: a flush ends within minutes.
    """
    global _flushes, _usual
    with _changing:
        if not _flushes:
            _usual = gc.get_threshold()
            gc.freeze()
            gc.set_threshold(max(_usual[0], _CONTAINERS_MADE) if _usual[0] else 0, *_usual[1:])
        _flushes += 1
    try:
        yield
    finally:
        with _changing:
            _flushes -= 1
            if not _flushes:
                gc.set_threshold(*_usual)
                gc.unfreeze()
