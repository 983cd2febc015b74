"""The local host around the sample app, in processes of its own."""

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from math import inf
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import ResourceExistsError
from azure.storage.blob import ContainerClient
from azure.storage.queue import QueueClient

from dev.checkpoints import CONTAINER, CheckpointStore
from dev.running_host import RunningHost

APP = Path(__file__).parent / "apps" / "sample"

NEVER = "0 0 0 1 1 *"


class SampleHost(RunningHost):
    """The sample app, and what its functions were given. `tell` and `untell` make it fail or hold (see the app).

    `storage` is a connection string. Hosts in several folders share it: each has a namespace of its own.

    `told` are words that apply from the start, for functions that may run before a test could `tell` them.
    """

    def __init__(
        self,
        folder: Path,
        storage: str,
        schedule: str = NEVER,
        told: Sequence[str] = (),
        *,
        longest_wait_seconds: float = inf,
        retention_hours: float | None = None,
        **settings: str,
    ) -> None:
        self.observed = folder / "observed"
        self.observed.mkdir(exist_ok=True)
        for word in told:
            self.tell(word)
        own = hashlib.sha256(str(folder).encode()).hexdigest()[:8]
        self.namespace = f"{own}.local"
        self.queue, self.poison_queue = (
            QueueClient.from_connection_string(storage, f"sample-{own}{suffix}") for suffix in ("", "-poison")
        )
        sample = {
            "AzureWebJobsStorage": storage,
            "OBSERVED": str(self.observed),
            "HUB": "devicedata",
            "HubConnection": f"Endpoint=sb://{self.namespace}/;SharedAccessKeyName=a;SharedAccessKey=b",
            "SCHEDULE": schedule,
            "QUEUE": self.queue.queue_name,
            "QueueConnection": storage,
        }
        super().__init__(
            folder / "data",
            app_directory=APP,
            settings=sample | settings,
            longest_wait_seconds=longest_wait_seconds,
            retention_hours=retention_hours,
        )

    def seen(self, function: str) -> list[dict[str, Any]]:
        """What the function recorded, in order."""
        path = self.observed / f"{function}.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def put_messages(self, *texts: str) -> None:
        """On the queue of the function `queued`, as clients of .NET put them: in base64."""
        with suppress(ResourceExistsError):
            self.queue.create_queue()
        for text in texts:
            self.queue.send_message(base64.b64encode(text.encode()).decode())

    def messages_left(self) -> int:
        """How many messages are on the queue, seen or hidden."""
        return int(self.queue.get_queue_properties().approximate_message_count or 0)

    def tell(self, word: str) -> None:
        (self.observed / word).touch()

    def checkpoints(self, consumer_group: str) -> CheckpointStore:
        """The checkpoints of a function, whose consumer group has its name."""
        container = ContainerClient.from_connection_string(self.settings["AzureWebJobsStorage"], CONTAINER)
        return CheckpointStore(container, self.namespace, self.settings["HUB"], consumer_group, "test")

    def untell(self, word: str) -> None:
        (self.observed / word).unlink()


@pytest.fixture
def start(tmp_path: Path, azurite: str) -> Iterator[Callable[..., SampleHost]]:
    """Starts the sample app on a host of its own; a second start in a test reuses the data of the first."""
    with ExitStack() as opened:
        yield lambda **options: opened.enter_context(SampleHost(tmp_path, azurite, **options))


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, azurite: str) -> Iterator[SampleHost]:
    """One host for those tests of a file that do not disturb each other."""
    with SampleHost(tmp_path_factory.mktemp("host"), azurite) as running:
        yield running
