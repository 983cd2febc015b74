"""A functions host in a process of its own, as tests and the local run drive it.

with RunningHost(data_folder, app_directory=APP, settings={...}) as host:
    host.post_events([{"body": {...}, "partitionKey": "device-1"}])
    host.wait_until_read()
    host.run_timer("flush")
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
from math import inf
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from dev.hub import Position
from dev.keys import load_keys
from dev.ports import choose_ports
from dev.processes import LocalRunFailed, Server

WAIT_SECONDS = 60.0
POLL_SECONDS = 0.05
_LOCK = "lock"


class RunningHost:
    """A functions host around an app, as a context manager. Everything it keeps is in its data folder.

    `settings` are app settings, which override environment variables of the same name; other environment variables
    are settings too. `log_level` overrides the levels of host.json (Debug shows what the app and Microsoft's runtime
    log at DEBUG). `longest_wait_seconds` cuts short the waits of retry policies and those before a worker is started
    again. Events expire after `retention_hours`; without it they do not. Hub and keys of an earlier run in the folder
    are reused unless `fresh`. The hub may be in another `hub_folder`, which hosts share. Raises LocalRunFailed if the
    port is in use or the host does not start. Start it from the main thread: on Linux its process ends with the thread
    that started it.
    """

    def __init__(
        self,
        data_folder: Path,
        *,
        app_directory: Path,
        settings: Mapping[str, str],
        port: int | None = None,
        partitions: int = 4,
        log_level: str | None = None,
        fresh: bool = False,
        longest_wait_seconds: float = inf,
        retention_hours: float | None = None,
        hub_folder: Path | None = None,
    ) -> None:
        self.data_folder = data_folder.resolve()
        self.log_folder = self.data_folder / "logs"
        levels = {f"AzureFunctionsJobHost__logging__logLevel__{name}": log_level for name in ("default", "Worker")}
        self.settings = {name: level for name, level in levels.items() if level is not None} | dict(settings)
        [port] = choose_ports({"--host-port": port})
        self.host_url = f"http://127.0.0.1:{port}"
        self._fresh = fresh
        self.settings_file = self.data_folder / "local.settings.json"
        options = {
            "--app": str(app_directory.resolve()),
            "--port": str(port),
            "--data": str(self.data_folder),
            "--settings": str(self.settings_file),
            "--partitions": str(partitions),
            "--longest-wait-seconds": str(longest_wait_seconds),
        }
        if retention_hours is not None:
            options["--retention"] = str(retention_hours)
        if hub_folder is not None:
            options["--hubs"] = str(hub_folder.resolve())
        command = [sys.executable, "-m", "dev", "host", *(part for option in options.items() for part in option)]
        # Environment variables override the settings file, as they do for Core Tools.
        environment = {name: value for name, value in os.environ.items() if name not in self.settings}
        self.host = Server("host", command, [port], self.log_folder, environment=environment)
        self._open = ExitStack()
        self._http: httpx.Client

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            self._http = opened.enter_context(httpx.Client(base_url=self.host_url, timeout=WAIT_SECONDS))
            opened.enter_context(_only_one(self.data_folder))
            if self._fresh:
                _empty(self.data_folder)
            self.change_settings({})
            self._start_servers(opened)
            self.host.log_path.unlink(missing_ok=True)
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
        """The host's log, which includes the worker's lines."""
        return self.host.log

    @property
    def worker_pid(self) -> int | None:
        """The process id of the worker that has been ready for the longest; None while there is none."""
        return next(iter(self.worker_pids), None)

    @property
    def worker_pids(self) -> list[int]:
        """Those of all workers that are ready."""
        pids: list[int] = self._functions()["worker"]["pids"]
        return pids

    def post_events(self, events: Sequence[Mapping[str, Any]], hub: str | None = None) -> list[Position]:
        """Stores events, in the form of `dev.hub.read_new_event`, in the hub; returns their positions."""
        answer = self._http.post("/dev/events", json=list(events), params={} if hub is None else {"hub": hub})
        if answer.status_code == 400:
            raise ValueError(answer.json()["error"])
        answer.raise_for_status()
        return [Position(each["partition"], each["sequenceNumber"]) for each in answer.json()["events"]]

    def steal_partition(self, partition: str, sequence_number: int | None = None, hub: str | None = None) -> None:
        """Starts a second listener of a partition, from the last checkpoint or from a sequence number on, while the
        first still works. Returns at once."""
        wanted = {"partition": partition} | ({} if sequence_number is None else {"sequenceNumber": sequence_number})
        answer = self._http.post("/dev/hub/steal", json=wanted, params={} if hub is None else {"hub": hub})
        if answer.status_code == 400:
            raise ValueError(answer.json()["error"])
        answer.raise_for_status()

    def trigger_timer(self, name: str) -> None:
        """Starts a timer function through the admin endpoint, as in Azure, without waiting for its end."""
        key = {"x-functions-key": self.master_key}
        self._http.post(f"/admin/functions/{name}", headers=key, json={}).raise_for_status()

    def run_timer(self, name: str) -> bool:
        """Runs a timer function to its end; returns whether it succeeded."""
        answer = self._http.post(f"/dev/timers/{name}", json={}, timeout=None)
        answer.raise_for_status()
        succeeded: bool = answer.json()["succeeded"]
        return succeeded

    def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        """A request to the host with the master key; options as in `httpx.Client.request`."""
        headers = {"x-functions-key": self.master_key, **options.pop("headers", {})}
        return self._http.request(method, path, headers=headers, **options)

    def invocations(self, name: str) -> Mapping[str, int]:
        """A function's invocations since the host started: `started`, `succeeded`, `failed`."""
        function = self._functions()["functions"][name]
        return {count: function[count] for count in ("started", "succeeded", "failed")}

    def hub_state(self, hub: str | None = None) -> dict[str, Any]:
        """By partition: lastSequenceNumber and checkpoints by consumer group. Without a name, of the only hub."""
        hubs = self._http.get("/dev/hub").json()["hubs"]
        state: dict[str, Any] = hubs[hub] if hub is not None else next(iter(hubs.values()))
        return state

    def unread(self, hub: str | None = None, consumer_group: str | None = None) -> int:
        """How many events that have not expired a consumer group has yet to read; without a name, the group that is
        farthest behind."""
        behind = 0
        for partition in self.hub_state(hub).values():
            groups = partition["checkpoints"]
            done = min(groups.values(), default=-1) if consumer_group is None else groups[consumer_group]
            behind += partition["lastSequenceNumber"] - max(done, partition["firstSequenceNumber"] - 1)
        return behind

    def wait_until_read(
        self, hub: str | None = None, consumer_group: str | None = None, timeout_seconds: float = WAIT_SECONDS
    ) -> None:
        """Returns once the checkpoint has passed every event. Raises TimeoutError."""
        deadline = time.monotonic() + timeout_seconds
        while (behind := self.unread(hub, consumer_group)) > 0:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{behind} events are still unread after {timeout_seconds:g} s.")
            time.sleep(POLL_SECONDS)

    def kill_worker(self) -> None:
        """Kills the worker at once, as a crash would; returns once the host has another. Raises TimeoutError."""
        pid = self.worker_pid
        if pid is None:
            raise RuntimeError("There is no worker to kill: the next one is still starting.")
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + WAIT_SECONDS
        while self.worker_pid in (None, pid):
            if time.monotonic() > deadline:
                raise TimeoutError("The host has not started another worker.")
            time.sleep(POLL_SECONDS)

    def start_host(self) -> None:
        """Starts the functions host; returns once it serves. Raises LocalRunFailed with the end of its log."""
        self.host.start()
        self.host.wait_until_ready()

    def change_settings(self, settings: Mapping[str, str]) -> None:
        """Sets app settings, which a host that starts from now on has."""
        self.settings |= settings
        self.settings_file.write_text(json.dumps({"Values": self.settings}, indent=2))

    def restart_host(self) -> None:
        """Stops the host in order and starts it again; hub and keys are kept."""
        self.host.stop()
        self.start_host()

    def _functions(self) -> dict[str, Any]:
        answer = self._http.get("/dev/functions")
        answer.raise_for_status()
        document: dict[str, Any] = answer.json()
        return document

    def _start_servers(self, opened: ExitStack) -> None:
        """Starts what the app needs, before the host; callbacks on `opened` stop it after the host."""


def _empty(folder: Path) -> None:
    """Removes what earlier runs left, except for the lock, which is held."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != _LOCK:
            path.unlink()


def _only_one(folder: Path) -> Any:
    """A lock on a data folder, held while the host runs: two runs would write into each other's files."""
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
