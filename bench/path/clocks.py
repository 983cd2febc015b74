"""The processor's time of each stage, in whichever thread its work is done.

A stage is known by its seams: functions and methods, named `module:name` or `module:Class.name`, that are clocked where
they are called. Of nested seams the innermost counts, so stages add up and never overlap. A seam that a tree does not
have is left out; what no seam covers is in nobody's time, and the caller's total less all stages is the rest.

Clocking costs about two microseconds a call: seams are what is called for a batch or a bundle, not for a reading.
"""

import importlib
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from functools import wraps
from time import thread_time
from typing import Any

INHERITED = ""
"""The stage of seams that work for whoever called them, in threads of a pool: theirs is what the context holds."""

REST = "rest"
"""What is in no stage."""

_stage_of_context: ContextVar[str] = ContextVar("stage", default=INHERITED)


class _OfThread(threading.local):
    """The stages that a thread is in, innermost last, and when the innermost began to count."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.since = 0.0


class Clocks:
    """The stages of a scenario. `install` once, before the run; `clear` between runs."""

    def __init__(self, seams: Mapping[str, Sequence[str]]) -> None:
        self._seams = seams
        self._here = _OfThread()
        self._adding = threading.Lock()
        self._seconds: Counter[str] = Counter()
        self.missing: list[str] = []
        """Stages of which no seam was found."""

    def install(self) -> None:
        """Puts a clock around every seam, in each module that has it by name."""
        for stage, seams in self._seams.items():
            found = [self._clock_seam(stage, seam) for seam in seams]
            if stage != INHERITED and not any(found):
                self.missing.append(stage)

    def clear(self) -> None:
        with self._adding:
            self._seconds.clear()

    def seconds(self) -> dict[str, float]:
        """By stage, in the order in which they were named."""
        with self._adding:
            return {stage: self._seconds[stage] for stage in self._seams if stage != INHERITED}

    def with_rest(self, total: float) -> dict[str, float]:
        """The seconds of each stage, and what is left of the total."""
        found = self.seconds()
        return found | {REST: max(0.0, total - sum(found.values()))}

    def _clock_seam(self, stage: str, seam: str) -> bool:
        module_name, _, path = seam.partition(":")
        *owners, name = path.split(".")
        try:
            owner: Any = importlib.import_module(module_name)
            for each in owners:
                owner = getattr(owner, each)
            found = vars(owner)[name]
        except (ImportError, AttributeError, KeyError):
            return False
        if isinstance(found, classmethod | staticmethod):
            setattr(owner, name, type(found)(self._clocked(stage, found.__func__)))
            return True
        clocked = self._clocked(stage, found)
        setattr(owner, name, clocked)
        if not owners:
            _replace_imported(found, clocked)
        return True

    def _clocked(self, stage: str, call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def clocked(*arguments: Any, **options: Any) -> Any:
            entered = stage or _stage_of_context.get()
            token = _stage_of_context.set(entered)
            self._enter(entered)
            try:
                result = call(*arguments, **options)
            finally:
                self._leave()
                _stage_of_context.reset(token)
            return self._iterated(entered, result) if isinstance(result, Iterator) else result

        return clocked

    def _iterated(self, stage: str, items: Iterator[Any]) -> Iterator[Any]:
        """The items, each made on the stage's clock."""
        while True:
            token = _stage_of_context.set(stage)
            self._enter(stage)
            try:
                item = next(items)
            except StopIteration:
                return
            finally:
                self._leave()
                _stage_of_context.reset(token)
            yield item

    def _enter(self, stage: str) -> None:
        here = self._here
        now = thread_time()
        with self._adding:
            if here.stages:
                self._seconds[here.stages[-1]] += now - here.since
        here.stages.append(stage)
        here.since = now

    def _leave(self) -> None:
        here = self._here
        now = thread_time()
        with self._adding:
            self._seconds[here.stages.pop()] += now - here.since
        here.since = now


def _replace_imported(found: Any, clocked: Any) -> None:
    """In modules that have imported it by name."""
    for module in list(sys.modules.values()):
        names = [name for name, value in getattr(module, "__dict__", {}).items() if value is found]
        for name in names:
            setattr(module, name, clocked)
