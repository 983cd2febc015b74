"""The message that has a shard flushed: JSON, from the timer to whichever instance takes it off the queue."""

import json
import re
from typing import Any, NamedTuple, Self

_TOKEN = re.compile(r"[0-9a-f]{32}")
_SHARDS = 1_000
"""BUFFER_SHARDS allows no more."""


class FlushMessage(NamedTuple):
    """`token` is that of the shard's mark when it was put; `trace_context` is the timer's, a W3C traceparent."""

    shard: int
    token: str
    trace_context: str

    def write(self) -> bytes:
        return json.dumps(self._asdict()).encode()

    @classmethod
    def read(cls, body: bytes) -> Self | None:
        """None for what the app has not written: others may be allowed to put messages."""
        try:
            document: Any = json.loads(body)
            shard, token, trace_context = (document[name] for name in cls._fields)
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        if type(shard) is not int or not 0 <= shard < _SHARDS:
            return None
        if not isinstance(token, str) or not _TOKEN.fullmatch(token) or not isinstance(trace_context, str):
            return None
        return cls(shard, token, trace_context)
