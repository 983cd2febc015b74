"""A flush by the timer beside one by queue, on one worker and on four, at a FHIR server whose answers are scripted.

    python -m bench.fanout [--readings N]

Each line is one flush of the same new Observations (a Quantity each) in four shards, from the tick until the buffer is
empty, on the local host with Microsoft's worker runtime and Azurite; every worker has flushed before. The FHIR server
stores nothing: it says of each Observation that it was not there, and then that it was created. All of them share the
cores of this machine, so beside the seconds stand the CPU seconds of each. Those of the busiest worker are what a flush
would take at least if each worker had a core of its own: a worker is one process of Python, and takes one at most.
"""

import argparse
import hashlib
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from http.server import ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import orjson
import psutil

from bench.frame import HERE
from dev.loopback import QuietHandler
from dev.ports import choose_ports
from dev.processes import ROOT, Server, azurite, storage_connection_string
from dev.running_host import RunningHost
from medtech.dotnet import ticks
from medtech.group import windows
from medtech.group.buffer import Buffer, segment_rows
from medtech.model import Measurement
from medtech.storage.connection import Storage
from tests.dev.waiting import wait_until

READINGS = 16_000
DEVICES = 400
SHARDS = 4
WARM_READINGS = 400
PATIENCE_SECONDS = 600

_QUEUES = "AzureFunctionsJobHost__extensions__queues__"
_STATEMENT = {
    "resourceType": "CapabilityStatement",
    "fhirVersion": "4.0.1",
    "rest": [{"mode": "server", "interaction": [{"code": "batch"}], "resource": [{"type": "Observation"}]}],
}


class Mode(NamedTuple):
    """A way to flush; `workers` of one host."""

    name: str
    workers: int
    by_queue: bool


MODES = (Mode("timer", 1, False), Mode("queue", 1, True), Mode("queue", 4, True))


def main() -> int:
    """The exit code: 0 if every reading was sent to the FHIR server."""
    parser = argparse.ArgumentParser(prog="python -m bench.fanout")
    parser.add_argument("--readings", type=int, default=READINGS)
    parser.add_argument("--serve", type=int, metavar="PORT", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve)
    print(f"{arguments.readings} readings, {SHARDS} shards, {os.cpu_count()} cores for all of it")
    print("by      workers  seconds  readings/s   CPU seconds: workers  busiest  host  Azurite  FHIR server")
    complete = [_measure(mode, arguments.readings) for mode in MODES]
    return 0 if all(complete) else 1


def _measure(mode: Mode, readings: int) -> bool:
    with TemporaryDirectory() as name:
        folder = Path(name)
        blob, queue, table, fhir = choose_ports(dict.fromkeys(("blob", "queue", "table", "fhir")))
        storage_server = azurite(folder / "azurite", folder / "logs", blob, queue, table)
        command = [sys.executable, "-m", "bench.fanout", "--serve", str(fhir)]
        fhir_server = Server("fhir", command, [fhir], folder / "logs")
        connection = storage_connection_string(blob, queue, table)
        storage = Storage(environment={"BufferStorage": connection})
        servers = (storage_server, fhir_server)
        try:
            for server in servers:
                server.start()
                server.wait_until_ready()
            settings = _settings(mode, connection, f"http://127.0.0.1:{fhir}")
            with RunningHost(folder / "host", app_directory=ROOT, settings=settings, longest_wait_seconds=0.5) as host:
                wait_until(lambda: len(host.worker_pids) == mode.workers)
                buffer = Buffer(storage)
                for sequence in range(1, 4):  # every worker has a turn, and has imported what it needs
                    _fill(buffer, WARM_READINGS, sequence)
                    _flush(host, buffer)
                _fill(buffer, readings, 4)
                processes = {
                    "workers": list(host.worker_pids),
                    "host": [host.host.pid],
                    "Azurite": [storage_server.pid],
                    "FHIR server": [fhir_server.pid],
                }
                before = {of: _cpu_seconds(pids) for of, pids in processes.items()}
                started = time.monotonic()
                _flush(host, buffer)
                seconds = time.monotonic() - started
                after = {of: _cpu_seconds(pids) for of, pids in processes.items()}
                complete = not buffer.shards() and list(host.worker_pids) == processes["workers"]
        finally:
            storage.close()
            for server in reversed(servers):
                server.stop()
    taken = {of: [end - start for start, end in zip(before[of], after[of], strict=True)] for of in processes}
    print(
        f"{mode.name:<7} {mode.workers:>7} {seconds:>8.2f} {readings / seconds:>11.0f} {sum(taken['workers']):>22.2f} "
        f"{max(taken['workers']):>8.2f} {sum(taken['host']):>5.2f} {sum(taken['Azurite']):>8.2f} "
        f"{sum(taken['FHIR server']):>12.2f}",
        flush=True,
    )
    return complete


