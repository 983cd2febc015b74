"""Spans: what took how long, within what, and because of which batches.

A span is a plain value with ids of its own; the pipe gives it to the SDK when it starts and when it ends. It is carried
by the context (`contextvars`), as the deadline is, so that a bundle's span knows its window's.

Attributes are counts, kinds and places (a partition, a shard). No text of a message, of an error or of an address ever
becomes one.
"""

import random
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum
from typing import NamedTuple

from medtech.telemetry import pipe

LINKS = 100
"""Of a span, to the batches that it works off. A window holds thousands; the SDK keeps 128 a span unless told other."""

_LONGEST_TRACEPARENT = 256
"""Of version 00 it has 55 characters; later versions may have more."""

_SAMPLED = 1


class SpanKind(StrEnum):
    INTERNAL = "internal"
    CONSUMER = "consumer"
    CLIENT = "client"


class Place(NamedTuple):
    """Where a span is in its trace: what W3C's traceparent says."""

    trace_id: int
    span_id: int
    flags: int

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{self.flags:02x}"


class Span:
    """A span under way. `parent` is None for the first of a trace; `error` is the name of what ended it.

    `remote`: the parent is another process's, as a traceparent names it. Times are nanoseconds of the Unix epoch.
    """

    __slots__ = ("attributes", "end_ns", "error", "kind", "links", "name", "parent", "place", "remote", "start_ns")

    def __init__(self, name: str, kind: SpanKind, parent: Place | None, *, remote: bool) -> None:
        self.name = name
        self.kind = kind
        self.parent = parent
        self.remote = remote
        trace_id = parent.trace_id if parent else random.getrandbits(128) or 1
        self.place = Place(trace_id, random.getrandbits(64) or 1, parent.flags if parent else _SAMPLED)
        self.start_ns = time.time_ns()
        self.end_ns = 0
        self.attributes: dict[str, str | int] = {}
        self.links: list[Place] = []
        self.error = ""

    @property
    def traceparent(self) -> str:
        return self.place.traceparent

    def set(self, **attributes: str | int) -> None:
        """Adds attributes; `a__b` is written `a.b`."""
        self.attributes.update((name.replace("__", "."), value) for name, value in attributes.items())

    def link(self, traceparents: Iterable[str]) -> None:
        """Links it to spans of other traces: the first `LINKS` that can be read."""
        for text in traceparents:
            if len(self.links) == LINKS:
                return
            if (place := read_traceparent(text)) is not None:
                self.links.append(place)

    def start(self) -> None:
        pipe.put(Started(self))

    def end(self) -> None:
        self.end_ns = time.time_ns()
        pipe.put(Ended(self))


class _Unseen(Span):
    """In place of a span while telemetry goes nowhere."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("", SpanKind.INTERNAL, None, remote=False)

    @property
    def traceparent(self) -> str:
        return ""

    def set(self, **attributes: str | int) -> None:
        pass

    def link(self, traceparents: Iterable[str]) -> None:
        pass


class Started(NamedTuple):
    """A record of the pipe: a span begins, before any that is within it."""

    span: Span


class Ended(NamedTuple):
    """A record of the pipe: a span is complete."""

    span: Span


_UNSEEN = _Unseen()
_current: ContextVar[Span | None] = ContextVar("span", default=None)


def current() -> Span | None:
    """The span that the caller works in; None outside of all, or while telemetry goes nowhere."""
    return _current.get()


@contextmanager
def span(name: str, kind: SpanKind = SpanKind.INTERNAL, traceparent: object = None) -> Iterator[Span]:
    """A span around what is done inside, within the one outside.

    The outermost one is within the span that `traceparent` names, if that can be read: it comes from outside and may be
    anything. What is raised inside is noted by its type's name, and goes on.
    """
    if not pipe.is_open():
        yield _UNSEEN
        return
    outside = _current.get()
    parent = outside.place if outside is not None else read_traceparent(traceparent)
    inside = Span(name, kind, parent, remote=outside is None)
    token = _current.set(inside)
    inside.start()
    try:
        yield inside
    except BaseException as error:
        inside.error = type(error).__name__
        raise
    finally:
        _current.reset(token)
        inside.end()


def read_traceparent(text: object) -> Place | None:
    """What a traceparent says; None if it is none (https://www.w3.org/TR/trace-context/#traceparent-header)."""
    if not isinstance(text, str) or not text or len(text) > _LONGEST_TRACEPARENT:
        return None
    # Imported late, as all of OpenTelemetry: an app that exports nothing does without.
    from opentelemetry.context import Context
    from opentelemetry.trace import get_current_span
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    found = TraceContextTextMapPropagator().extract({"traceparent": text}, Context())
    context = get_current_span(found).get_span_context()
    return Place(context.trace_id, context.span_id, int(context.trace_flags)) if context.is_valid else None
