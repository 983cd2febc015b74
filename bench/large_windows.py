"""What a window of any size takes: microseconds a reading, and the memory of a flush at its peak.

    python -m bench.large_windows [--smoke] [--tenth] [part of a case's name ...]

Time is the processor's, of reading and planning, with identities and a writer that answer at once: 1,000,000 readings
must take no more than 1.5 times as long a reading as 100,000. Memory is of everything, with the local FHIR server
behind it: at most 1.2 times FLUSH_PORTION_MB and 40 MiB above what the process took before. Storage is a local Azurite.
Each case is flushed in a process of its own, which starts with a small flush, so that all it needs is imported.
"""

import logging
import multiprocessing
import random
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from medtech.dead_letter.store import DeadLetters
from medtech.dotnet import ticks
from medtech.errors import MedTechError
from medtech.flush.run import Flush
from medtech.flush.watches import Watches
from medtech.group import windows
from medtech.group.buffer import Buffer, segment_rows
from medtech.mapping.fhir import load_fhir_mapping
from medtech.model import Measurement, ResourceIdentity
from medtech.persist.client import FhirClient
from medtech.persist.identity import IdentityKey, IdentityResolver
from medtech.persist.observations import ObservationWrite, ObservationWriter, Outcome, Saved
from medtech.persist.settle import SavedAs
from medtech.settings import ResolutionType, Settings
from medtech.storage.connection import Storage
from tests.azurite import Azurite
from tests.fhir_server import FhirServer

MOST_SLOWER = 1.5
MOST_OF_SETTING = 1.2
MOST_BESIDE_MIB = 40

_MIB = 1024 * 1024
_WINDOW = ticks.from_unix_seconds(1_760_000_400)
_WINDOW_TICKS = 300 * ticks.TICKS_PER_SECOND
_HERE = Path(__file__).parent


class Case(NamedTuple):
    """`readings` of `devices` in one window, or spread over several that follow each other, stored `batch` at a time.

    `type` is `series` (an hour of SampledData) or `single` (a Quantity).
    """

    name: str
    readings: int
    devices: int
    type: str
    shards: int = 4
    portion_mb: int = 64
    server: bool = False
    windows: int = 1
    batch: int = 500


class Measured(NamedTuple):
    """`peak_mib` is above what the process took before; `left` are the shards that still hold rows."""

    seconds: float
    processor_seconds: float
    settled: int
    peak_mib: float
    left: int

    @property
    def microseconds(self) -> float:
        """Of the processor, a reading."""
        return self.processor_seconds / max(self.settled, 1) * 1e6

    def complete(self, case: Case) -> bool:
        return self.left == 0 and self.settled == case.readings


def most_mib(case: Case) -> float:
    """What a flush may take at its peak."""
    return MOST_OF_SETTING * case.portion_mb + MOST_BESIDE_MIB


TIMES = [
    Case("time: 100,000 of 10,000 devices", 100_000, 10_000, "series"),
    Case("time: 1,000,000 of 100,000 devices", 1_000_000, 100_000, "series"),
]
MEMORY = [
    Case("a Quantity each of 100,000 devices", 100_000, 100_000, "single", server=True),
    Case("200 SampledData each of 1,000 devices", 200_000, 1_000, "series", server=True),
    Case("a SampledData each of 20,000 devices", 20_000, 20_000, "series", server=True),
    Case("100,000 SampledData of one device", 100_000, 1, "series", server=True),
    Case("100,000 Quantities of one device", 100_000, 1, "single", server=True),
    Case("a Quantity each of 100,000 devices, 8 shards", 100_000, 100_000, "single", shards=8, server=True),
]
SMOKE = [Case("smoke", 2_000, 500, "single", portion_mb=4, server=True)]


class _KnownIdentities(IdentityResolver):
    """Every device is known."""

    def resolve(
        self, keys: Iterable[IdentityKey], before_writes: Callable[[], object], watches: object = None
    ) -> dict[IdentityKey, ResourceIdentity | MedTechError]:
        return {key: ResourceIdentity(key.device_id, f"p-{key.device_id}", None) for key in keys}


class _AnswersAtOnce(ObservationWriter):
    def write(
        self, writes: Iterable[ObservationWrite], before_writes: Callable[[Sequence[ObservationWrite]], object]
    ) -> Iterator[Outcome]:
        written = list(writes)
        before_writes([])
        return (Saved(each, SavedAs.CREATED) for each in written)


