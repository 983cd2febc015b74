"""The worker as the host sees it: started, spoken to over gRPC, and started again when it dies.

`WorkerProcess` is one process of the worker; `WorkerSupervisor` replaces it when it exits. What an exiting worker was
working on fails, as in Azure, and the trigger does what it does for any failed invocation. With several workers
(FUNCTIONS_WORKER_PROCESS_COUNT) the triggers are the host's, and each invocation goes to the next worker that is ready.
"""

import asyncio
import importlib.util
import logging
import os
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import grpc

from dev.functions import Function, read_functions
from dev.host_config import HostConfig
from dev.processes import bound_to_parent
from dev.rpc import CHANNEL_OPTIONS, messages, services

log = logging.getLogger("Host.Worker")

START_SECONDS = 60.0
TERMINATE_SECONDS = 5.0
FIRST_BACKOFF_SECONDS = 0.25
LONGEST_BACKOFF_SECONDS = 30.0
LONGEST_CONSOLE_LINE_BYTES = 1024 * 1024
NEXT_WORKER_SECONDS = 10.0
"""Between the starts of several workers: `processStartupInterval` of azure-functions-host."""
STEADY_SECONDS = 60.0
"""A worker that lived this long did not fail at its start: the next back-off begins at the first step again."""

_SUCCESS = 1
_SYSTEM_LOG = 1
_LEVELS = {1: logging.DEBUG, 2: logging.INFO, 3: logging.WARNING, 4: logging.ERROR, 5: logging.CRITICAL}
_ROOT = Path(__file__).resolve().parent.parent


class WorkerFailed(Exception):
    """The worker did not start, or could not index the app; the message quotes the worker."""


class WorkerExited(Exception):
    """The worker exited before it answered."""


class Failure(NamedTuple):
    """Why an invocation failed: a `message` in one line, and the worker's traceback if there is one."""

    message: str
    stack_trace: str


class InvocationResult(NamedTuple):
    """`return_value` is a TypedData message; `failure` is None on success."""

    return_value: Any
    failure: Failure | None


