"""What 1,000 device messages ask of storage and of the FHIR server, counted on the wire: what a bill is made of.

    python -m bench.operations

The whole app on the local run, with proxies in front of its storage and of the FHIR server. 100 devices send ten
messages each within one window, first in batches as large as host.json allows, then each message as a batch of its own,
as in a hub that is quiet. Devices, patients and tables are there before anything is counted.

Not counted is what goes by the clock and not by the messages: a look at the mappings in force and a record for health,
each every 30 s at most, and what the Functions host itself asks of storage (a checkpoint for each batch, its leases).
"""

import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from dev.ports import choose_ports
from dev.processes import storage_connection_string
from dev.stack import LocalStack, Ports
from medtech.command import traffic
from medtech.dotnet import ticks
from tests.faults import FaultProxy, ProxiedRequest

PARTITIONS = 4
DEVICES = 100
MESSAGES_A_MINUTE = 2
WINDOW_SECONDS = 300
NEVER = "0 0 0 1 1 *"
SEED = 1
BATCHES = (500, 1)
"""What host.json allows at most, and what a quiet hub gives."""


class Counts(NamedTuple):
    """`entries` are the reads and writes within the bundles that the requests to the FHIR server hold."""

    table: int
    blob: int
    fhir: int
    entries: int
    fhir_bytes: int

    def __str__(self) -> str:
        fhir = f"{self.fhir:4d} FHIR requests with {self.entries:5,d} entries, {self.fhir_bytes / 1024:,.0f} KiB"
        return f"{self.table:7,d} table, {self.blob:3d} blob, {fhir}"


class Wire(NamedTuple):
    """The proxies between the app and what it talks to."""

    tables: FaultProxy
    blobs: FaultProxy
    fhir: FaultProxy

    def counts(self) -> Counts:
        """What came through since the last call."""
        fhir = self.fhir.requests
        counts = Counts(
            table=sum(map(_is_of_the_messages, self.tables.requests)),
            blob=len(self.blobs.requests),
            fhir=len(fhir),
            entries=sum(len(request.bundle_methods) or 1 for request in fhir),
            fhir_bytes=sum(len(request.body) + request.answer_bytes for request in fhir),
        )
        for proxy in self:
            proxy.requests.clear()
        return counts


class Figures(NamedTuple):
    """What 1,000 messages cost, and a tick of the timer that finds nothing due: with an empty buffer, and with readings
    in every shard whose window is not over yet."""

    messages: int
    readings: int
    normalize: Counts
    flush: Counts
    idle_flush: Counts
    early_flush: Counts


def _is_of_the_messages(request: ProxiedRequest) -> bool:
    return "/mappings" not in request.path and "'arrival'" not in request.path


def main() -> int:
    for batch in BATCHES:
        figures = measure(batch)
        print(
            f"{figures.messages} messages, {figures.readings} readings, {DEVICES} devices, batches of {batch} at most"
        )
        print(f"  normalize             {figures.normalize}")
        print(f"  flush                 {figures.flush}")
        print(f"  flush, nothing there  {figures.idle_flush}")
        print(f"  flush, nothing due    {figures.early_flush}")
    return 0


def measure(batch: int) -> Figures:
    """The figures with batches of so many messages at most."""
    with TemporaryDirectory() as folder, _app(Path(folder), batch) as (stack, wire):
        return _measure(stack, wire)


def _measure(stack: LocalStack, wire: Wire) -> Figures:
    now = ticks.floor(ticks.now(), WINDOW_SECONDS * ticks.TICKS_PER_SECOND)
    earlier, counted = (now - windows * WINDOW_SECONDS * ticks.TICKS_PER_SECOND for windows in (6, 3))
    _send(stack, traffic.messages(DEVICES, 1, 60, earlier, SEED))
    stack.run_timer("flush")
    wire.counts()
    messages = list(traffic.messages(DEVICES, MESSAGES_A_MINUTE, WINDOW_SECONDS, counted, SEED))
    _send(stack, messages)
    normalize = wire.counts()
    stack.run_timer("flush")
    flush = wire.counts()
    stack.run_timer("flush")
    idle_flush = wire.counts()
    _send(stack, traffic.messages(DEVICES, 1, 60, ticks.now(), SEED))
    wire.counts()
    stack.run_timer("flush")
    readings = sum(len(message.readings) for message in messages)
    return Figures(len(messages), readings, normalize, flush, idle_flush, wire.counts())


def _send(stack: LocalStack, messages: Iterable[traffic.Message]) -> None:
    stack.post_events(
        [
            {
                "body": message.body.decode(),
                # Not by partition key: the local hub hashes it as the app hashes devices to shards, Azure's does not.
                "partition": str(zlib.adler32(message.device_id.encode()) % PARTITIONS),
                "enqueuedTime": ticks.format_iso(message.time),
            }
            for message in messages
        ]
    )
    stack.wait_until_read()


@contextmanager
def _app(folder: Path, batch: int) -> Iterator[tuple[LocalStack, Wire]]:
    blob, queue, table, fhir = choose_ports(dict.fromkeys(("blob", "queue", "table", "fhir")))
    with (
        FaultProxy(f"http://127.0.0.1:{table}") as tables,
        FaultProxy(f"http://127.0.0.1:{blob}") as blobs,
        FaultProxy(f"http://127.0.0.1:{fhir}") as fhir_proxy,
    ):
        settings = {
            # AzureWebJobsStorage, which is the host's too, stays without proxies.
            "BufferStorage": storage_connection_string(_port(blobs), queue, _port(tables)),
            "FHIR_SERVICE_URL": f"{fhir_proxy.url}/fhir/R4",
            "RESOURCE_IDENTITY_RESOLUTION_TYPE": "Create",
            "WINDOW_SECONDS": str(WINDOW_SECONDS),
            "FLUSH_SCHEDULE": NEVER,
            # With windows of five minutes every link between Device and Patient is older than the default of 60 s.
            "IDENTITY_CACHE_SECONDS": "0",
            "AzureFunctionsJobHost__extensions__eventHubs__maxEventBatchSize": str(batch),
        }
        ports = Ports(blob=blob, queue=queue, table=table, fhir=fhir)
        with LocalStack(folder, settings=settings, ports=ports, partitions=PARTITIONS) as stack:
            yield stack, Wire(tables, blobs, fhir_proxy)


def _port(proxy: FaultProxy) -> int:
    return int(proxy.url.rpartition(":")[2])


if __name__ == "__main__":
    sys.exit(main())
