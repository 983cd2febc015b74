"""Ingest, from the invocation request as protobuf to rows in Azurite: the processor's time, by stage.

The whole call is what Microsoft's worker runtime does with a request that it has received: it makes the function's
arguments, runs the function in a thread of its pool, and answers. What gRPC takes is not in it. The yardstick, in turns
with it, is Microsoft's own converter as it makes the events of a batch, in a copy that the app cannot touch.
"""

import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

from azure_functions_runtime.bindings.datumdef import Datum

from bench import workloads
from bench.path import worker
from bench.path.clocks import Clocks
from bench.path.settings import app_settings, table_port, use
from bench.path.wire import counted

SEAMS = {
    "convert events": ("azure_functions_runtime.handle_event:from_incoming_proto",),
    "read events": ("medtech.ingest.events:read_events",),
    "normalize": ("medtech.ingest.slices:normalize_slice",),
    "pack": ("medtech.group.buffer:segment_rows",),
    "write to the table": (
        "medtech.storage.table:Table.upsert",
        "medtech.storage.table:Table.transact",
        "medtech.storage.table:Table.get",
    ),
}
_WARM_CALLS = 3


def run(*, connection: str, workload: str, messages: int, calls: int) -> dict[str, Any]:
    """`workload` is one of bench/workloads.py, in calls of so many `messages`."""
    use(app_settings(connection, device=f"{workload}.device.json"))
    converter = untouched_converter()
    app = worker.Worker(Path.cwd())
    app.start()
    bodies = _bodies(workload, messages)
    # Each batch follows the one before it: a process that goes on where it was takes the short way.
    first = iter(range(0, sys.maxsize, messages))
    for _ in range(_WARM_CALLS):
        _call(app, bodies, next(first))
    clocks = Clocks(SEAMS)
    clocks.install()
    yardstick: list[float] = []
    calls_taken: list[dict[str, float]] = []
    with counted(table_port(connection)) as sent:
        for _ in range(calls):
            yardstick.append(_convert(converter, bodies))
            clocks.clear()
            calls_taken.append(clocks.with_rest(_call(app, bodies, next(first))))
    best = min(calls_taken, key=lambda taken: sum(taken.values()))
    return {
        "messages": messages,
        "converter_us": _microseconds(min(yardstick), messages),
        "total_us": _microseconds(sum(best.values()), messages),
        "stages_us": {stage: _microseconds(seconds, messages) for stage, seconds in best.items()},
        "table_requests": sent.requests / calls,
        "table_bytes": sent.bytes / calls,
        "missing": clocks.missing,
    }


def untouched_converter() -> Any:
    """Microsoft's converter of Event Hubs events, from a copy of its package that nothing else in this process has."""
    names = [name for name in sys.modules if name == "azure.functions" or name.startswith("azure.functions.")]
    held = {name: sys.modules.pop(name) for name in names}
    try:
        return importlib.import_module("azure.functions.eventhub").EventHubTriggerConverter
    finally:
        for name in [name for name in sys.modules if name == "azure.functions" or name.startswith("azure.functions.")]:
            del sys.modules[name]
        sys.modules.update(held)
        package: Any = sys.modules["azure"]
        if held:
            package.functions = held["azure.functions"]
        else:
            del package.functions


def _bodies(workload: str, messages: int) -> list[bytes]:
    made: list[bytes] = []
    while len(made) < messages:
        made += (json.dumps(message).encode() for message in getattr(workloads, workload)())
    return made[:messages]


def _enqueued(messages: int) -> list[str]:
    return [f"2024-02-29T10:00:{number % 60:02d}.123" for number in range(messages)]


def _convert(converter: Any, bodies: list[bytes]) -> float:
    """Seconds of the processor in which Microsoft's converter makes the events of a batch."""
    metadata = worker.batch_metadata(0, _enqueued(len(bodies)))
    value = worker.batch_value(bodies)
    started = time.process_time()
    given = {name: Datum.from_typed_data(field) for name, field in metadata.items()}
    events = converter.decode(Datum.from_typed_data(value), trigger_metadata=given)
    seconds = time.process_time() - started
    if len(events) != len(bodies):
        raise RuntimeError(f"the converter made {len(events)} events of {len(bodies)}")
    return seconds


def _call(app: worker.Worker, bodies: list[bytes], first: int) -> float:
    """Seconds of the processor, in all threads, in which a batch is stored."""
    metadata = worker.batch_metadata(first, _enqueued(len(bodies)))
    message = worker.parsed(app.request("normalize", "events", worker.batch_value(bodies), metadata))
    started = time.process_time()
    app.invoke(message)
    return time.process_time() - started


def _microseconds(seconds: float, messages: int) -> float:
    return seconds / messages * 1e6
