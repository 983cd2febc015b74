"""A worker that is killed anywhere, without a process for each; and answers that are lost anywhere.

    with killed_before(number) as writes:       # the write with this number, from 0, and all after it are not done
        …
    writes.begun                                # not above `number`: nothing was killed

Writes are those to tables and to the FHIR server, so a kill after one is a kill before the next.
"""

import os
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from medtech.errors import StorageUnavailable
from medtech.storage.table import Table

NEVER = 1 << 30
_LOST = "The answer was lost."
_stream = httpx.Client.stream


class Killed(BaseException):
    """Nothing catches it, as nothing outlives a kill."""


@dataclass(slots=True)
class Writes:
    """How many were begun."""

    begun: int = 0


@contextmanager
def killed_before(number: int) -> Iterator[Writes]:
    def write(place: int, carry_out: Callable[[], Any], lost: Exception) -> Any:
        if place >= number:
            raise Killed
        return carry_out()

    with suppress(Killed), _writing(write) as writes:
        yield writes


@contextmanager
def unanswered(number: int) -> Iterator[Writes]:
    """One write is carried out and its answer lost; those before and after it are as ever."""

    def write(place: int, carry_out: Callable[[], Any], lost: Exception) -> Any:
        answer = carry_out()
        if place == number:
            if isinstance(answer, AbstractContextManager):
                with answer:  # a request is sent only then
                    raise lost
            raise lost
        return answer

    with _writing(write) as writes:
        yield writes


def some_of(numbers: Sequence[int], count: int) -> Sequence[int]:
    """So many of them, in order, and other ones with another SEED; all with KILLS=all in the environment."""
    if os.environ.get("KILLS") == "all" or count >= len(numbers):
        return numbers
    return sorted(random.Random(os.environ.get("SEED", "1")).sample(numbers, count))


@contextmanager
def _writing(write: Callable[[int, Callable[[], Any], Exception], Any]) -> Iterator[Writes]:
    """Has `write` make every write; it gets its number, what carries it out, and what a lost answer raises."""
    writes = Writes()
    lock = threading.Lock()

    def instead_of(original: Callable[..., Any], lost: Exception) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if original is _stream and not _is_write(*args, **kwargs):
                return original(*args, **kwargs)
            with lock:
                place = writes.begun
                writes.begun += 1
            return write(place, lambda: original(*args, **kwargs), lost)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in ("transact", "upsert"):
            patch.setattr(Table, name, instead_of(getattr(Table, name), StorageUnavailable(_LOST)))
        patch.setattr(httpx.Client, "stream", instead_of(_stream, httpx.ReadError(_LOST)))
        yield writes


def _is_write(client: httpx.Client, method: str, url: str, *, content: bytes | None = None, **kwargs: Any) -> bool:
    return method == "PUT" or b'"PUT"' in (content or b"")
