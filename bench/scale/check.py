"""Points measured on this machine, beside what the simulation says of them: `python -m bench.scale --check`

The whole local run: host, worker, Azurite and FHIR server. Counted is the worker's CPU time, since the cores are shared
with what it talks to; a first, small batch is put through before, so that everything is imported.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from bench.scale.figures import Figures
from bench.scale.plan import shards_hit
from dev.stack import LocalStack
from medtech.dotnet import ticks
from medtech.storage.connection import Storage

MOST_OFF = 1.5
"""A prediction that is off by more than this, either way, is no longer worth its table."""

DEVICES = 200
PARTITIONS = 4
LARGE, MIDDLE, SMALL = (500, 10_000), (50, 5_000), (5, 1_000)
"""Messages in a batch at most, and in all; their readings are what is flushed. Some costs in figures.json are fitted to
LARGE and SMALL, none to MIDDLE."""

_SETTINGS = {
    "DEVICE_MAPPING": "bench/single.device.json",
    "FHIR_MAPPING": "bench/quantity.fhir.json",
    "RESOURCE_IDENTITY_RESOLUTION_TYPE": "Create",
    "FLUSH_SCHEDULE": "0 0 0 1 1 *",
    "BUFFER_SHARDS": "4",
}


class Point(NamedTuple):
    """Seconds of the worker's core."""

    name: str
    measured: float
    predicted: float

    @property
    def agrees(self) -> bool:
        return 1 / MOST_OFF <= self.measured / self.predicted <= MOST_OFF


def run(figures: Figures) -> int:
    """Prints the points; the exit code is 1 if one is off by more than MOST_OFF."""
    points = list(_points(figures))
    print(f"{'':44} {'measured':>10} {'predicted':>10} {'ratio':>7}")
    for point in points:
        verdict = "" if point.agrees else "  off"
        print(
            f"{point.name:44} {point.measured:8.2f} s {point.predicted:8.2f} s "
            f"{point.measured / point.predicted:7.2f}{verdict}",
            flush=True,
        )
    return 0 if all(point.agrees for point in points) else 1


def _points(figures: Figures) -> Iterable[Point]:
    costs = figures.costs
    for most, messages in (LARGE, MIDDLE, SMALL):
        settings = _SETTINGS | {"AzureFunctionsJobHost__extensions__eventHubs__maxEventBatchSize": str(most)}
        with (
            TemporaryDirectory() as folder,
            LocalStack(Path(folder), settings=settings, partitions=PARTITIONS) as stack,
        ):
            _send(stack, range(DEVICES))
            _flush(stack)
            begun = stack.invocations("normalize")["succeeded"]
            processor = _processor_seconds(stack)
            _send(stack, range(DEVICES, DEVICES + messages))
            spent = _processor_seconds(stack) - processor
            batches = stack.invocations("normalize")["succeeded"] - begun
            of_one = messages / batches
            yield Point(
                f"ingest, {messages:,} messages in {batches:,} batches",
                spent,
                batches * costs.call_seconds(of_one, 1, shards_hit(of_one, 4)),
            )
            rows = _rows(stack)
            processor = _processor_seconds(stack)
            _flush(stack)
            spent = _processor_seconds(stack) - processor
            yield Point(
                f"flush, {messages:,} new Observations of {rows:,} rows",
                spent,
                (rows * costs.flush_row_us + messages * (costs.flush_reading_us + costs.new_observation_us)) / 1e6,
            )


def _send(stack: LocalStack, numbers: Iterable[int]) -> None:
    # Of a window that is over, so that a flush finds it due.
    enqueued = ticks.format_iso(ticks.now() - ticks.TICKS_PER_HOUR)
    stack.post_events([_event(number, enqueued) for number in numbers])
    stack.wait_until_read()


def _event(number: int, enqueued: str) -> dict[str, Any]:
    taken = ticks.from_unix_seconds(1_760_000_000 + number)
    device = f"device-{number % DEVICES}"
    body = {
        "heartRate": str(60 + number % 40),
        "endDate": ticks.format_iso(taken),
        "deviceId": device,
        "patientId": f"patient-of-{device}",
        "battery": 0.87,
        "firmware": "1.2.3",
    }
    return {"body": body, "partition": str(number % PARTITIONS), "enqueuedTime": enqueued}


def _flush(stack: LocalStack) -> None:
    if not stack.run_timer("flush") or _rows(stack):
        raise RuntimeError(f"The flush left rows in the buffer:\n{stack.logs()[-2_000:]}")


def _rows(stack: LocalStack) -> int:
    storage = Storage(environment={"BufferStorage": stack.storage_connection_string})
    try:
        return sum(1 for _ in storage.table("buffer").query("PartitionKey ne ''", select=["RowKey"]))
    finally:
        storage.close()


def _processor_seconds(stack: LocalStack) -> float:
    fields = Path(f"/proc/{stack.worker_pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
