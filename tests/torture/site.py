"""One torture run's world: the real app on real parts, with a network in between that can fail.

    with Site(folder, random.Random(1)) as site:
        site.send(site.traffic.messages(100))
        site.flush()
        site.settle()
        judge(site.state())

Storage and FHIR server are reached through a FaultProxy each. Nothing here knows what should come out.
"""

import base64
import json
import os
import random
import shutil
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
from azure.core.exceptions import ResourceExistsError
from azure.storage.blob import BlobLeaseClient, BlobServiceClient

from dev.hub import Hub, read_new_event
from dev.otlp_receiver import OtlpReceiver
from dev.ports import choose_ports
from dev.processes import storage_connection_string
from dev.running_host import RunningHost
from dev.stack import LocalStack, Ports
from medtech.dead_letter import letter as letters
from medtech.dead_letter.store import DeadLetters
from medtech.dotnet import ticks
from medtech.flush.shard_marks import ShardMarks
from medtech.group.buffer import Buffer
from medtech.mapping.in_force import TABLE as MAPPINGS_TABLE
from medtech.model import DeviceEvent, Measurement
from medtech.setup.platform import flushes_by_queue
from medtech.storage import lease
from medtech.storage.connection import Storage
from medtech.storage.further import SETTING as FURTHER_ACCOUNTS
from tests.dev.waiting import wait_until
from tests.faults import FaultProxy
from tests.torture.checker import Letter, State
from tests.torture.leaks import Output, leaks
from tests.torture.oracle import Event, Json
from tests.torture.traffic import VISIT, Message, Traffic, patient_identifier

FOLDER = Path(__file__).parent
MAPPINGS = FOLDER / "mappings"
MACHINE = FOLDER / "machine"
"""As PYTHONPATH of a worker it gives it a clock and a memory of its own (see sitecustomize.py there)."""

HUB = "devicedata"

NEVER = "0 0 0 1 1 *"
EVERY_SECOND = "*/1 * * * * *"

SETTLING_FLUSHES = 12
"""A shard that still has rows after so many flushes without any fault is stuck."""
READING_SECONDS = 120.0
"""So is a partition whose checkpoint has not reached its end by then. Nothing that is not stuck takes a tenth of it."""

QUEUE_SECONDS = 20.0
"""The most to wait for shards that are flushed by queue. A message that comes again does so within seconds here."""

EXPORT_SECONDS = 5.0
"""The most to wait for the telemetry of what was done last. It is sent several times a second."""

FURTHER_ACCOUNT = "second"

TABLES_WITHOUT_HEALTH_DATA = ("attempts", "comparison", "flushes", "health", "jobs", "mappings", "watches")

_MESSAGES_AT_ONCE = 200
_READERS = 8
_FHIR_JSON = {"content-type": "application/fhir+json"}