def main(arguments: Sequence[str]) -> int:
    """The exit code: 0 if every figure is within its bound."""
    cases = SMOKE if "--smoke" in arguments else TIMES + MEMORY
    if chosen := [each for each in arguments if not each.startswith("-")]:
        cases = [case for case in cases if any(each in case.name for each in chosen)]
    if "--tenth" in arguments:
        cases = [case._replace(readings=case.readings // 10, devices=-(-case.devices // 10)) for case in cases]
    good = True
    paces: list[float] = []
    for case in cases:
        measured = measure(case)
        most, microseconds = most_mib(case), measured.microseconds
        fine = measured.complete(case) and measured.peak_mib <= most
        if not case.server:
            paces.append(microseconds)
            fine = fine and microseconds <= MOST_SLOWER * paces[0]
        good = good and fine
        print(
            f"{case.name:48} {measured.seconds:7.1f} s {microseconds:7.1f} us of the processor a reading, "
            f"{measured.peak_mib:6.1f} MiB of {most:.0f}{'' if fine else '  NOT WITHIN ITS BOUND'}",
            flush=True,
        )
    return 0 if good else 1


def measure(case: Case) -> Measured:
    """Stores the case's readings, and flushes them, each in a process of its own."""
    with TemporaryDirectory() as folder:
        azurite, server = Azurite(Path(folder)), FhirServer(Path(folder))
        azurite.start()
        if case.server:
            server.start()
        try:
            _apart(_store, case, azurite.connection_string)
            result: Measured = _apart(_flush, case, azurite.connection_string, server.url)
            return result
        finally:
            azurite.stop()
            if case.server:
                server.stop()


def _apart(work: Callable[..., Any], *arguments: Any) -> Any:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def _store(case: Case, connection: str) -> None:
    """A batch of 500 events at a time, each with readings of any devices; before it, one of a small window."""
    storage = Storage(environment={"BufferStorage": connection})
    buffer = Buffer(storage)
    chance = random.Random(1)
    earlier = _WINDOW - ticks.TICKS_PER_HOUR
    _store_batch(case, buffer, 0, [_measurement(case, n, f"warm-{n}", earlier) for n in range(40)])
    for start in range(0, case.readings, case.batch):
        numbers = range(start, min(start + case.batch, case.readings))
        devices = [n if case.devices >= case.readings else chance.randrange(case.devices) for n in numbers]
        window = _WINDOW + start * case.windows // case.readings * _WINDOW_TICKS
        measurements = [
            _measurement(case, n, f"device-{device:08d}", window) for n, device in zip(numbers, devices, strict=True)
        ]
        _store_batch(case, buffer, start + 1, measurements)
    storage.close()


def _store_batch(case: Case, buffer: Buffer, first: int, measurements: Sequence[Measurement]) -> None:
    prefix = windows.event_row_prefix(
        hub="0a1b2c3d", partition="0", first_sequence=first, last_sequence=first, first_enqueued=_WINDOW
    )
    rows, _ = segment_rows(
        measurements, hub="0a1b2c3d", row_prefix=prefix, window_seconds=300, shards=case.shards, trace_context="0" * 55
    )
    buffer.store(rows)


def _measurement(case: Case, number: int, device_id: str, window: int) -> Measurement:
    seconds = number % 3000 if case.devices > 1 else number
    taken = window + seconds * ticks.TICKS_PER_SECOND
    enqueued = window + number % 290 * ticks.TICKS_PER_SECOND
    values = (("value", str(60 + number % 40)),)
    return Measurement(case.type, taken, device_id, f"p-{device_id}", None, None, values, enqueued, "0", number, 0, 0)


def _flush(case: Case, connection: str, url: str) -> Measured:
    logging.basicConfig(level=logging.WARNING)
    storage = Storage(environment={"BufferStorage": connection})
    mapping = load_fhir_mapping((_HERE / "large_windows.fhir.json").read_text(encoding="utf-8"))
    client = FhirClient(url)
    clock = [_WINDOW - ticks.TICKS_PER_HOUR // 2]
    writer = ObservationWriter(client) if case.server else _AnswersAtOnce(client)
    flush = Flush(
        storage=storage,
        buffer=Buffer(storage),
        dead_letters=DeadLetters(storage),
        fhir_mapping=lambda: mapping,
        identities=_KnownIdentities(client, ResolutionType.LOOKUP, "", 3600),
        writer=writer,
        watches=Watches(storage, client),
        settings=Settings(flush_portion_mb=case.portion_mb),
        clock=lambda: clock[-1],
        budget_seconds=3600,
    )
    flush.run()
    clock.append(_WINDOW + case.windows * _WINDOW_TICKS + ticks.TICKS_PER_HOUR)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    base, started, processor = _status_mib("VmRSS"), time.monotonic(), time.process_time()
    tally = flush.run()
    seconds, processor_seconds = time.monotonic() - started, time.process_time() - processor
    return Measured(
        seconds, processor_seconds, tally.measurements, _status_mib("VmHWM") - base, len(flush.buffer.shards())
    )


def _status_mib(name: str) -> float:
    found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"), re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
