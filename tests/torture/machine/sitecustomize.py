"""A worker with this folder on its PYTHONPATH runs on another machine, as it were.

Python imports it at its start, so the app needs no setting for it:

    CLOCK_AHEAD_SECONDS    the time of day is so far ahead; what measures durations is not moved, as with a wrong clock
    MEMORY_LIMIT_MB        the memory that it may have for data; what asks for more gets a MemoryError (Linux)
    DEADLY_TEXT            normalizing a message that holds it ends the process, as a fault of a library would
    FLUSH_SECONDS          the time of a flush, in place of four minutes
"""

import os
import resource
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

_ahead_seconds = int(os.environ.get("CLOCK_AHEAD_SECONDS", "0"))
_limit_bytes = int(os.environ.get("MEMORY_LIMIT_MB", "0")) * 1024 * 1024
_deadly = os.environ.get("DEADLY_TEXT", "").encode()
_flush_seconds = float(os.environ.get("FLUSH_SECONDS", "0"))
_time, _time_ns = time.time, time.time_ns

if _ahead_seconds:
    time.time = lambda: _time() + _ahead_seconds
    time.time_ns = lambda: _time_ns() + _ahead_seconds * 1_000_000_000

if _limit_bytes:
    resource.setrlimit(resource.RLIMIT_DATA, (_limit_bytes, _limit_bytes))

if _deadly or _flush_seconds:
    sys.path.append(str(Path(__file__).parents[3]))  # the app, which the runtime finds by itself only later

if _deadly:
    from medtech.mapping.device import DeviceMapping

    _normalize = DeviceMapping.normalize

    def _normalize_or_die(mapping: DeviceMapping, event: Any) -> Any:
        if _deadly in event.body:
            os._exit(137)
        return _normalize(mapping, event)

    DeviceMapping.normalize = _normalize_or_die

if _flush_seconds:
    from medtech.flush import run

    run.Flush = partial(run.Flush, budget_seconds=_flush_seconds)
