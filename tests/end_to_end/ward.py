"""A running stack seen from outside: devices send, a FHIR client reads, an operator looks at what waits.

    ward = Ward(stack)
    ward.admit("device-1")                                    # a Patient, and the Device that names it
    ward.deliver([pulse("device-1", "08:00:00", 71)])         # sent, and passed by the checkpoint
    ward.flush()
    ward.observations("device-1")

Messages are enqueued on a day long past, so that their windows are due whatever WINDOW_SECONDS says and no test waits
for one to end.
"""

import base64
import json
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, NamedTuple, Self

import httpx
from azure.core.exceptions import ResourceExistsError
from azure.storage.blob import BlobLeaseClient, BlobServiceClient

from dev.hub import Position
from dev.stack import LocalStack
from medtech.dead_letter.letter import Letter
from medtech.dead_letter.store import DeadLetters
from medtech.dotnet import ticks
from medtech.group.buffer import Buffer
from medtech.model import DeviceEvent, Measurement
from medtech.storage import lease
from medtech.storage.connection import Storage
from tests.dev.waiting import wait_until

NEVER = "0 0 0 1 1 *"
QUIET = {"FLUSH_SCHEDULE": NEVER}
"""Settings of a stack whose flush runs only when a test says so."""

DAY = "2026-03-02"
ENQUEUED = f"{DAY}T08:00:30Z"
_FHIR_JSON = {"content-type": "application/fhir+json"}

Body = Mapping[str, Any] | str | bytes


class Version(NamedTuple):
    """One version of an Observation: the server's number for it, its status and its value."""

    number: int
    status: str
    value: Any