class WorkerProcess:
    """One worker process and its stream. `functions` is filled once the worker has indexed and loaded the app."""

    def __init__(self, log_entry: Callable[[Any], None]) -> None:
        self.id = uuid.uuid4().hex
        self.functions: dict[str, Function] = {}
        self.process: asyncio.subprocess.Process | None = None
        self._log_entry = log_entry
        self._outgoing: asyncio.Queue[Any] = asyncio.Queue()
        self._connected = asyncio.Event()
        self._pending: dict[str, asyncio.Future[Any]] = {}
        self._console: asyncio.Task[None] | None = None

    async def start(
        self, port: int, app_directory: Path, settings: Mapping[str, str], log_levels: Mapping[str, int]
    ) -> None:
        """Starts the process, indexes and loads the app. Raises WorkerFailed, WorkerExited."""
        if importlib.util.find_spec("azure_functions_runtime") is None:
            raise WorkerFailed("azure-functions-runtime is missing (it needs Python 3.13): run `make setup`.")
        arguments = ["--host", "127.0.0.1", "--port", str(port), "--workerId", self.id, "--requestId", self.id]
        command = [sys.executable, "-m", "dev.worker", *arguments]
        environment = os.environ | {"FUNCTIONS_WORKER_RUNTIME": "python", "PYTHONUNBUFFERED": "1"} | dict(settings)
        self.process = await asyncio.create_subprocess_exec(
            *bound_to_parent(signal.SIGKILL, command),
            cwd=_ROOT,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            limit=LONGEST_CONSOLE_LINE_BYTES,
        )
        console = self._console = asyncio.create_task(self._log_console(self.process))
        exited = asyncio.create_task(self.process.wait())
        exited.add_done_callback(lambda _: self._fail_pending())
        setup = asyncio.create_task(self._set_up(app_directory, settings, log_levels))
        done, _ = await asyncio.wait({setup, exited}, timeout=START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if setup not in done:
            setup.cancel()
            await self.kill()
            await console
            raise WorkerFailed("The worker did not start; see its output in the log above.")
        try:
            setup.result()
        except BaseException:
            await self.kill()
            raise

    async def ask(self, **content: Any) -> Any:
        """Sends a message and waits for its answer. Raises WorkerExited."""
        if self.process is None or self.process.returncode is not None:
            raise WorkerExited("The worker process is not running.")
        request_id = uuid.uuid4().hex
        answer = self._pending[request_id] = asyncio.get_running_loop().create_future()
        self._outgoing.put_nowait(messages.StreamingMessage(request_id=request_id, **content))
        try:
            return await answer
        finally:
            self._pending.pop(request_id, None)

    async def stream(self, incoming: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """The host's side of the gRPC stream."""
        self._connected.set()
        reader = asyncio.create_task(self._read(incoming))
        try:
            while True:
                yield await self._outgoing.get()
        finally:
            reader.cancel()

    async def kill(self) -> None:
        """Kills the process."""
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    async def terminate(self) -> None:
        """Asks the process to end, and kills it if it does not within TERMINATE_SECONDS."""
        if self.process is None or self.process.returncode is not None:
            return
        self._outgoing.put_nowait(messages.StreamingMessage(worker_terminate=messages.WorkerTerminate()))
        try:
            await asyncio.wait_for(self.process.wait(), TERMINATE_SECONDS)
        except TimeoutError:
            await self.kill()

    async def _set_up(self, app_directory: Path, settings: Mapping[str, str], log_levels: Mapping[str, int]) -> None:
        await self._connected.wait()
        directory = str(app_directory)
        answer = await self.ask(
            worker_init_request=messages.WorkerInitRequest(
                host_version="4.1040.0",
                function_app_directory=directory,
                worker_directory=str(_ROOT),
                capabilities={"TypedDataCollection": "true", "RpcHttpBodyOnly": "true"},
                log_categories=log_levels,
            )
        )
        _check(answer.result, "start with this app")
        answer = await self.ask(
            functions_metadata_request=messages.FunctionsMetadataRequest(function_app_directory=directory)
        )
        _check(answer.result, "index the app")
        functions = read_functions(list(answer.function_metadata_results), settings)
        if not functions:
            raise WorkerFailed(
                f"There is no function in {directory}: it needs a function_app.py that declares functions."
            )
        for function in functions.values():
            request = messages.FunctionLoadRequest(function_id=function.id, metadata=function.metadata)
            _check((await self.ask(function_load_request=request)).result, f"load function {function.name}")
        self.functions = functions

    async def _read(self, incoming: AsyncIterator[Any]) -> None:
        async for message in incoming:
            kind = message.WhichOneof("content")
            if kind == "rpc_log":
                self._log_entry(message.rpc_log)
            elif (answer := self._pending.get(message.request_id)) is not None and not answer.done():
                answer.set_result(getattr(message, kind))

    async def _log_console(self, process: asyncio.subprocess.Process) -> None:
        """Logs, line by line, what the app prints and what Python reports when it dies."""
        console = logging.getLogger("Host.Function.Console")
        assert process.stdout is not None
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError:  # asyncio has dropped the line; keep reading, or the worker blocks on a full pipe
                console.warning("A line of more than %d bytes was left out.", LONGEST_CONSOLE_LINE_BYTES)
                continue
            if not line:
                return
            console.info("%s", line.decode(errors="replace").rstrip())

    def _fail_pending(self) -> None:
        for answer in self._pending.values():
            if not answer.done():
                answer.set_exception(WorkerExited("The worker process exited during the invocation."))


class WorkerSupervisor:
    """Keeps the workers alive and passes them invocations, in turn."""

    def __init__(
        self,
        app_directory: Path,
        settings: Mapping[str, str],
        config: HostConfig,
        longest_wait_seconds: float = LONGEST_BACKOFF_SECONDS,
    ) -> None:
        self.starts = 0
        self._app_directory = app_directory
        self._settings = settings
        self._config = config
        self._longest_backoff_seconds = min(longest_wait_seconds, LONGEST_BACKOFF_SECONDS)
        self._next_worker_seconds = min(longest_wait_seconds, NEXT_WORKER_SECONDS)
        self._running: dict[str, str] = {}
        self._server = grpc.aio.server(options=CHANNEL_OPTIONS)
        self._port = 0
        self._workers: dict[str, WorkerProcess] = {}
        self._ready: list[WorkerProcess] = []
        self._any_ready = asyncio.Event()
        self._turn = 0
        self._keepers: list[asyncio.Task[None]] = []

    @property
    def pids(self) -> list[int]:
        """The process ids of the workers that are ready, the longest first."""
        return [worker.process.pid for worker in self._ready if worker.process is not None]

    async def start(self) -> dict[str, Function]:
        """Starts the first worker; returns the functions of the app. Raises WorkerFailed, FunctionInvalid.

        The others follow by and by, while the first works.
        """
        services.add_FunctionRpcServicer_to_server(self, self._server)
        self._port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        worker = await self._start_worker()
        self._keepers = [asyncio.create_task(self._keep(worker))]
        self._keepers += [
            asyncio.create_task(self._add(number * self._next_worker_seconds))
            for number in range(1, self._config.worker_processes)
        ]
        return worker.functions

    async def invoke(
        self, name: str, value: Any, trigger_metadata: Mapping[str, Any] | None = None, retry: tuple[int, int] = (0, 0)
    ) -> InvocationResult:
        """Runs a function once a worker is ready. `retry` is (number of this retry, maximum of retries)."""
        worker = await self._next()
        function = worker.functions.get(name)
        if function is None:
            return self._failed(name, Failure("The app no longer has this function.", ""))
        invocation_id = str(uuid.uuid4())
        request = messages.InvocationRequest(
            invocation_id=invocation_id,
            function_id=function.id,
            input_data=[messages.ParameterBinding(name=function.trigger.parameter, data=value)],
            trigger_metadata=trigger_metadata or {},
            trace_context=messages.RpcTraceContext(trace_parent=f"00-{uuid.uuid4().hex}-{uuid.uuid4().hex[:16]}-01"),
            retry_context=messages.RetryContext(retry_count=retry[0], max_retry_count=retry[1]),
        )
        function_log = logging.getLogger(f"Function.{name}")
        function_log.info("Executing 'Functions.%s' (Id=%s)", name, invocation_id)
        started = time.monotonic()
        self._running[invocation_id] = name
        try:
            answer = await asyncio.wait_for(
                worker.ask(invocation_request=request), self._config.function_timeout_seconds
            )
        except WorkerExited as error:
            return self._failed(name, Failure(str(error), ""), invocation_id, started)
        except TimeoutError:
            await worker.kill()  # as in Azure: a thread cannot be stopped, so the process is killed
            seconds = self._config.function_timeout_seconds
            return self._failed(
                name, Failure(f"The invocation exceeded functionTimeout ({seconds:g} s).", ""), invocation_id, started
            )
        finally:
            del self._running[invocation_id]
        if answer.result.status != _SUCCESS:
            thrown = answer.result.exception
            return self._failed(name, Failure(thrown.message, thrown.stack_trace), invocation_id, started)
        duration_ms = (time.monotonic() - started) * 1000
        function_log.info(
            "Executed 'Functions.%s' (Succeeded, Id=%s, Duration=%.0fms)", name, invocation_id, duration_ms
        )
        return InvocationResult(answer.return_value, None)

    async def EventStream(  # noqa: N802 - the contract's name; gRPC calls it for each worker that connects
        self, incoming: AsyncIterator[Any], _context: Any
    ) -> AsyncIterator[Any]:
        first = await anext(aiter(incoming))
        worker = self._workers.get(first.start_stream.worker_id)
        if worker is None:
            return  # a worker that was abandoned
        async for message in worker.stream(incoming):
            yield message

    async def stop(self) -> None:
        """Ends the workers; what they have not finished within TERMINATE_SECONDS is lost."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*(worker.terminate() for worker in self._workers.values()))
        await self._server.stop(0)

    def _failed(
        self, name: str, failure: Failure, invocation_id: str = "", started: float | None = None
    ) -> InvocationResult:
        duration_ms = 0 if started is None else (time.monotonic() - started) * 1000
        logging.getLogger(f"Function.{name}").error(
            "Executed 'Functions.%s' (Failed, Id=%s, Duration=%.0fms) %s\n%s",
            name,
            invocation_id,
            duration_ms,
            failure.message,
            failure.stack_trace,
        )
        return InvocationResult(None, failure)

    def _log(self, entry: Any) -> None:
        """Logs a record of the worker under Azure's category for it, if host.json lets that level through."""
        function = self._running.get(entry.invocation_id)
        if entry.log_category == _SYSTEM_LOG:
            category = "Worker"
        else:
            category = f"Function.{function}.User" if function else "Host.Function.Console"
        if entry.level >= self._config.log_level(category):
            level = _LEVELS.get(entry.level, logging.INFO)
            short_id = entry.invocation_id[:8] or "-"
            logging.getLogger(category).log(level, "[%s] %s: %s", short_id, entry.category, entry.message)

    async def _next(self) -> WorkerProcess:
        """The worker whose turn it is, once one is ready."""
        while not self._ready:
            await self._any_ready.wait()
        self._turn += 1
        return self._ready[self._turn % len(self._ready)]

    async def _start_worker(self) -> WorkerProcess:
        worker = WorkerProcess(self._log)
        self._workers[worker.id] = worker
        try:
            await worker.start(self._port, self._app_directory, self._settings, self._config.log_levels)
        except Exception:
            del self._workers[worker.id]
            raise
        self.starts += 1
        self._ready.append(worker)
        self._any_ready.set()
        return worker

    async def _add(self, after_seconds: float) -> None:
        await asyncio.sleep(after_seconds)
        log.info("Starting another worker.")
        await self._keep(None)

    async def _keep(self, worker: WorkerProcess | None) -> None:
        """Waits for the end of a worker and starts the next in its place, for ever; without one, starts it."""
        backoff = FIRST_BACKOFF_SECONDS
        while True:
            started = time.monotonic()
            if worker is not None and worker.process is not None:
                code = await worker.process.wait()
                self._ready.remove(worker)
                del self._workers[worker.id]
                if not self._ready:
                    self._any_ready.clear()
                log.error("The worker exited with code %s.", code)
                if time.monotonic() - started > STEADY_SECONDS:
                    backoff = FIRST_BACKOFF_SECONDS
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, self._longest_backoff_seconds)
                log.warning("Starting the worker again.")
            try:
                worker = await self._start_worker()
            except Exception as error:  # noqa: BLE001 - whatever is wrong with the app may be fixed meanwhile
                log.error("The worker could not be started: %s", error)
                worker = None
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, self._longest_backoff_seconds)


def _check(result: Any, task: str) -> None:
    if result.status != _SUCCESS:
        raise WorkerFailed(f"The worker could not {task}: {result.exception.message}\n{result.exception.stack_trace}")