class Site:
    """A stack, its proxies and its traffic, as a context manager.

    `settings` override the run's own. The mappings are copies in the folder, which a scenario may change.
    `held_up` has the seconds of what a scenario timed. With `further_account` the buffer has every other shard in the
    account FURTHER_ACCOUNT, behind the same proxies.
    """

    def __init__(
        self,
        folder: Path,
        chance: random.Random,
        *,
        settings: Mapping[str, str] | None = None,
        profile: str = "strict",
        traffic: Mapping[str, Any] | None = None,
        strangers: bool = True,
        further_account: bool = False,
    ) -> None:
        self.chance = chance
        self.strangers = strangers
        # Its own: faults are drawn in the order in which requests come, which no seed can fix.
        self.traffic = Traffic(random.Random(chance.random()), **(traffic or {}))
        self.partitions = int((traffic or {}).get("partitions", 2))
        self.folder = folder
        self.device_mapping, self.fhir_mapping = folder / "device.json", folder / "fhir.json"
        folder.mkdir(parents=True, exist_ok=True)
        for mapping in (self.device_mapping, self.fhir_mapping):
            shutil.copy(MAPPINGS / mapping.name, mapping)
        blob, queue, table, fhir = choose_ports(dict.fromkeys(("blob", "queue", "table", "fhir")))
        self.blobs, self.tables = FaultProxy(f"http://127.0.0.1:{blob}"), FaultProxy(f"http://127.0.0.1:{table}")
        self.queues = FaultProxy(f"http://127.0.0.1:{queue}")
        self.fhir = FaultProxy(f"http://127.0.0.1:{fhir}")
        self.telemetry = OtlpReceiver()
        self.settings = {
            "PYTHON_ENABLE_OPENTELEMETRY": "true",
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.telemetry.endpoint,
            "OTEL_TRACES_SAMPLER": "always_on",
            "OTEL_METRIC_EXPORT_INTERVAL": "500",
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            "OTEL_BLRP_SCHEDULE_DELAY": "200",
            "AzureWebJobsStorage": storage_connection_string(*map(_port, (self.blobs, self.queues, self.tables))),
            "FHIR_SERVICE_URL": f"{self.fhir.url}/fhir/R4",
            "DEVICE_MAPPING": str(self.device_mapping),
            "FHIR_MAPPING": str(self.fhir_mapping),
            "FLUSH_SCHEDULE": NEVER,
            "WINDOW_SECONDS": "60",
            "FLUSH_GRACE_SECONDS": "0",
            "KEEP_UNMATCHED": "true",
            "AzureFunctionsJobHost__extensions__eventHubs__maxEventBatchSize": "40",
            "AzureFunctionsJobHost__extensions__eventHubs__minEventBatchSize": "1",
            **(settings or {}),
        }
        if further_account:
            ports = map(_port, (self.blobs, self.queues, self.tables))
            self.settings[FURTHER_ACCOUNTS] = storage_connection_string(*ports, account=FURTHER_ACCOUNT)
        self.stack = LocalStack(
            folder / "stack",
            settings=self.settings,
            ports=Ports(blob=blob, queue=queue, table=table, fhir=fhir),
            partitions=self.partitions,
            fhir_options=("--profile", profile),
            apps=(FURTHER_ACCOUNT,) if further_account else (),
            fresh=True,
            longest_wait_seconds=0.5,
        )
        self._by_queue = flushes_by_queue(self.settings)
        self.held_up: dict[str, float] = {}
        self._open = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            for server in (self.blobs, self.tables, self.queues, self.fhir, self.telemetry):
                opened.enter_context(server)
            opened.enter_context(self.stack)
            self._http = opened.enter_context(
                httpx.Client(base_url=self.stack.fhir_url, headers=_FHIR_JSON, timeout=120)
            )
            further = self.settings.get(FURTHER_ACCOUNTS, "")
            own = {"BufferStorage": self.stack.storage_connection_string, FURTHER_ACCOUNTS: further}
            storage = Storage(environment=own)
            opened.callback(storage.close)
            self.storage, self._buffer, self._letters = storage, Buffer(storage), DeadLetters(storage)
            self._marks = ShardMarks(storage)
            self.admit(self.traffic.devices)
            encounter = {"resourceType": "Encounter", "id": "visit", "identifier": [{"value": VISIT}]}
            self.put(encounter | {"status": "in-progress", "class": {"code": "AMB"}})
            self._open = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open.close()

    # What a scenario does.

    def admit(self, devices: Iterable[str]) -> None:
        """Writes a Patient and a Device for each."""
        for device in devices:
            patient = f"patient-of-{device}"
            self.put({"resourceType": "Patient", "id": patient, "identifier": [{"value": patient_identifier(device)}]})
            reference = {"reference": f"Patient/{patient}"}
            self.put({"resourceType": "Device", "id": device, "identifier": [{"value": device}], "patient": reference})

    def put(self, resource: Json) -> None:
        """Writes a resource, as another client of the FHIR server; one that was read, over that version of it."""
        version = resource.get("meta", {}).get("versionId")
        headers = {"If-Match": f'W/"{version}"'} if version else {}
        address = f"/{resource['resourceType']}/{resource['id']}"
        self._http.put(address, json=resource, headers=headers).raise_for_status()

    def send(self, messages: Iterable[Message], to: RunningHost | None = None) -> None:
        """Puts messages into the hub, or into that of another host."""
        waiting = iter(messages)
        while some := list(islice(waiting, _MESSAGES_AT_ONCE)):
            (to or self.stack).post_events([_event(message) for message in some])

    def send_to_nobody(self, messages: Iterable[Message]) -> None:
        """Ends the host, then puts messages into the files of its hub."""
        self.stack.host.kill()
        hub = Hub(self.stack.data_folder / "hub" / HUB, self.partitions)
        hub.append([read_new_event(_event(message)) for message in messages])
        hub.close()

    def deliver(self, messages: Iterable[Message]) -> None:
        """As `send`; returns when the app has read them."""
        self.send(messages)
        self.stack.wait_until_read()

    def flush(self) -> bool:
        """Runs the flush once; returns whether it succeeded. By queue it is over when no shard has a mark any more, or
        a message that is carried out waits for what it is not given."""
        succeeded = self.stack.run_timer("flush")
        if self._by_queue:
            with suppress(AssertionError):
                wait_until(lambda: not self._marks.all(), seconds=QUEUE_SECONDS)
        return succeeded

    def crash_worker(self) -> None:
        """Kills the worker, and does not wait for the next."""
        pid = self.stack.worker_pid
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            wait_until(lambda: self.stack.worker_pid != pid)

    def restart(self, **settings: str) -> None:
        """Starts the host again, with other settings if any are given. Hub, storage and FHIR server stay."""
        self.settings |= settings
        self.stack.change_settings(settings)
        self.stack.restart_host()
        self.let_leases_end()

    def let_leases_end(self) -> None:
        """Ends the leases that a killed worker held, as waiting for a minute would."""
        with BlobServiceClient.from_connection_string(self.stack.storage_connection_string) as service:
            container = service.get_container_client(lease.CONTAINER)
            if container.exists():
                for blob in container.list_blobs():
                    with suppress(ResourceExistsError):  # one that has ended by itself cannot be broken
                        BlobLeaseClient(container.get_blob_client(blob.name)).break_lease(0)

    def let_marks_end(self) -> None:
        """Ends the marks of messages that nobody carries out, as waiting for a quarter of an hour would."""
        for mark in self._marks.all().values():
            self._marks.end(mark)

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """How long something holds the app up, at most, for the line that is printed and docs/operate.md."""
        started = time.monotonic()
        yield
        self.held_up[what] = max(time.monotonic() - started, self.held_up.get(what, 0.0))

    def get(self, address: str) -> Any:
        """A resource or a search of the FHIR server."""
        answer = self._http.get(address)
        answer.raise_for_status()
        return answer.json()

    def errors(self) -> Counter[str]:
        """The dead letters there are, by their errors."""
        return Counter(summary.error for summary in self._letters.select())

    def forget_letters(self, error: str) -> None:
        self._letters.delete([summary for summary in self._letters.select() if summary.error == error])

    def measurements(self) -> int:
        """How many measurements the buffer holds."""
        return sum(len(of_shard) for of_shard in self._buffered().values())

    def shards(self) -> set[int]:
        """The shards that have rows in the buffer."""
        return set(self._buffer.shards())

    def mapping_in_force(self, kind: str) -> str:
        """The SHA-256 of the text in force."""
        row = self.storage.table(MAPPINGS_TABLE).get(kind, "in-force")
        assert row is not None
        return str(row["in_force"])

    def calm(self) -> None:
        """Ends all faults."""
        for proxy in (self.blobs, self.tables, self.queues, self.fhir):
            proxy.clear()

    def settle(self) -> None:
        """Ends all faults and gives the app what it needs to finish, and no more: time to read, and some flushes."""
        self.calm()
        for server in (self.stack.storage, self.stack.fhir, self.stack.host):
            if not server.running:
                server.start()
                server.wait_until_ready()
        wait_until(lambda: self.stack.worker_pid)
        self.let_leases_end()
        self.let_marks_end()
        with suppress(TimeoutError):
            self.stack.wait_until_read(timeout_seconds=READING_SECONDS)
        for _ in range(SETTLING_FLUSHES):
            if self.flush() and not self._buffer.shards():
                return

    # What the checker sees.

    def state(self) -> State:
        """Everything that holds readings, from the hub's own files, storage and the FHIR server."""
        return State(
            events=list(self._events()),
            checkpoints=self._checkpoints(),
            versions=self._versions(),
            devices=[
                (device["id"], identifier["value"])
                for device in self._all("Device")
                for identifier in device["identifier"]
            ],
            letters=list(self._found_letters()),
            buffered=self._buffered(),
            leaks=list(leaks(self._outputs())),
        )

    def wait_for_telemetry(self) -> None:
        """Returns once what was done before is exported. A worker that has only just started may have nothing."""
        self.telemetry.wait_for(4, EXPORT_SECONDS)

    def _outputs(self) -> Iterable[Output]:
        """All that the run has put out so far but what is meant to hold readings: hub, buffer, letters, resources."""
        for path in sorted(self.stack.log_folder.rglob("*")):
            if path.is_file():
                yield Output(path.name, path.read_text("utf-8", "replace"))
        # Texts stand in the bodies as they are, numbers only in what was read of them.
        yield Output("telemetry", "\n".join(body.decode("utf-8", "replace") for body in self.telemetry.bodies))
        yield Output("points", "\n".join(map(repr, self.telemetry.points().items())))
        yield Output("spans", "\n".join(repr(span.attributes) for span in self.telemetry.spans()))
        proxies = {"blobs": self.blobs, "tables": self.tables, "queues": self.queues, "FHIR server": self.fhir}
        for name, proxy in proxies.items():
            yield Output(f"addresses of the {name}", "\n".join(sorted(proxy.addresses)))
        for table in TABLES_WITHOUT_HEALTH_DATA:
            rows = self.storage.table(table).query("PartitionKey ne ''")
            yield Output(f"table {table}", "\n".join(repr(row) for row in rows))
        yield Output("messages of letters", "\n".join(summary.message for summary in self._letters.select()))

    def _events(self) -> Iterable[Event]:
        for path in sorted((self.stack.data_folder / "hub" / HUB).glob("*.jsonl")):
            for number, line in enumerate(path.read_bytes().splitlines()):
                yield Event(path.stem, number, base64.b64decode(json.loads(line)["body"]))

    def _checkpoints(self) -> dict[str, int]:
        store = self.stack.checkpoints()
        found = {str(partition): store.read(str(partition)) for partition in range(self.partitions)}
        return {
            partition: checkpoint.sequence_number
            for partition, checkpoint in found.items()
            if checkpoint is not None and checkpoint.sequence_number is not None
        }

    def _versions(self) -> dict[str, list[Json]]:
        current = list(self._all("Observation"))
        changed = [each["id"] for each in current if each["meta"]["versionId"] != "1"]
        with ThreadPoolExecutor(_READERS) as pool:
            histories = dict(zip(changed, pool.map(self._history, changed), strict=True))
        return {each["id"]: histories.get(each["id"], [each]) for each in current}

    def _history(self, observation_id: str) -> list[Json]:
        """All versions, the oldest first. Not every server gives them in order, or with numbers."""
        current = self.get(f"/Observation/{observation_id}")
        versions = [
            entry["resource"]
            for entry in self.get(f"/Observation/{observation_id}/_history?_count=1000")["entry"]
            if "resource" in entry
        ]
        versions.sort(key=lambda each: each["meta"]["lastUpdated"])
        return [each for each in versions if each["meta"]["versionId"] != current["meta"]["versionId"]] + [current]

    def _all(self, kind: str) -> Iterable[Json]:
        link: str | None = f"/{kind}?_count=1000"
        while link is not None:
            bundle = self.get(link)
            yield from (entry["resource"] for entry in bundle.get("entry", ()))
            link = next((each["url"] for each in bundle.get("link", ()) if each["relation"] == "next"), None)

    def _found_letters(self) -> Iterable[Letter]:
        for summary in self._letters.select():
            found = self._letters.read(summary.partition_key, summary.row_key)
            if found is None:
                continue
            content = found.content
            if isinstance(content, DeviceEvent):
                yield Letter(content.partition, content.sequence_number, None, found.error)
            elif isinstance(content, Measurement):
                yield Letter(content.partition, content.sequence_number, _values(content), found.error)
            else:
                assert found.kind is letters.Kind.ROW
                yield Letter(None, -1, None, found.error)

    def _buffered(self) -> dict[int, list[tuple[str, ...]]]:
        found: defaultdict[int, list[tuple[str, ...]]] = defaultdict(list)
        for shard in self._buffer.shards():
            for window in self._buffer.due_windows(shard, ticks.MAX_TICKS, 1, 0):
                for portion in self._buffer.read(shard, window, 10**9):
                    found[shard] += [_values(measurement) for measurement in portion.measurements()]
        return dict(found)


def _values(measurement: Measurement) -> tuple[str, ...]:
    return tuple(text for _, text in measurement.properties)


def _port(proxy: FaultProxy) -> int:
    return urlsplit(proxy.url).port or 0


def _event(message: Message) -> dict[str, Any]:
    return {
        "bodyBase64": base64.b64encode(message.body).decode(),
        "partition": message.partition,
        "enqueuedTime": message.enqueued_time.isoformat(),
    }


def twin_host(site: Site, folder: Path, **settings: str) -> RunningHost:
    """A second host of the same app on the same storage and FHIR server, with a hub of its own.

    The same messages sent to both make the same hub twice: each batch is delivered by both, with other borders, as if
    ownership of every partition were disputed all the time.
    """
    return RunningHost(
        folder,
        app_directory=FOLDER.parent.parent,
        settings=site.stack.settings | settings,
        partitions=site.partitions,
        fresh=True,
        longest_wait_seconds=0.5,
    )
