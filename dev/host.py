"""The local functions host: one app, its worker, its triggers.

It does what Azure's host does for the triggers that the product uses (Event Hubs batches, timers, queues, HTTP), in the
same order: settings, host.json, worker, indexing, loading, listeners. Its own log lines hold names, counts and times,
never the content of an event, a message or a request.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Mapping
from datetime import timedelta
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

from azure.storage.blob import ContainerClient

from dev.checkpoints import CONTAINER, CheckpointStore, ConsumerGroup
from dev.event_listener import PartitionListener
from dev.functions import EventHubTrigger, Function, FunctionInvalid, QueueTrigger, TimerTrigger
from dev.host_config import load_host_config
from dev.hub import EventRefused, Hub
from dev.hubs import Hubs
from dev.keys import load_keys
from dev.queue_listener import POISON_SUFFIX, QueueListener, Queues
from dev.timers import Timer
from dev.worker_process import InvocationResult, WorkerSupervisor
from medtech.errors import SettingInvalid
from medtech.storage.connection import Storage, Timeouts, setting_in_use

log = logging.getLogger("Host")

DRAIN_SECONDS = 10.0
STORAGE = "AzureWebJobsStorage"
CHECKPOINT_TIMEOUTS = Timeouts(connect_seconds=5, read_seconds=5, retries=2)
"""A host that ends waits for a checkpoint that is being written."""


class Invocations(NamedTuple):
    """How many invocations of a function there were since the host started, and how they ended."""

    started: int = 0
    succeeded: int = 0
    failed: int = 0


class FunctionsHost:
    """One running app and all that belongs to it. Created, started and stopped in one event loop."""

    def __init__(
        self,
        app_directory: Path,
        settings: Mapping[str, str],
        data_folder: Path,
        partition_count: int,
        longest_wait_seconds: float = inf,
        retention: timedelta | None = None,
        hub_folder: Path | None = None,
    ) -> None:
        """`retention` is how long events stay in the hubs; None for ever. `hub_folder` holds them: other hosts may
        read the same ones. Without it they are in the data folder."""
        self.config = load_host_config(app_directory, settings)
        self.keys = load_keys(data_folder)
        self.worker = WorkerSupervisor(app_directory, settings, self.config, longest_wait_seconds)
        self.functions: dict[str, Function] = {}
        self.timers: dict[str, Timer] = {}
        self.invocations: dict[str, Invocations] = {}
        self._settings = settings
        self.hubs = Hubs(hub_folder or data_folder / "hub", partition_count, retention)
        self._longest_wait_seconds = longest_wait_seconds
        self._identifier = str(uuid.uuid4())
        self._storage: Storage | None = None
        self._consumer_groups: dict[tuple[str, str], ConsumerGroup] = {}
        self._listeners: list[PartitionListener] = []
        self._queue_listeners: list[QueueListener] = []
        self._queue_storages: list[Storage] = []
        self._listening: set[asyncio.Task[None]] = set()
        self._timing: set[asyncio.Task[Any]] = set()
        self._started = time.monotonic()

    @property
    def uptime_ms(self) -> int:
        return int((time.monotonic() - self._started) * 1000)

    async def start(self) -> None:
        """Starts worker and listeners. Raises WorkerFailed, FunctionInvalid."""
        self.functions = await self.worker.start()
        self.invocations = dict.fromkeys(self.functions, Invocations())
        readers: dict[tuple[str, str], str] = {}
        for function in self.functions.values():
            log.info("Function %s (%s)%s", function.name, type(function.trigger).__name__, _state(function))
            if isinstance(function.trigger, TimerTrigger):
                self._add_timer(function)
            elif isinstance(function.trigger, QueueTrigger):
                self._add_queue_listener(function, function.trigger)
            elif isinstance(function.trigger, EventHubTrigger):
                reads = (function.trigger.event_hub, function.trigger.consumer_group)
                if (other := readers.setdefault(reads, function.name)) != function.name:
                    raise FunctionInvalid(
                        f"Functions {other} and {function.name} both read hub {reads[0]} in consumer group {reads[1]}: "
                        "give each its own, or they take each other's events."
                    )
                self._add_listeners(function, function.trigger)

    async def stop(self) -> None:
        """Waits for running batches and messages to end (at most DRAIN_SECONDS), then ends the workers."""
        for listener in (*self._listeners, *self._queue_listeners):
            listener.stop()
        for task in self._timing:
            task.cancel()
        if self._listening:
            _, late = await asyncio.wait(self._listening, timeout=DRAIN_SECONDS)
            for task in late:
                task.cancel()
        await self.worker.stop()
        self.hubs.close()
        for storage in (self._storage, *self._queue_storages):
            if storage is not None:
                storage.close()

    async def invoke(
        self, name: str, value: Any, metadata: Mapping[str, Any] | None = None, retry: tuple[int, int] = (0, 0)
    ) -> InvocationResult:
        """Runs a function and counts how it ended. Arguments as in WorkerSupervisor.invoke."""
        counts = self.invocations[name]
        self.invocations[name] = counts._replace(started=counts.started + 1)
        result = await self.worker.invoke(name, value, metadata, retry)
        counts = self.invocations[name]
        if result.failure is None:
            self.invocations[name] = counts._replace(succeeded=counts.succeeded + 1)
        else:
            self.invocations[name] = counts._replace(failed=counts.failed + 1)
        return result

    def start_timer(self, name: str) -> None:
        """Starts a run of a timer function without waiting for it."""
        self._track(self._timing, asyncio.create_task(self.timers[name].run()))

    def steal_partition(self, hub: Hub, partition: str, first: int | None = None) -> None:
        """A second listener of the partition, for each function that reads it, starts at once: from the last
        checkpoint, or from sequence number `first`. The one before it finishes the batch in hand, and no more.

        Raises EventRefused for a partition that does not exist or that nobody reads.
        """
        owners = [listener for listener in self._listeners if listener.reads(hub, partition)]
        if not owners:
            raise EventRefused(f"Nobody reads partition {partition}: this hub has 0 to {len(hub.partitions) - 1}.")
        for owner in owners:
            owner.lose()
            self._listeners.remove(owner)
            self._listen(owner.successor(first), first)

    def hub_states(self) -> dict[str, dict[str, dict[str, Any]]]:
        """As of Hubs, and `checkpoints`: the last sequence number that each consumer group of the app has done."""
        states = self.hubs.states()
        for name, partitions in states.items():
            groups = {group: each for (of, group), each in self._consumer_groups.items() if of == name}
            for partition_id, state in partitions.items():
                state["checkpoints"] = {group: each.done(partition_id) for group, each in groups.items()}
        return states

    def _add_timer(self, function: Function) -> None:
        timer = self.timers[function.name] = Timer(function, lambda value: self.invoke(function.name, value))
        if not function.disabled:
            self._track(self._timing, asyncio.create_task(timer.follow_schedule()))

    def _add_listeners(self, function: Function, trigger: EventHubTrigger) -> None:
        if not self.config.has_extensions:
            raise FunctionInvalid(f"Function {function.name}: name an extensionBundle in host.json for its trigger.")
        namespace = _namespace(function.name, trigger.connection, self._settings)
        hub = self.hubs.open(trigger.event_hub)
        hub.add_consumer_group(trigger.consumer_group, is_read=not function.disabled)
        group = ConsumerGroup(
            hub,
            CheckpointStore(
                self._checkpoint_container(function.name),
                namespace,
                trigger.event_hub,
                trigger.consumer_group,
                self._identifier,
            ),
        )
        self._consumer_groups[trigger.event_hub, trigger.consumer_group] = group
        if function.disabled:
            return

        async def invoke(value: Any, metadata: dict[str, Any], retry: tuple[int, int]) -> InvocationResult:
            return await self.invoke(function.name, value, metadata, retry)

        for partition in hub.partitions:
            self._listen(
                PartitionListener(
                    function,
                    hub,
                    partition,
                    group,
                    namespace,
                    self.config.event_hubs,
                    invoke,
                    self._longest_wait_seconds,
                )
            )

    def _add_queue_listener(self, function: Function, trigger: QueueTrigger) -> None:
        if not self.config.has_extensions:
            raise FunctionInvalid(f"Function {function.name}: name an extensionBundle in host.json for its trigger.")
        # Storage itself would take AzureWebJobsStorage in its place, which Azure's host does not.
        if setting_in_use(trigger.connection, self._settings) != trigger.connection:
            raise _without_queue(function.name, trigger.connection)
        storage = Storage(trigger.connection, self._settings, CHECKPOINT_TIMEOUTS)
        try:
            service = storage.queue_service()
        except (SettingInvalid, ValueError):  # not a ValueError's text: it may quote the connection string
            raise _without_queue(function.name, trigger.connection) from None
        self._queue_storages.append(storage)
        if function.disabled:
            return

        async def invoke(value: Any, metadata: dict[str, Any]) -> InvocationResult:
            return await self.invoke(function.name, value, metadata)

        queues = Queues(*(service.get_queue_client(f"{trigger.queue}{suffix}") for suffix in ("", POISON_SUFFIX)))
        listener = QueueListener(function, queues, self.config.queues, invoke, self._longest_wait_seconds)
        self._queue_listeners.append(listener)
        self._track(self._listening, asyncio.create_task(listener.run()))

    def _checkpoint_container(self, function: str) -> ContainerClient:
        """Raises FunctionInvalid if the app has no storage, without which Azure starts no such function either."""
        try:
            if self._storage is None:
                self._storage = Storage(STORAGE, self._settings, CHECKPOINT_TIMEOUTS)
            return self._storage.container(CONTAINER)
        except (SettingInvalid, ValueError):  # not a ValueError's text: it may quote the connection string
            raise FunctionInvalid(
                f"Function {function}: set {STORAGE} to a connection string; checkpoints are kept in its blobs."
            ) from None

    def _listen(self, listener: PartitionListener, first: int | None = None) -> None:
        self._listeners.append(listener)
        self._track(self._listening, asyncio.create_task(listener.run(first)))

    def _track(self, tasks: set[asyncio.Task[Any]], task: asyncio.Task[Any]) -> None:
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        task.add_done_callback(_report_fault)


def _namespace(function: str, connection: str, settings: Mapping[str, str]) -> str:
    """The namespace's host name from a Functions connection. Raises FunctionInvalid if there is no such setting."""
    if (name := settings.get(f"{connection}__fullyQualifiedNamespace")) is not None:
        return name
    parts = dict(part.partition("=")[::2] for part in settings.get(connection, "").split(";"))
    # Without the port, as EventHubsConnectionStringProperties.FullyQualifiedNamespace of azure-sdk-for-net has it.
    endpoint = parts.get("Endpoint", "").removeprefix("sb://").partition("/")[0].partition(":")[0]
    if not endpoint:
        raise FunctionInvalid(
            f"Function {function}: add the setting {connection} or {connection}__fullyQualifiedNamespace."
        )
    return endpoint


def _without_queue(function: str, connection: str) -> FunctionInvalid:
    return FunctionInvalid(f"Function {function}: set {connection} to a connection string; its queue is there.")


def _state(function: Function) -> str:
    return " disabled" if function.disabled else ""


def _report_fault(task: asyncio.Task[Any]) -> None:
    """A listener or timer that ends with an exception is a fault of this host; without a log it would just go quiet."""
    if not task.cancelled() and (fault := task.exception()) is not None:
        log.critical("The local host itself failed.", exc_info=fault)
