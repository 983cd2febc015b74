#!/usr/bin/env python3
"""What ingest adds to a worker's memory while it works on a large batch: `python -m bench.ingest_memory`

Each shape of batch is put through in a child process of its own, into a real Azurite (which needs dev/node_modules).
The child first puts a small batch through, so that everything is loaded, and takes the events of the large one, whose
bodies a worker holds in any case. What its resident memory rises above that is what ingest adds; the target is twice
what a slice may hold of bodies, 16 MiB. Linux only: the peak is read from /proc.
"""

import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from medtech.dead_letter.store import DeadLetters
from medtech.dotnet import ticks
from medtech.group.buffer import Buffer
from medtech.ingest.batch import process
from medtech.ingest.events import read_events
from medtech.ingest.slices import SLICE_BYTES
from medtech.mapping.device import load_device_mapping
from medtech.settings import Settings
from medtech.storage.connection import Storage
from tests.azurite import Azurite
from tests.ingest.delivery import Sent, deliver

MIB = 1024 * 1024
MAPPING = json.dumps(
    {
        "templateType": "CollectionContent",
        "template": [
            {
                "templateType": "CalculatedContent",
                "template": {
                    "typeName": "pulse",
                    "typeMatchExpression": "$..[?(@pulse)]",
                    "deviceIdExpression": "$.Body.device",
                    "timestampExpression": "$.matchedToken.time",
                    "values": [{"valueName": "pulse", "valueExpression": "$.matchedToken.pulse", "required": True}],
                },
            }
        ],
    }
)


def _readings(count: int, *, device: str = "device-1", padding: int = 0, bad: bool = False) -> bytes:
    noise = random.Random(count)
    readings = [
        {"time": "nonsense" if bad else f"2024-02-29T10:{n // 60 % 60:02d}:{n % 60:02d}Z", "pulse": noise.random()}
        for n in range(count)
    ]
    return json.dumps({"device": device, "padding": noise.randbytes(padding // 2).hex(), "readings": readings}).encode()


def _batch(messages: int, make: Callable[[int], bytes]) -> Callable[[], list[bytes]]:
    return lambda: [make(number) for number in range(messages)]


SHAPES: dict[str, Callable[[], list[bytes]]] = {
    "500 messages of 200 bytes": _batch(500, lambda number: _readings(1, device=f"device-{number}")),
    "500 messages of 20 KB, readings": _batch(500, lambda number: _readings(320, device=f"device-{number}")),
    "100 messages of 200 KB, readings": _batch(100, lambda number: _readings(3_300, device=f"device-{number}")),
    "500 messages of 200 KB, one reading": _batch(500, lambda number: _readings(1, padding=200_000)),
    "60 messages of 1 MiB, one reading": _batch(60, lambda number: _readings(1, padding=MIB - 200)),
    "20 messages of 1 MiB, readings": _batch(20, lambda number: _readings(17_000)),
    "one message of 1 MiB, readings": _batch(1, lambda number: _readings(17_000)),
    "100 messages of 200 KB, bad readings": _batch(100, lambda number: _readings(4_000, bad=True)),
    "one message, id of 500 KB, 5,000 readings": _batch(1, lambda number: _readings(5_000, device="d" * 500_000)),
}


class Measured(NamedTuple):
    """Bytes: of the batch's bodies, and of the memory that rose above what the worker had before."""

    bodies: int
    added: int


def measure(shape: str, connection_string: str) -> Measured:
    """Puts one shape through in a child process."""
    command = [sys.executable, "-m", "bench.ingest_memory", shape, connection_string]
    answer = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True)
    return Measured(*json.loads(answer.stdout))


def _child(shape: str, connection_string: str) -> Measured:
    storage = Storage(environment={"BufferStorage": connection_string})
    buffer, dead_letters, mapping = Buffer(storage), DeadLetters(storage), load_device_mapping(MAPPING)

    def put_through(bodies: list[bytes]) -> Callable[[], object]:
        events = read_events(deliver([Sent(body, number) for number, body in enumerate(bodies)]))
        return lambda: process(events, mapping, buffer, dead_letters, Settings(), ticks.now)

    put_through([_readings(2, device=f"device-{number}") for number in range(20)] + [b"no JSON"])()
    bodies = SHAPES[shape]()
    run = put_through(bodies)
    before = _resident_bytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    run()
    return Measured(sum(map(len, bodies)), _resident_bytes("VmHWM") - before)


def _resident_bytes(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(name)


def main() -> None:
    with tempfile.TemporaryDirectory() as location:
        server = Azurite(Path(location))
        server.start()
        try:
            for shape in SHAPES:
                bodies, added = measure(shape, server.connection_string)
                print(f"{shape:42} {bodies / MIB:7.1f} MiB of bodies, {added / MIB:6.1f} MiB added", flush=True)
            print(f"target: at most {2 * SLICE_BYTES / MIB:.0f} MiB added")
        finally:
            server.stop()


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(_child(*sys.argv[1:])))
    else:
        main()