def _settings(mode: Mode, connection: str, fhir_url: str) -> dict[str, str]:
    return {
        "AzureWebJobsStorage": connection,
        "FHIR_SERVICE_URL": fhir_url,
        "FHIR_MAPPING": str(HERE / "quantity.fhir.json"),
        "FHIR_AUTHENTICATION": "none",
        "EventHubConnection__fullyQualifiedNamespace": "localhost",
        "EVENT_HUB_NAME": "devicedata",
        "FLUSH_SCHEDULE": "0 0 0 1 1 *",
        "FLUSH_FANOUT": "queue" if mode.by_queue else "timer",
        "FUNCTIONS_WORKER_PROCESS_COUNT": str(mode.workers),
        f"{_QUEUES}batchSize": str(mode.workers),
        f"{_QUEUES}maxPollingInterval": "00:00:00.1",
    }


def _fill(buffer: Buffer, readings: int, sequence: int) -> None:
    """One batch of an hour ago, whose window is due."""
    enqueued = ticks.now() - 3600 * ticks.TICKS_PER_SECOND
    measurements = [
        Measurement(
            type="heartRate",
            occurrence_time=enqueued - (number // DEVICES * 60 + sequence) * ticks.TICKS_PER_SECOND,
            device_id=f"device-{number % DEVICES}",
            patient_id=None,
            encounter_id=None,
            correlation_id=None,
            properties=(("hr", str(60 + number % 40)),),
            ingestion_time=enqueued,
            partition="0",
            sequence_number=number,
            template=0,
            match=0,
        )
        for number in range(readings)
    ]
    prefix = windows.event_row_prefix(
        hub="0a1b2c3d", partition="0", first_sequence=sequence, last_sequence=sequence, first_enqueued=enqueued
    )
    rows, _ = segment_rows(measurements, window_seconds=300, shards=SHARDS, row_prefix=prefix, hub="0a1b2c3d")
    buffer.store(rows)


def _flush(host: RunningHost, buffer: Buffer) -> None:
    host.run_timer("flush")
    wait_until(lambda: not buffer.shards(), PATIENCE_SECONDS)


def _cpu_seconds(pids: Iterable[int | None]) -> list[float]:
    """Of each process so far."""
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return [each.user + each.system for each in times]


# The FHIR server, in a process of its own.


def serve(port: int) -> None:
    """Answers until it is ended."""
    ThreadingHTTPServer(("127.0.0.1", port), Scripted).serve_forever()


class Scripted(QuietHandler):
    """Every Device is there, with its Patient; no Observation is, until it is created."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._send(_STATEMENT if self.path.endswith("/metadata") else _found(self.path.lstrip("/"))["resource"])

    def do_POST(self) -> None:
        body = orjson.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._send(
            {"resourceType": "Bundle", "type": "batch-response", "entry": [_answer(each) for each in body["entry"]]}
        )

    def _send(self, document: Mapping[str, Any]) -> None:
        body = orjson.dumps(document)
        self.send_response(200)
        self.send_header("Content-Type", "application/fhir+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _answer(entry: Mapping[str, Any]) -> dict[str, Any]:
    request = entry["request"]
    if request["method"] == "GET":
        return _found(request["url"])
    resource = entry["resource"]
    response = {
        "status": "201",
        "etag": 'W/"1"',
        "location": f"{resource['resourceType']}/{resource['id']}/_history/1",
    }
    return {"resource": resource | {"meta": {"versionId": "1"}}, "response": response}


def _found(address: str) -> dict[str, Any]:
    place = urlsplit(address)
    kind, _, of_id = place.path.partition("/")
    if kind == "Observation":
        return {"response": {"status": "404"}}
    if of_id:
        return {"resource": {"resourceType": kind, "id": of_id}, "response": {"status": "200", "etag": 'W/"1"'}}
    entries = [{"resource": each, "search": {"mode": "match"}} for each in _devices(place.query)]
    bundle = {"resourceType": "Bundle", "type": "searchset", "total": len(entries), "entry": entries}
    return {"resource": bundle, "response": {"status": "200"}}


def _devices(query: str) -> Iterator[dict[str, Any]]:
    for text in parse_qs(query)["identifier"]:
        for identifier in text.split(","):
            value = identifier.rpartition("|")[2]
            of_id = hashlib.sha256(value.encode()).hexdigest()
            yield {
                "resourceType": "Device",
                "id": of_id,
                "meta": {"versionId": "1"},
                "identifier": [{"value": value}],
                "patient": {"reference": f"Patient/{of_id}"},
            }


if __name__ == "__main__":
    sys.exit(main())
