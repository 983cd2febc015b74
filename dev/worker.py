"""The language worker: gRPC plumbing around Microsoft's `azure-functions-runtime`, as a process of its own.

The runtime package holds what matters (indexing, binding conversion, invocation) and leaves the stream to a "proxy
worker" that is part of the Functions image and not on PyPI; this stands in for it. `dev.worker_process` starts it:

    python -m dev.worker --host 127.0.0.1 --port PORT --workerId ID --requestId ID
"""

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any, NamedTuple

import azure_functions_runtime as runtime
import grpc

from dev.rpc import CHANNEL_OPTIONS, messages, services

_RPC_LEVELS = {logging.DEBUG: 1, logging.INFO: 2, logging.WARNING: 3, logging.ERROR: 4, logging.CRITICAL: 5}
_LOGGING_LEVELS = {0: logging.DEBUG, **{rpc: level for level, rpc in _RPC_LEVELS.items()}, 6: logging.CRITICAL + 1}
_RUNTIME_LOGGERS = ("azure.functions", "azure_functions_runtime")
_TRANSPORT_LOGGERS = ("grpc", "asyncio")
_SYSTEM = 1


class Request(NamedTuple):
    """What the runtime's handlers expect: the message, and what only the worker knows."""

    request: Any
    properties: dict[str, Any]


class HostLog(logging.Handler):
    """Sends log records, with tracebacks and the invocation they belong to, to the host."""

    def __init__(self, send: Callable[[Any], None]) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith(_TRANSPORT_LOGGERS):
            return
        try:
            entry = messages.RpcLog(
                level=_RPC_LEVELS.get(record.levelno, 2),
                message=self.format(record),
                category=record.name,
                invocation_id=runtime.invocation_id_cv.get() or "",
                log_category=_SYSTEM if record.name.startswith(_RUNTIME_LOGGERS) else 0,
            )
        except Exception:  # noqa: BLE001 - as everywhere in logging, a bad record must not fail the function
            self.handleError(record)
            return
        self._send(messages.StreamingMessage(rpc_log=entry))


class Worker:
    """Answers the host's messages until the host sends `terminate` or is gone."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._properties = {"host": arguments.host, "protos": messages}
        self._outgoing: asyncio.Queue[Any] = asyncio.Queue()
        self._handlers: dict[str, tuple[str, Callable[[Any], Any]]] = {
            "worker_init_request": ("worker_init_response", self._init),
            "functions_metadata_request": ("function_metadata_response", runtime.functions_metadata_request),
            "function_load_request": ("function_load_response", runtime.function_load_request),
            "invocation_request": ("invocation_response", self._invoke),
        }

    async def run(self) -> None:
        loop = asyncio.get_running_loop()

        def send(message: Any) -> None:
            loop.call_soon_threadsafe(self._outgoing.put_nowait, message)

        handler = HostLog(send)
        handler.setFormatter(logging.Formatter())  # message and traceback; the rest has its own fields
        logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
        address = f"{self._arguments.host}:{self._arguments.port}"
        running: set[asyncio.Task[None]] = set()
        async with grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
            with suppress(grpc.aio.AioRpcError):  # the host is gone: so is the worker
                async for message in services.FunctionRpcStub(channel).EventStream(self._stream()):
                    kind = message.WhichOneof("content")
                    if kind == "worker_terminate":
                        return
                    task = asyncio.create_task(self._answer(kind, message))
                    running.add(task)
                    task.add_done_callback(running.discard)

    async def _stream(self) -> AsyncIterator[Any]:
        start = messages.StartStream(worker_id=self._arguments.workerId)
        yield messages.StreamingMessage(request_id=self._arguments.requestId, start_stream=start)
        while True:
            yield await self._outgoing.get()

    async def _answer(self, kind: str, message: Any) -> None:
        if kind not in self._handlers:
            return
        response, handler = self._handlers[kind]
        answer = await handler(Request(message, self._properties))
        self._outgoing.put_nowait(messages.StreamingMessage(request_id=message.request_id, **{response: answer}))

    async def _init(self, request: Request) -> Any:
        init = request.request.worker_init_request
        logging.getLogger().setLevel(min((_LOGGING_LEVELS[n] for n in init.log_categories.values()), default=20))
        # As in the cloud, imports look in the app's folder first, and not in the folder that the worker was started in.
        sys.path[0] = init.function_app_directory
        os.chdir(init.function_app_directory)
        runtime.start_threadpool_executor()
        return await runtime.worker_init_request(request)

    async def _invoke(self, request: Request) -> Any:
        # Set in the task's own context, so that log lines of asynchronous functions name their invocation.
        runtime.invocation_id_cv.set(request.request.invocation_request.invocation_id)
        return await runtime.invocation_request(request)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m dev.worker")
    for name in ("host", "workerId", "requestId"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--port", type=int, required=True)
    asyncio.run(Worker(parser.parse_args()).run())


if __name__ == "__main__":
    main()
