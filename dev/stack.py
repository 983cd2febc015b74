"""The whole local run as one object: Azurite, FHIR server, Event Hubs namespace and functions host around an app.

End-to-end tests and `python -m dev run|demo` use it:

    with LocalStack(data_folder, settings={"WINDOW_SECONDS": "2"}) as stack:
        stack.post_events([{"body": {...}, "partitionKey": "device-1"}])
        stack.wait_until_read()
        stack.run_timer("flush")
        httpx.get(f"{stack.fhir_url}/Observation")

Every process has its own log in `data_folder/logs`. `stack.storage`, `stack.fhir`, `stack.event_hubs` and `stack.host`
can be stopped, killed and started again; the FHIR server keeps its resources.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import inf
from pathlib import Path

from azure.storage.blob import ContainerClient

from dev.checkpoints import CONTAINER, CheckpointStore
from dev.namespace import NAMESPACE, connection_string, namespace
from dev.processes import ROOT, azurite, choose_ports, fhir_server, storage_connection_string
from dev.running_host import RunningHost


@dataclass(frozen=True, slots=True)
class Ports:
    """Ports on 127.0.0.1; None means a free one."""

    host: int | None = None
    fhir: int | None = None
    blob: int | None = None
    queue: int | None = None
    table: int | None = None
    amqp: int | None = None
    rest: int | None = None


class LocalStack(RunningHost):
    """A running app with everything around it.

    `settings` override what the stack sets itself (storage, FHIR server, hub). `fhir_options` are
    options of dev/fhir/server.mjs. The rest is as in RunningHost; the contents of storage and FHIR server are reused
    too.
    """

    def __init__(
        self,
        data_folder: Path,
        *,
        app_directory: Path = ROOT,
        settings: Mapping[str, str] | None = None,
        ports: Ports | None = None,
        partitions: int = 4,
        fhir_options: Sequence[str] = (),
        log_level: str | None = None,
        fresh: bool = False,
        longest_wait_seconds: float = inf,
        retention_hours: float | None = None,
    ) -> None:
        chosen = ports or Ports()
        host_port, fhir_port, amqp_port, rest_port, *storage_ports = choose_ports(
            {
                "--host-port": chosen.host,
                "--fhir-port": chosen.fhir,
                "--amqp-port": chosen.amqp,
                "--rest-port": chosen.rest,
                "--blob-port": chosen.blob,
                "--queue-port": chosen.queue,
                "--table-port": chosen.table,
            }
        )
        self.storage_connection_string = storage_connection_string(*storage_ports)
        self.fhir_url = f"http://127.0.0.1:{fhir_port}/fhir/R4"
        self.event_hubs_connection_string = connection_string(amqp_port)
        self.event_hubs_url = f"http://127.0.0.1:{rest_port}"
        own_settings = {
            "AzureWebJobsStorage": self.storage_connection_string,
            "FHIR_SERVICE_URL": self.fhir_url,
            "EventHubConnection": self.event_hubs_connection_string,
            "EVENT_HUB_NAME": "devicedata",
            "EVENT_HUB_CONSUMER_GROUP": "$Default",
        }
        super().__init__(
            data_folder,
            app_directory=app_directory,
            settings=own_settings | dict(settings or {}),
            port=host_port,
            partitions=partitions,
            log_level=log_level,
            fresh=fresh,
            longest_wait_seconds=longest_wait_seconds,
            retention_hours=retention_hours,
        )
        self.event_hubs = namespace(self.log_folder, amqp_port, rest_port, self.host_url)
        self.storage = azurite(self.data_folder / "azurite", self.log_folder, *storage_ports)
        stored_resources = ("--data", str(self.data_folder / "fhir.jsonl"))
        self.fhir = fhir_server(self.log_folder, fhir_port, *stored_resources, *fhir_options)

    def checkpoints(self) -> CheckpointStore:
        """The checkpoints of the app's consumer group, by way of storage itself, also while the host is down."""
        container = ContainerClient.from_connection_string(self.storage_connection_string, CONTAINER)
        settings = self.settings
        return CheckpointStore(
            container, NAMESPACE, settings["EVENT_HUB_NAME"], settings["EVENT_HUB_CONSUMER_GROUP"], "nobody"
        )

    def _start_servers(self, opened: ExitStack) -> None:
        servers = (self.storage, self.fhir, self.event_hubs)
        for server in servers:
            server.log_path.unlink(missing_ok=True)
            opened.callback(server.stop)
            server.start()
        for server in servers:
            server.wait_until_ready()
