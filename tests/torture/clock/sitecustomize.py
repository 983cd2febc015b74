"""A worker with this folder on its PYTHONPATH has a clock that is CLOCK_AHEAD_SECONDS ahead.

Python imports it at its start, so the app needs no setting for it. Only the time of day is moved, not what measures
durations, as with a clock that is wrong.
"""

import os
import time

_AHEAD_SECONDS = int(os.environ.get("CLOCK_AHEAD_SECONDS", "0"))
_time, _time_ns = time.time, time.time_ns

if _AHEAD_SECONDS:
    time.time = lambda: _time() + _AHEAD_SECONDS
    time.time_ns = lambda: _time_ns() + _AHEAD_SECONDS * 1_000_000_000
