"""The app's log lines as telemetry.

With `PYTHON_ENABLE_OPENTELEMETRY=true` the worker tells the host that the app exports what it logs, and the host then
exports no line of the worker's (azure-functions-host, OpenTelemetryConfigurationExtensions). So these are neither there
twice nor lost; the log stream has them all the same. Only lines of `medtech` are exported, which hold no health data by
the app's own rules: what other packages say about addresses and requests is nobody's to send on.
"""

import logging
from collections.abc import Callable
from typing import NamedTuple

from medtech.telemetry.span import Place, current

LOGGER = "medtech"

LONGEST_LINE = 32_768
"""Characters. Azure Monitor cuts there too; and a line waits in the pipe's memory."""


class LogLine(NamedTuple):
    """A record of the pipe. `place` is that of the span in which it was logged; `time_ns` since the Unix epoch."""

    time_ns: int
    level: int
    logger: str
    text: str
    place: Place | None


class LogHandler(logging.Handler):
    """Gives each line to `put`, as text: nothing of the record outlives the call. A traceback is left out: what it
    quotes may be a reading."""

    def __init__(self, put: Callable[[object], None]) -> None:
        super().__init__(logging.INFO)
        self._put = put

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
        except Exception:  # noqa: BLE001 - as everywhere in logging, a bad record must not fail the function
            self.handleError(record)
            return
        # A lone surrogate, which JSON allows in a device's id, would take away all lines that are sent with this one.
        text = text[:LONGEST_LINE].encode("utf-8", "replace").decode()
        span = current()
        place = span.place if span is not None else None
        self._put(LogLine(int(record.created * 1e9), record.levelno, record.name, text, place))


def attach(put: Callable[[object], None]) -> None:
    logging.getLogger(LOGGER).addHandler(LogHandler(put))


def detach() -> None:
    logger = logging.getLogger(LOGGER)
    for handler in list(logger.handlers):
        if isinstance(handler, LogHandler):
            logger.removeHandler(handler)
