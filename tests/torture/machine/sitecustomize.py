"""A worker with this folder on its PYTHONPATH runs on another machine, as it were.

Python imports it at its start, so the app needs no setting for it:

    CLOCK_AHEAD_SECONDS    the time of day is so far ahead; what measures durations is not moved, as with a wrong clock
    MEMORY_LIMIT_MB        the memory that it may have for data; what asks for more gets a MemoryError (Linux)
"""

import os
import resource
import time

_ahead_seconds = int(os.environ.get("CLOCK_AHEAD_SECONDS", "0"))
_limit_bytes = int(os.environ.get("MEMORY_LIMIT_MB", "0")) * 1024 * 1024
_time, _time_ns = time.time, time.time_ns

if _ahead_seconds:
    time.time = lambda: _time() + _ahead_seconds
    time.time_ns = lambda: _time_ns() + _ahead_seconds * 1_000_000_000

if _limit_bytes:
    resource.setrlimit(resource.RLIMIT_DATA, (_limit_bytes, _limit_bytes))
