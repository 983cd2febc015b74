"""A buffer with a flush over it, and measurements of devices that the server knows."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from medtech.comparison.store import Comparisons
from medtech.dead_letter.store import DeadLetters
from medtech.dotnet import ticks
from medtech.flush.comparing import Comparing
from medtech.flush.run import Flush
from medtech.flush.tally import Tally
from medtech.flush.watches import Watches
from medtech.group import windows
from medtech.group.buffer import Buffer, segment_rows
from medtech.mapping.fhir import FhirMapping
from medtech.model import Measurement, ResourceIdentity
from medtech.persist.client import FhirClient
from medtech.persist.comparison import ObservationComparer
from medtech.persist.identity import IdentityResolver
from medtech.persist.observations import ObservationWriter
from medtech.settings import ResolutionType, Settings
from medtech.storage.connection import Storage
from tests.faults import FaultProxy
from tests.persist.samples import HOUR, MAPPING, MINUTE, Server, identity

HUB = "0a1b2c3d"

NOW = HOUR + 3600 * ticks.TICKS_PER_SECOND


class Run:
    """A buffer, a flush over it, and the server that it writes to."""

    def __init__(
        self,
        storage: Storage,
        server: Server,
        url: str,
        resolution: ResolutionType = ResolutionType.LOOKUP,
        **settings: Any,
    ) -> None:
        self.storage = storage
        self.server = server
        self.settings = Settings(**settings)
        self.buffer = Buffer(storage)
        self.dead_letters = DeadLetters(storage)
        self.mapping: FhirMapping | None = MAPPING
        self.now = NOW
        self.seconds = 0.0
        """By which the turns of shards are told."""
        comparing = self.settings.compares
        self.client = FhirClient(url, bundle_size=self.settings.fhir_bundle_size, reads_only=comparing)
        self.comparisons = Comparisons(storage)
        comparer = ObservationComparer(self.client, pause=lambda seconds: None)
        self._batches = 0
        self.flush = Flush(
            storage=storage,
            buffer=self.buffer,
            dead_letters=self.dead_letters,
            fhir_mapping=lambda: self.mapping,
            identities=IdentityResolver(self.client, resolution, "", 3600, pause=lambda seconds: None),
            writer=ObservationWriter(self.client, pause=lambda seconds: None),
            watches=Watches(storage, self.client, pause=lambda seconds: None),
            settings=self.settings,
            comparing=Comparing(comparer, self.comparisons, self.settings, lambda: self.seconds) if comparing else None,
            clock=lambda: self.now,
        )

    def store(self, measurements: Sequence[Measurement], shards: int = 1) -> None:
        """One batch into the buffer."""
        self._batches += 1
        prefix = windows.event_row_prefix(
            hub=HUB, partition="0", first_sequence=self._batches, last_sequence=self._batches, first_enqueued=HOUR
        )
        rows, too_large = segment_rows(measurements, window_seconds=300, shards=shards, row_prefix=prefix, hub=HUB)
        assert not too_large
        self.buffer.store(rows)

    def run(self) -> Tally:
        return self.flush.run()

    def left(self) -> list[Measurement]:
        return [
            measurement
            for shard in self.buffer.shards()
            for window in self.buffer.due_windows(shard, NOW, 300, 15)
            for portion in self.buffer.read(shard, window, 1 << 30)
            for measurement in portion.measurements()
        ]

    def letters(self) -> list[str]:
        return [summary.error for summary in self.dead_letters.select()]

    def observations(self, of: ResourceIdentity) -> list[dict[str, Any]]:
        bundle = self.server.get(f"Observation?subject=Patient/{of.patient}&_count=200")
        return [entry["resource"] for entry in bundle.get("entry", [])]


MakeRun = Callable[..., Run]


def measured(
    of: ResourceIdentity, minute: int, value: str = "60", type_name: str = "series", enqueued: int = HOUR, **ids: Any
) -> Measurement:
    """A reading of the device whose identifier is its id."""
    fields = {"patient_id": None, "encounter_id": None, "correlation_id": None} | ids
    return Measurement(
        type=type_name,
        occurrence_time=HOUR + minute * MINUTE,
        device_id=of.device,
        properties=(("value", value),),
        ingestion_time=enqueued,
        partition="0",
        sequence_number=minute,
        template=0,
        match=0,
        **fields,
    )


def known(server: Server) -> ResourceIdentity:
    """A device with its patient, known to the server by its identifier."""
    of = identity()
    server.put({"resourceType": "Patient", "id": of.patient})
    server.put(
        {
            "resourceType": "Device",
            "id": of.device,
            "identifier": [{"value": of.device}],
            "patient": {"reference": f"Patient/{of.patient}"},
        }
    )
    return of


@contextmanager
def before(url: str) -> Iterator[tuple[FaultProxy, str]]:
    """A proxy before the FHIR server at `url`, and the address that leads through it."""
    address = urlsplit(url)
    with FaultProxy(f"{address.scheme}://{address.netloc}") as proxy:
        yield proxy, f"{proxy.url}{address.path}"
