"""The local functions host as a process: its HTTP server, its log, its end.

    python -m dev host --app DIR [--port N] [--data DIR] [--settings FILE] [--partitions N] [--retention HOURS]
                       [--hubs DIR]

On SIGINT or SIGTERM the listeners finish their current batch before the worker ends.
"""

import asyncio
import logging
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from math import inf
from pathlib import Path

import uvicorn

from dev.host import FunctionsHost
from dev.routes import application

log = logging.getLogger("Host")


class _HttpServer(uvicorn.Server):
    """Leaves signals to `serve`, which stops server and host in its own order."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(
    app_directory: Path,
    settings: Mapping[str, str],
    data_folder: Path,
    port: int,
    partition_count: int,
    longest_wait_seconds: float = inf,
    retention: timedelta | None = None,
    hub_folder: Path | None = None,
) -> None:
    """Runs a host until SIGINT or SIGTERM; logs `ready ADDRESS` once it serves the functions.

    Raises HostConfigInvalid, WorkerFailed, FunctionInvalid, OSError (the port is in use).
    """
    ending = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ending.set)
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
        host = FunctionsHost(
            app_directory, settings, data_folder, partition_count, longest_wait_seconds, retention, hub_folder
        )
        try:
            await host.start()
            config = uvicorn.Config(application(host), log_config=None, access_log=False, timeout_graceful_shutdown=5)
            server = _HttpServer(config)
            serving = asyncio.create_task(server.serve([listening]))
            log.info("ready http://127.0.0.1:%d", listening.getsockname()[1])
            await asyncio.wait({serving, asyncio.create_task(ending.wait())}, return_when=asyncio.FIRST_COMPLETED)
            server.should_exit = True
            await serving
        finally:
            await host.stop()
    log.info("stopped")


def configure_logging() -> None:
    """One line per record on stdout: time in UTC, level, category, message."""
    formatter = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    for category in ("Function", "Worker", "Host.Function.Console"):
        logging.getLogger(category).setLevel(logging.DEBUG)  # host.json has decided about what the worker logs
