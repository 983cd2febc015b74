"""Around an invocation that data depends on: what it leaves in telemetry, and what of an exception may leave it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from medtech.errors import MedTechError, UnexpectedFault
from medtech.telemetry import pipe

if TYPE_CHECKING:
    import azure.functions as func

    from medtech.telemetry.span import Span, SpanKind


@contextmanager
def invocation(name: str, kind: SpanKind, context: func.Context, *, doing: str) -> Iterator[Span]:
    """A span within the host's, with what is counted far below; what is raised inside is counted as an error.

    The worker logs an exception that leaves a function, with its text, which may quote a message. So what is not an
    error of the app leaves as UnexpectedFault; `doing` is the end of its sentence.
    """
    from medtech import metrics
    from medtech.side_counts import collected
    from medtech.telemetry.span import span

    with pipe.exporting(), collected() as side_counts:
        try:
            with span(name, kind, context.trace_context.trace_parent) as current:
                yield current
        except MedTechError as error:
            pipe.put(metrics.of_failure(error))
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, its text must not be logged
            fault = UnexpectedFault.of(error, doing, then="Report it; it is tried again, and nothing is lost.")
            pipe.put(metrics.of_failure(fault))
            raise fault from None
        finally:
            pipe.put(metrics.of_side_counts(side_counts))
