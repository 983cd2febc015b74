#!/usr/bin/env python3
"""What device messages cost from the worker's protobuf to the buffer, beside Microsoft's converter as the library has
it: `python -m bench.ingest`

The messages of the workloads `single` (500, a reading each) and `batch` (100 of 50 readings) go, in one function call,
through what the worker and the app do with a batch: decoding as the trigger's converter, normalizing with a real device
mapping, packing, and writing to the buffer in a real Azurite, which needs dev/node_modules.

It prints our own CPU time by stage (all threads of this process, without Azurite's own) in microseconds a message, the
best of several rounds in which the untouched converter takes its turn, and the number of writes to the table. The
targets are ratios to the untouched converter alone, and one write per slice, window and shard.
"""

import gc
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench import workloads
from medtech.dead_letter.store import DeadLetters
from medtech.dotnet import ticks
from medtech.group.buffer import Buffer, SegmentRow, segment_rows
from medtech.ingest.batch import BatchCounts, process
from medtech.ingest.events import read_events
from medtech.ingest.slices import normalize_slice
from medtech.mapping.device import DeviceMapping, load_device_mapping
from medtech.model import DeviceEvent, Measurement
from medtech.settings import Settings
from medtech.storage.connection import Storage
from tests.azurite import Azurite
from tests.ingest.delivery import Sent, datums, deferring, untouched

ROUNDS = 15


class Case(NamedTuple):
    """`target`: what all of ingest may take, as a multiple of what the untouched converter takes."""

    workload: str
    messages: int
    target: float


CASES = [Case("single", 500, 0.20), Case("batch", 100, 2.2)]


class Scene(NamedTuple):
    """One workload, ready to be put through."""

    messages: list[Sent]
    mapping: DeviceMapping
    settings: Settings
    buffer: Buffer
    dead_letters: DeadLetters


class NoStorage(Buffer):
    """A buffer that makes the entities and sends none."""

    def __init__(self) -> None:
        pass

    def store(self, rows: Sequence[SegmentRow]) -> list[Measurement]:
        for row in rows:
            row.entity()
        return []


class CountedBuffer(Buffer):
    """A buffer that counts the rows it stores."""

    rows = 0

    def store(self, rows: Sequence[SegmentRow]) -> list[Measurement]:
        self.rows += len(rows)
        return super().store(rows)


def scene(case: Case, storage: Storage) -> Scene:
    bodies = [json.dumps(message).encode() for message in getattr(workloads, case.workload)()][: case.messages]
    # As the extension writes them: without a zone.
    messages = [
        Sent(body, number, f"2024-02-29T10:00:{number % 60:02d}.{number * 7919 % 1000:03d}")
        for number, body in enumerate(bodies)
    ]
    mapping = load_device_mapping((Path(__file__).parent / f"{case.workload}.device.json").read_text())
    return Scene(messages, mapping, Settings(), CountedBuffer(storage), DeadLetters(storage))


def one_round(scene: Scene) -> dict[str, float]:
    """CPU seconds of each stage."""
    spent: dict[str, float] = {}

    def timed(stage: str, run: Callable[[], Any]) -> Any:
        gc.collect()
        started = time.process_time()
        made = run()
        spent[stage] = time.process_time() - started
        return made

    def decoded(decode: Callable[..., Any]) -> Callable[[], Any]:
        data, metadata = datums(scene.messages)
        return lambda: decode(data, trigger_metadata=metadata)

    def put_through(buffer: Buffer) -> Callable[[], BatchCounts]:
        return lambda: process(events, scene.mapping, buffer, scene.dead_letters, scene.settings, ticks.now)

    timed("the untouched converter", decoded(untouched))
    delivered = timed("converter", decoded(deferring))
    events: list[DeviceEvent] = timed("reading events", lambda: read_events(delivered))
    timed("mapping", lambda: [scene.mapping.normalize(event) for event in events])
    taken = timed("slice", lambda: normalize_slice(events, 0, len(events), scene.mapping))
    timed(
        "rows",
        lambda: segment_rows(
            taken.measurements,
            hub="0a1b2c3d",
            row_prefix="e",
            window_seconds=300,
            shards=4,
            characters=taken.characters,
        ),
    )
    timed("without storage", put_through(NoStorage()))
    counts = timed("with storage", put_through(scene.buffer))
    assert counts.normalized_events == len(events) and not counts.letters, counts
    return spent


def report(case: Case, scene: Scene, best: dict[str, float]) -> None:
    def line(stage: str, seconds: float) -> None:
        print(f"  {stage:34}{seconds / case.messages * 1e6:9.2f} us a message")

    reading = best["converter"] + best["reading events"]
    whole = reading + best["with storage"]
    print(f"{case.workload}, {case.messages} messages a call")
    line("the untouched converter", best["the untouched converter"])
    line("from the converter to events", reading)
    line("mapping", best["mapping"])
    line("slices around it", best["slice"] - best["mapping"])
    line("rows", best["rows"])
    line("table writes", best["with storage"] - best["without storage"])
    line("from protobuf to stored", whole)
    ratio = whole / best["the untouched converter"]
    verdict = "met" if ratio <= case.target else "missed"
    print(f"  ratio to the untouched converter  {ratio:9.3f}  (at most {case.target}: {verdict})")


def main() -> None:
    with tempfile.TemporaryDirectory() as location:
        server = Azurite(Path(location))
        server.start()
        try:
            storage = Storage(environment={"BufferStorage": server.connection_string})
            for case in CASES:
                ready = scene(case, storage)
                best: dict[str, float] = {}
                for _ in range(ROUNDS):
                    for stage, seconds in one_round(ready).items():
                        best[stage] = min(best.get(stage, seconds), seconds)
                report(case, ready, best)
                assert isinstance(ready.buffer, CountedBuffer)
                print(f"  table writes                      {ready.buffer.rows / ROUNDS:9.1f} a call")
        finally:
            server.stop()


if __name__ == "__main__":
    main()
