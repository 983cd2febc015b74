"""A worker that is killed anywhere, without a process for each: what it writes from some point on is not written.

    killed = killed_before(number)      # the write with this number, from 0, and all after it
    with killed:
        …
    killed.writes                       # how many writes were begun; no more than `number`: nothing was killed

Writes are those to tables and to the FHIR server, so a kill after one is a kill before the next.
"""

import os
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from medtech.storage.table import Table

ALL = "KILLS"
"""Set to `all`, this variable of the environment has every point tried, for minutes."""

NEVER = 1 << 30


class Killed(BaseException):
    """Nothing catches it, as nothing outlives a kill."""


@dataclass(slots=True)
class Kill:
    before: int
    writes: int = 0


@contextmanager
def killed_before(number: int) -> Iterator[Kill]:
    kill = Kill(number)
    lock = threading.Lock()

    def dies() -> None:
        with lock:
            kill.writes += 1
            if kill.writes > kill.before:
                raise Killed

    def counted(original: Callable[..., Any], is_write: Callable[..., bool]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if is_write(*args, **kwargs):
                dies()
            return original(*args, **kwargs)

        return call

    with pytest.MonkeyPatch.context() as patch, suppress(Killed):
        for name in ("transact", "upsert"):
            patch.setattr(Table, name, counted(getattr(Table, name), lambda *args, **kwargs: True))
        patch.setattr(httpx.Client, "stream", counted(httpx.Client.stream, _writes))
        yield kill


def some_of(numbers: Sequence[int], count: int) -> Sequence[int]:
    """So many of them, other ones with another SEED, in order; all with KILLS=all."""
    if os.environ.get(ALL) == "all" or count >= len(numbers):
        return numbers
    return sorted(random.Random(os.environ.get("SEED", "1")).sample(numbers, count))


def _writes(client: httpx.Client, method: str, url: str, *, content: bytes | None = None, **kwargs: Any) -> bool:
    return method == "PUT" or b'"PUT"' in (content or b"")