class Ward:
    """What tests do to a stack and see of it; as a context manager it closes its own connections, not the stack."""

    def __init__(self, stack: LocalStack) -> None:
        self.stack = stack
        self._fhir = httpx.Client(base_url=stack.fhir_url, headers=_FHIR_JSON, timeout=60)
        self._storage = Storage(environment={"BufferStorage": stack.storage_connection_string})
        self._buffer = Buffer(self._storage)
        self._letters = DeadLetters(self._storage)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._fhir.close()
        self._storage.close()

    def put(self, resource: Mapping[str, Any]) -> None:
        """Writes a resource under its own id, as another client of the FHIR server."""
        self._fhir.put(f"/{resource['resourceType']}/{resource['id']}", json=resource).raise_for_status()

    def get(self, address: str) -> dict[str, Any]:
        """Reads a resource or a search from the FHIR server."""
        answer = self._fhir.get(address)
        answer.raise_for_status()
        document: dict[str, Any] = answer.json()
        return document

    def admit(self, device_id: str) -> None:
        """Writes a Patient (`DEVICE-wearer`) and its Device, whose FHIR id is its identifier."""
        patient = f"{device_id}-wearer"
        self.put({"resourceType": "Patient", "id": patient, "identifier": [{"value": patient}]})
        reference = {"reference": f"Patient/{patient}"}
        identifier = [{"value": device_id}]
        self.put({"resourceType": "Device", "id": device_id, "identifier": identifier, "patient": reference})

    def send(self, bodies: Sequence[Body], partition: str = "0") -> list[Position]:
        """Sends messages to the hub, as one batch unless a batch is under way; returns their positions."""
        return self.stack.post_events([_event(body, partition) for body in bodies])

    def deliver(self, bodies: Sequence[Body], partition: str = "0") -> list[Position]:
        """As `send`, but returns only when the app has read them."""
        positions = self.send(bodies, partition)
        self.stack.wait_until_read()
        return positions

    def flush(self) -> None:
        assert self.stack.run_timer("flush"), "the flush failed; see the host's log"

    def observations(self, device_id: str) -> list[dict[str, Any]]:
        """A device's Observations on the FHIR server, in order of type and start."""
        bundle = self.get(f"/Observation?device=Device/{device_id}&_count=1000")
        found = [entry["resource"] for entry in bundle.get("entry", [])]
        return sorted(found, key=lambda each: (each["code"]["text"], each["effectivePeriod"]["start"]))

    def history(self, observation_id: str) -> list[Version]:
        """Every version that was ever stored, oldest first."""
        bundle = self.get(f"/Observation/{observation_id}/_history?_count=1000")
        versions = [entry["resource"] for entry in bundle["entry"]]
        return sorted(Version(int(each["meta"]["versionId"]), each["status"], value_of(each)) for each in versions)

    def stored(self, device_id: str) -> list[tuple[str, Any, int]]:
        """(type, value, version) of each Observation of a device: a reading lost or written twice would change it."""
        return [
            (each["code"]["text"], value_of(each), int(each["meta"]["versionId"]))
            for each in self.observations(device_id)
        ]

    def waiting(self, device_id: str) -> list[Measurement]:
        """The measurements of a device in the buffer, once for each row that holds them."""
        return [
            measurement
            for shard in self._buffer.shards()
            for window in self._buffer.due_windows(shard, ticks.now(), 1, 0)
            for portion in self._buffer.read(shard, window, 10**9)
            for measurement in portion.measurements()
            if measurement.device_id == device_id
        ]

    def letters(self, positions: Sequence[Position]) -> list[Letter]:
        """The dead letters of messages at these positions of the hub, in order."""
        wanted = set(positions)
        found = (self._letters.read(each.partition_key, each.row_key) for each in self._letters.select())
        return [letter for letter in found if letter is not None and _origin(letter) in wanted]

    def letter_counts(self, positions: Sequence[Position]) -> list[int]:
        """How often each of these letters was written."""
        keys = {(letter.partition_key, letter.row_key) for letter in self.letters(positions)}
        return [each.count for each in self._letters.select() if (each.partition_key, each.row_key) in keys]

    def crash_worker(self) -> None:
        """Kills the worker without waiting for the next one, whose start the host delays longer each time.

        `restart_host` starts one without delay.
        """
        pid = self.stack.worker_pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: self.stack.worker_pid != pid)

    def let_leases_end(self) -> None:
        """Ends the leases that a killed worker held on its shards, as waiting for a minute would."""
        with self._leases() as leases:
            for each in leases:
                # A lease that has ended by itself cannot be broken.
                with suppress(ResourceExistsError):
                    each.break_lease(0)

    @contextmanager
    def held_by_another(self) -> Iterator[None]:
        """Inside the context another instance holds every shard that was ever flushed."""
        with self._leases() as leases:
            for each in leases:
                each.acquire(-1)
            yield
            for each in leases:
                each.release()

    @contextmanager
    def _leases(self) -> Iterator[list[BlobLeaseClient]]:
        with BlobServiceClient.from_connection_string(self.stack.storage_connection_string) as service:
            container = service.get_container_client(lease.CONTAINER)
            yield [BlobLeaseClient(container.get_blob_client(blob.name)) for blob in container.list_blobs()]


def pulse(device_id: str, time: str, beats: float, **more: Any) -> dict[str, Any]:
    """A message for the start mapping with a heart rate; `time` is a time of day on DAY."""
    return {"deviceId": device_id, "endDate": f"{DAY}T{time}Z", "heartRate": beats, **more}


def steps(device_id: str, time: str, count: int) -> dict[str, Any]:
    """A message for the start mapping with the steps of a minute; one Observation holds those of an hour."""
    return {"deviceId": device_id, "endDate": f"{DAY}T{time}Z", "steps": count}


def value_of(observation: Mapping[str, Any]) -> Any:
    """The number, the existing samples by minute, or the components' numbers."""
    if (quantity := observation.get("valueQuantity")) is not None:
        return quantity["value"]
    if (series := observation.get("valueSampledData")) is not None:
        return {slot: sample for slot, sample in enumerate(series["data"].split()) if sample != "E"}
    return [part["valueQuantity"]["value"] for part in observation["component"]]


def _event(body: Body, partition: str) -> dict[str, Any]:
    content: dict[str, Any] = (
        {"bodyBase64": base64.b64encode(body).decode()}
        if isinstance(body, bytes)
        else {"body": body if isinstance(body, str) else json.dumps(body)}
    )
    return {**content, "partition": partition, "enqueuedTime": ENQUEUED}


def _origin(letter: Letter) -> Position | None:
    content = letter.content
    if isinstance(content, DeviceEvent | Measurement):
        return Position(content.partition, content.sequence_number)
    return None
