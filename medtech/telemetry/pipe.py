"""From the threads that work to the one that exports: a bounded queue that nobody ever waits for.

    ingest, flush ── put ──▶ queue ──▶ thread `telemetry` ──▶ OpenTelemetry's SDK ──▶ its own threads, which send

What happens is put down as plain values (readings, or a function that makes them of what was counted; starts and ends
of spans; log lines). The SDK and its exporters take a fifth of a second to import and set up, which a new instance
would otherwise spend before its first batch: the thread does it after the first invocation, or within a long one, and
finds what was put down until then in the queue. From then on the SDK's locks and its few microseconds a reading are the
thread's too.

A destination that is away or hangs holds up the SDK's threads, which drop what they cannot keep. Should this queue be
full, what comes is dropped, counted and told in the log; the data itself is never concerned.
"""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Full, Queue
from threading import Lock, Thread
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from medtech.telemetry.destinations import Destinations

QUEUE_RECORDS = 3_000
"""Seconds of the busiest instance, while the thread takes some 50,000 a second. At most some 35 MB, were all of them
batches of 500 events, each with a latency of its own."""

START_RECORDS = 100
"""So many that the first invocation is a long one, such as a flush of all that an outage left: it has the exporters set
up while it runs, since the queue would not hold what it makes."""

CLOSE_SECONDS = 2.0
"""What sending the rest may take when the process ends. The host kills a worker that takes more than 5 s to end, and it
has other things to end as well."""

_log = logging.getLogger(__name__)


class Taker(Protocol):
    """What records are given to, in the pipe's thread."""

    def take(self, record: object) -> None: ...

    def close(self) -> None: ...


class Pipe:
    """One per process, while telemetry goes anywhere."""

    def __init__(self, destinations: Destinations) -> None:
        self._destinations = destinations
        self._queue: Queue[object] = Queue(QUEUE_RECORDS)
        self._dropped = 0
        self._told: set[tuple[type, type]] = set()
        self._thread: Thread | None = None
        self._starting = Lock()

    def put(self, record: object) -> None:
        """Never waits, and never raises."""
        try:
            self._queue.put_nowait(record)
        except Full:
            # Not exact when threads meet here, which is good enough for a number that only says "many".
            self._dropped += 1
        if self._thread is None and self._queue.qsize() >= START_RECORDS:
            self.start()

    def start(self) -> None:
        """Starts the thread that exports, if it does not run yet. Never raises; the next call tries again."""
        with self._starting:
            if self._thread is None:
                thread = Thread(target=self._run, name="telemetry", daemon=True)
                # The system has no more threads, or the process is about to end: no reason for an invocation to fail.
                with suppress(RuntimeError):
                    thread.start()
                    self._thread = thread

    def close(self, seconds: float) -> None:
        """Exports what is in the queue and in the SDK, and waits for that at most so long."""
        self.start()
        if self._thread is None:
            return
        with suppress(Full):
            self._queue.put(_End(), timeout=seconds)
            self._thread.join(seconds)

    def _run(self) -> None:
        taker = self._opened()
        while not isinstance(record := self._queue.get(), _End):
            try:
                taker.take(record)
            except Exception as error:  # noqa: BLE001 - whatever it is, what comes after it is still exported
                self._tell_fault(type(record), type(error))
            # Once it has caught up: the line takes a place in the queue.
            if self._queue.empty():
                self._tell_dropped()
        self._tell_dropped()
        taker.close()

    def _opened(self) -> Taker:
        try:
            # Imported here: it takes longer than all that the app imports to be indexed.
            from medtech.telemetry.exporters import Exporters

            return Exporters(self._destinations, os.environ)
        except Exception as error:  # noqa: BLE001 - the app works without
            _log.error(
                "No telemetry is exported (%s). Check the settings OTEL_…, and restart the app; no data is concerned.",
                type(error).__name__,
            )
            return _Nowhere()

    def _tell_fault(self, record: type, error: type) -> None:
        """Once for each kind: if it is log lines that cannot be exported, this one comes back here too."""
        if (record, error) not in self._told:
            self._told.add((record, error))
            _log.error("Telemetry was not exported (%s). Report it; no data is concerned.", error.__name__)

    def _tell_dropped(self) -> None:
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            _log.warning(
                "%d records of telemetry (metrics, spans, log lines) were dropped: more came at once than could be "
                "exported. No data is concerned; what the metrics say of these minutes is too low.",
                dropped,
            )


class _End:
    """What ends the thread."""


class _Nowhere:
    def take(self, record: object) -> None:
        pass

    def close(self) -> None:
        pass


_pipe: Pipe | None = None
_opened = False
_opening = Lock()


def is_open() -> bool:
    """Whether telemetry goes anywhere."""
    return _pipe is not None


def put(record: object) -> None:
    """Puts a record into the pipe of this process, if there is one."""
    if _pipe is not None:
        _pipe.put(record)


@contextmanager
def exporting() -> Iterator[None]:
    """Around an invocation. The first one finds out where telemetry goes, and has the exporters set up when it ends."""
    _open()
    try:
        yield
    finally:
        if _pipe is not None:
            _pipe.start()


def _open() -> None:
    global _pipe, _opened
    with _opening:
        if _opened:
            return
        from medtech.telemetry.destinations import Destinations

        destinations = Destinations.of(os.environ)
        if destinations.unknown:
            _log.error(
                "OTEL_METRICS_EXPORTER, OTEL_TRACES_EXPORTER and OTEL_LOGS_EXPORTER take otlp, console and none; %s is "
                "left out.",
                ", ".join(destinations.unknown),
            )
        if destinations:
            from medtech.telemetry import log_handler

            _pipe = Pipe(destinations)
            if destinations.logs:
                log_handler.attach(_pipe.put)
            atexit.register(close)
        _opened = True


def close(seconds: float = CLOSE_SECONDS) -> None:
    """Exports what is left. The next invocation, if there is one, reads the environment anew."""
    global _pipe, _opened
    with _opening:
        closing, _pipe, _opened = _pipe, None, False
    if closing is not None:
        from medtech.telemetry import log_handler

        atexit.unregister(close)
        log_handler.detach()
        closing.close(seconds)
