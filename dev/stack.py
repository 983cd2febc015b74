"""The whole local run as one object: Azurite, FHIR server and functions host around an app.

End-to-end tests and `python -m dev run|demo` stand on it:

    with LocalStack(data_folder, settings={"WINDOW_SECONDS": "2"}) as stack:
        stack.post_events([{"body": {...}, "partitionKey": "device-1"}])
        stack.wait_until_read()
        stack.run_timer("flush")
        httpx.get(f"{stack.fhir_url}/Observation")

Every process has its own log in `data_folder/logs`. Start it from the main thread: on Linux the servers end with the
thread that started them.
"""

import fcntl
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from dev.hub import Position
from dev.keys import load_keys
from dev.processes import (
    ROOT,
    LocalRunFailed,
    Server,
    azurite,
    choose_port,
    fhir_server,
    storage_connection_string,
)

WAIT_SECONDS = 60.0
POLL_SECONDS = 0.05
_LOCK = "lock"


@dataclass(frozen=True, slots=True)
class Ports:
    """Ports on 127.0.0.1; None takes a free one."""

    host: int | None = None
    fhir: int | None = None
    blob: int | None = None
    queue: int | None = None
    table: int | None = None


class LocalStack:
    """A running app with everything around it; a context manager.

    `settings` stand over what the stack sets itself (storage, FHIR server, hub, quick batches); `log_level` is one of
    host.json's (Debug shows what the app and Microsoft's runtime log at DEBUG). Raises LocalRunFailed when a part is
    missing, a port is in use or a server does not start. What the folder holds of an earlier run is carried on with
    (storage, FHIR resources, hub, checkpoints, keys) unless `fresh`.
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
        log_level: str = "Information",
        fresh: bool = False,
    ) -> None:
        self.data_folder = data_folder.resolve()
        self.log_folder = self.data_folder / "logs"
        chosen = ports or Ports()
        storage_ports = (
            choose_port(chosen.blob, "--blob-port"),
            choose_port(chosen.queue, "--queue-port"),
            choose_port(chosen.table, "--table-port"),
        )
        fhir_port = choose_port(chosen.fhir, "--fhir-port")
        host_port = choose_port(chosen.host, "--host-port")
        self.storage_connection_string = storage_connection_string(*storage_ports)
        self.fhir_url = f"http://127.0.0.1:{fhir_port}/fhir/R4"
        self.host_url = f"http://127.0.0.1:{host_port}"
        self.storage = azurite(self.data_folder / "azurite", self.log_folder, *storage_ports)
        stored_resources = ("--data", str(self.data_folder / "fhir.jsonl"))
        self.fhir = fhir_server(self.log_folder, fhir_port, *stored_resources, *fhir_options)
        self.settings = {
            "AzureWebJobsStorage": self.storage_connection_string,
            "FHIR_SERVICE_URL": self.fhir_url,
            "EventHubConnection__fullyQualifiedNamespace": "localhost",
            "EVENT_HUB_NAME": "devicedata",
            "EVENT_HUB_CONSUMER_GROUP": "$Default",
            "AzureFunctionsJobHost__logging__logLevel__default": log_level,
            "AzureFunctionsJobHost__logging__logLevel__Worker": log_level,
            # The file's numbers are for thousands of devices; here nobody wants to wait for a batch to fill.
            "AzureFunctionsJobHost__extensions__eventHubs__maxWaitTime": "00:00:00.2",
            **(settings or {}),
        }
        self._fresh = fresh
        self._partitions = partitions
        self._app_directory = app_directory.resolve()
        self._settings_file = self.data_folder / "local.settings.json"
        self.host = self._host(host_port)
        self._open = ExitStack()
        self._http: httpx.Client

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            self._http = opened.enter_context(httpx.Client(base_url=self.host_url, timeout=WAIT_SECONDS))
            opened.enter_context(_only_one(self.data_folder))
            if self._fresh:
                _empty(self.data_folder)
            self._settings_file.write_text(json.dumps({"Values": self.settings}, indent=2))
            for server in (self.storage, self.fhir, self.host):
                server.log_path.unlink(missing_ok=True)
            for server in (self.storage, self.fhir):
                opened.callback(server.stop)
                server.start()
            self.storage.wait_until_ready()
            self.fhir.wait_until_ready()
            opened.callback(self.host.stop)
            self.start_host()
            self._open = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open.close()

    @property
    def master_key(self) -> str:
        return load_keys(self.data_folder).master

    @property
    def function_key(self) -> str:
        return load_keys(self.data_folder).function

    @property
    def logs(self) -> str:
        """The host's log; the worker's lines are in it."""
        return self.host.log

    @property
    def worker_pid(self) -> int | None:
        """The worker's process id; None while it is being started."""
        pid: int | None = self._functions()["worker"]["pid"]
        return pid

    def post_events(self, events: Sequence[Mapping[str, Any]], hub: str | None = None) -> list[Position]:
        """Puts events into the hub, in the form of `dev.hub.read_new_event`; where they are."""
        answer = self._http.post("/dev/events", json=list(events), params={} if hub is None else {"hub": hub})
        if answer.status_code == 400:
            raise ValueError(answer.json()["error"])
        answer.raise_for_status()
        return [Position(each["partition"], each["sequenceNumber"]) for each in answer.json()["events"]]

    def trigger_timer(self, name: str) -> None:
        """Starts a timer function as in Azure: by the admin endpoint, without waiting for its end."""
        key = {"x-functions-key": self.master_key}
        self._http.post(f"/admin/functions/{name}", headers=key, json={}).raise_for_status()

    def run_timer(self, name: str) -> bool:
        """Runs a timer function and waits for its end; whether it succeeded."""
        answer = self._http.post(f"/dev/timers/{name}", timeout=None)
        answer.raise_for_status()
        succeeded: bool = answer.json()["succeeded"]
        return succeeded

    def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        """A request to the host, with the master key; options as `httpx.Client.request` has them."""
        headers = {"x-functions-key": self.master_key, **options.pop("headers", {})}
        return self._http.request(method, path, headers=headers, **options)

    def invocations(self, name: str) -> Mapping[str, int]:
        """started, succeeded, failed of a function since the host started."""
        function = self._functions()["functions"][name]
        return {count: function[count] for count in ("started", "succeeded", "failed")}

    def hub_state(self, hub: str | None = None) -> dict[str, Any]:
        """By partition: lastSequenceNumber and checkpoints by consumer group. The only hub, if none is named."""
        hubs = self._http.get("/dev/hub").json()["hubs"]
        state: dict[str, Any] = hubs[hub] if hub is not None else next(iter(hubs.values()))
        return state

    def unread(self, hub: str | None = None, consumer_group: str | None = None) -> int:
        """Events behind the checkpoints of a consumer group, or of the group that is farthest behind."""
        behind = 0
        for partition in self.hub_state(hub).values():
            groups = partition["checkpoints"]
            done = min(groups.values(), default=-1) if consumer_group is None else groups[consumer_group]
            behind += partition["lastSequenceNumber"] - done
        return behind

    def wait_until_read(
        self, hub: str | None = None, consumer_group: str | None = None, timeout_seconds: float = WAIT_SECONDS
    ) -> None:
        """Returns when every event is behind the checkpoint. Raises TimeoutError."""
        deadline = time.monotonic() + timeout_seconds
        while (behind := self.unread(hub, consumer_group)) > 0:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{behind} events are not read after {timeout_seconds:g} s.")
            time.sleep(POLL_SECONDS)

    def kill_worker(self) -> None:
        """Kills the worker at once, as a crash would; the host starts another."""
        pid = self.worker_pid
        if pid is None:
            raise RuntimeError("There is no worker to kill: it is being started.")
        os.kill(pid, signal.SIGKILL)

    def start_host(self) -> None:
        """Starts the functions host; returns when it serves. Raises LocalRunFailed with the end of its log."""
        self.host.start()
        self.host.wait_until_ready()

    def restart_host(self) -> None:
        """Ends the host in order and starts it again; hub, checkpoints and keys are kept."""
        self.host.stop()
        self.start_host()

    def _functions(self) -> dict[str, Any]:
        answer = self._http.get("/dev/functions")
        answer.raise_for_status()
        document: dict[str, Any] = answer.json()
        return document

    def _host(self, port: int) -> Server:
        options = {
            "--app": str(self._app_directory),
            "--port": str(port),
            "--data": str(self.data_folder),
            "--settings": str(self._settings_file),
            "--partitions": str(self._partitions),
        }
        command = [sys.executable, "-m", "dev", "host", *(part for option in options.items() for part in option)]
        # A variable of this process would stand over the settings file, as it does for Core Tools.
        environment = {name: value for name, value in os.environ.items() if name not in self.settings}
        return Server("host", command, [port], self.log_folder, environment=environment)


def _empty(folder: Path) -> None:
    """Removes what earlier runs left, except the lock that is held."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != _LOCK:
            path.unlink()


def _only_one(folder: Path) -> Any:
    """A lock on a data folder, open while the stack is: two runs would write into each other's files."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = (folder / _LOCK).open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise LocalRunFailed(
            f"Another run uses {folder}: end it first (Ctrl-C in its terminal), or give this one its own --data folder."
        ) from None
    return lock
