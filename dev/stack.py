"""The whole local run as one object: Azurite, FHIR server, event hub and functions host around an app.

End-to-end tests and `python -m dev run|demo` use it:

    with LocalStack(data_folder, settings={"WINDOW_SECONDS": "2"}) as stack:
        stack.post_events([{"body": {...}, "partitionKey": "device-1"}])
        stack.wait_until_read()
        stack.run_timer("flush")
        httpx.get(f"{stack.fhir_url}/Observation")

Every process has its own log in `data_folder/logs`. `stack.storage`, `stack.fhir`, `stack.hub`, `stack.event_hubs` and
`stack.host` can be stopped, killed and started again; the FHIR server keeps its resources.

Further apps run beside the first on the same hub and FHIR server, each with a host, a storage account and settings of
its own, first of all another consumer group:

    with (
        LocalStack(data_folder, apps=["research"]) as stack,
        stack.app("research", {"EVENT_HUB_CONSUMER_GROUP": "research"}) as research,
    ):
        stack.post_events([{"body": {...}, "partitionKey": "device-1"}])
        research.wait_until_read()
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import inf
from pathlib import Path

from azure.storage.blob import ContainerClient

from dev.checkpoints import CONTAINER, CheckpointStore
from dev.hub_server import hub_server
from dev.namespace import NAMESPACE, connection_string, namespace
from dev.ports import choose_ports
from dev.processes import ROOT, STORAGE_ACCOUNT, Server, azurite, fhir_server, storage_connection_string
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
    options of dev/fhir/server.mjs. `apps` names those that `app` can make. The rest is as in RunningHost; the contents
    of storage and FHIR server are reused too.
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
        apps: Sequence[str] = (),
    ) -> None:
        chosen = ports or Ports()
        hub_port, host_port, fhir_port, amqp_port, rest_port, *storage_ports = choose_ports(
            {
                "": None,
                "--host-port": chosen.host,
                "--fhir-port": chosen.fhir,
                "--amqp-port": chosen.amqp,
                "--rest-port": chosen.rest,
                "--blob-port": chosen.blob,
                "--queue-port": chosen.queue,
                "--table-port": chosen.table,
            }
        )
        self._storage_ports = storage_ports
        self._app_directory = app_directory
        self._partitions = partitions
        self.storage_connection_string = storage_connection_string(*storage_ports)
        self.fhir_url = f"http://127.0.0.1:{fhir_port}/fhir/R4"
        self.event_hubs_connection_string = connection_string(amqp_port)
        self.event_hubs_url = f"http://127.0.0.1:{rest_port}"
        self.hub_url = f"http://127.0.0.1:{hub_port}"
        self.hub_folder = data_folder.resolve() / "hub"
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
            hub_folder=self.hub_folder,
        )
        name = self.settings["EVENT_HUB_NAME"]
        self.hub = hub_server(self.log_folder, hub_port, self.hub_folder, name, partitions, retention_hours)
        self.event_hubs = namespace(self.log_folder, amqp_port, rest_port, self.hub_url)
        accounts = (STORAGE_ACCOUNT, *apps)
        self.storage = azurite(self.data_folder / "azurite", self.log_folder, *storage_ports, accounts=accounts)
        stored_resources = ("--data", str(self.data_folder / "fhir.jsonl"))
        self.fhir = fhir_server(self.log_folder, fhir_port, *stored_resources, *fhir_options)

    @property
    def servers(self) -> tuple[Server, ...]:
        """All that runs, the functions host last."""
        return self.storage, self.fhir, self.hub, self.event_hubs, self.host

    def checkpoints(self) -> CheckpointStore:
        """The checkpoints of the app's consumer group, by way of storage itself, also while the host is down."""
        container = ContainerClient.from_connection_string(self.storage_connection_string, CONTAINER)
        settings = self.settings
        return CheckpointStore(
            container, NAMESPACE, settings["EVENT_HUB_NAME"], settings["EVENT_HUB_CONSUMER_GROUP"], "nobody"
        )

    def app(self, name: str, settings: Mapping[str, str]) -> RunningHost:
        """Another app of this folder, with the settings of the first one where it has none of its own. It is started
        as a context manager, within the stack's, and keeps what it keeps in `data_folder/apps/NAME`."""
        own_storage = {"AzureWebJobsStorage": storage_connection_string(*self._storage_ports, account=name)}
        return RunningHost(
            self.data_folder / "apps" / name,
            app_directory=self._app_directory,
            settings=self.settings | own_storage | dict(settings),
            partitions=self._partitions,
            hub_folder=self.hub_folder,
        )

    def _start_servers(self, opened: ExitStack) -> None:
        *servers, _ = self.servers
        for server in servers:
            server.log_path.unlink(missing_ok=True)
            opened.callback(server.stop)
            server.start()
        for server in servers:
            server.wait_until_ready()
