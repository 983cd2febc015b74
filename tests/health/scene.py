"""An app seen by an onlooker; each part can be made to fail."""

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from medtech.dotnet import ticks
from medtech.flush.tally import Tally
from medtech.group import windows
from medtech.group.buffer import Buffer, segment_rows
from medtech.health import probes
from medtech.health.look import Onlooker
from medtech.health.part import Health, Part
from medtech.health.record import Recorder
from medtech.mapping.device import load_device_mapping
from medtech.mapping.fhir import load_fhir_mapping
from medtech.mapping.in_force import MappingStore
from medtech.model import DeviceEvent, Measurement
from medtech.persist.client import FhirClient
from medtech.persist.credentials import Credentials
from medtech.settings import Settings
from medtech.storage.connection import Storage
from tests.azurite import Wire
from tests.faults import FaultProxy

ROOT = Path(__file__).parents[2]
DEVICE, FHIR = (ROOT / "mappings" / name for name in ("deviceMapping.json", "fhirDestinationMapping.json"))
SECRET = "c2lnbmF0dXJl"
NOW = 638_000_000_000_000_000  # 2022-09-28T22:13:20Z
SECOND = ticks.TICKS_PER_SECOND


class Scene:
    """`app` is storage as the app opens it; the onlooker has its own, through the same wires."""

    def __init__(self, wire: Wire, fhir: FaultProxy, url: str, opened: ExitStack) -> None:
        self.app, self.tables, self.blobs, self.fhir = wire.storage, wire.tables, wire.blobs, fhir
        self.url, self.now = url, NOW
        self.device_mapping, self.fhir_mapping = str(DEVICE), str(FHIR)
        self.credentials: Credentials | None = None
        self._opened = opened
        connection = wire.storage._connection_string
        self._seen = Storage(environment={"BufferStorage": connection}, creates_tables=False)
        opened.callback(self._seen.close)

    def look(self, *, seconds: float = 10.0, **settings: Any) -> Health:
        chosen = Settings(fhir_service_url=self.url, **settings)
        return Onlooker(
            storage=self._seen,
            mappings={
                probes.DEVICE_MAPPING: MappingStore("device", self.device_mapping, load_device_mapping, self._seen),
                probes.FHIR_MAPPING: MappingStore("fhir", self.fhir_mapping, load_fhir_mapping, self._seen),
            },
            fhir_client=lambda: self._opened.enter_context(
                FhirClient(chosen.fhir_service_url, credentials=self.credentials)
                if self.credentials
                else FhirClient.of(chosen)
            ),
            settings=chosen,
            clock=lambda: self.now,
            seconds=seconds,
        ).look()

    def part(self, name: str, **options: Any) -> Part:
        [part] = [part for part in self.look(**options).parts if part.name == name]
        return part

    def run_app(self) -> None:
        """An event arrives, both mappings come into force, and a flush has nothing to do."""
        self.arrive(NOW - SECOND)
        MappingStore("device", str(DEVICE), load_device_mapping, self.app).in_force()
        MappingStore("fhir", str(FHIR), load_fhir_mapping, self.app).in_force()
        self.flushed()

    def arrive(self, enqueued: int, partition: str = "2", read: int | None = None) -> None:
        recorder = Recorder(lambda: self.app, clock=lambda: enqueued if read is None else read)
        recorder.arrived([DeviceEvent(b"{}", {}, {}, enqueued, "0a1b2c3d", partition, 41)])

    def flushed(self, tally: Tally | None = None, ago_seconds: float = 5) -> None:
        ended = NOW - round(ago_seconds * SECOND)
        Recorder(lambda: self.app, clock=lambda: ended).flush(lambda: tally or Tally())

    def buffer(self, enqueued: int) -> None:
        """A measurement that arrived then waits for the flush."""
        measurement = Measurement("hr", enqueued, "d1", "p1", None, None, (("hr", "SECRET"),), enqueued, "0", 1, 0, 0)
        prefix = windows.event_row_prefix(
            hub="0a1b2c3d", partition="0", first_sequence=1, last_sequence=1, first_enqueued=enqueued
        )
        rows, _ = segment_rows([measurement], window_seconds=300, shards=4, row_prefix=prefix, hub="0a1b2c3d")
        Buffer(self.app).store(rows)

    def older(self, folder: Path, text: str) -> str:
        """A mapping file of an older build."""
        path = folder / "older.json"
        path.write_text(text)
        os.utime(path, (1_740_000_000, 1_740_000_000))
        return str(path)
