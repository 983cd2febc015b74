"""The servers of a local run as child processes: logs, readiness and an orderly end.

Each server has its own log file and ends with its parent (see child.py), even if the parent is killed.
"""

import base64
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

DEV_FOLDER = Path(__file__).resolve().parent
ROOT = DEV_FOLDER.parent
STORAGE_ACCOUNT = "local"
STORAGE_KEY = base64.b64encode(b"opens the emulator of this machine and nothing else").decode()
START_SECONDS = 60.0
STOP_SECONDS = 30.0


class LocalRunFailed(Exception):
    """Something outside the program is missing or in the way; the message says what to do."""


def bound_to_parent(signal_number: signal.Signals, command: Sequence[str]) -> list[str]:
    """The command, wrapped so that it receives the signal when this process ends, however it ends."""
    return [sys.executable, "-IS", str(DEV_FOLDER / "child.py"), str(int(signal_number)), str(os.getpid()), *command]


def node_command(script: Path, *arguments: str) -> list[str]:
    """The command for a Node program. Raises LocalRunFailed if Node.js or the npm packages are missing."""
    node = shutil.which("node")
    if node is None:
        raise LocalRunFailed("Node.js is missing: install version 20 or newer, then start again.")
    if not script.exists() or not (DEV_FOLDER / "node_modules").exists():
        raise LocalRunFailed("The npm packages are missing: run `make setup`.")
    return [node, str(script), *arguments]


class Server:
    """A server process on ports of 127.0.0.1 that can be started, stopped, killed and started again on them."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        ports: Sequence[int],
        log_folder: Path,
        *,
        stop_signal: signal.Signals = signal.SIGTERM,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log_path = log_folder / f"{name}.log"
        self._command = command
        self._ports = ports
        self._stop_signal = stop_signal
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """What the server has written to its log so far."""
        return self.log_path.read_text(encoding="utf-8", errors="replace") if self.log_path.exists() else ""

    def start(self) -> None:
        """Starts the process, which appends to the log; `wait_until_ready` waits until it answers."""
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as output:
            self._process = subprocess.Popen(
                bound_to_parent(self._stop_signal, self._command),
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C goes to the parent alone, which ends them in order
            )

    def wait_until_ready(self) -> None:
        """Returns once the server itself, and no other program, listens on every port.

        Else raises LocalRunFailed with the end of its log.
        """
        deadline = time.monotonic() + START_SECONDS
        while not self._listening_ports().issuperset(self._ports):
            if not self.running or time.monotonic() > deadline:
                raise LocalRunFailed(f"{self.name} did not start; the end of {self.log_path}:\n{self._last_lines()}")
            time.sleep(0.03)

    def _listening_ports(self) -> set[int]:
        try:
            connections = psutil.Process(self.pid).net_connections("tcp") if self.running else []
        except psutil.Error:  # it has ended
            return set()
        return {each.laddr.port for each in connections if each.status == psutil.CONN_LISTEN}

    def stop(self) -> None:
        """Ends the process with its stop signal, and by force after STOP_SECONDS."""
        if self._process is None or not self.running:
            return
        self._process.send_signal(self._stop_signal)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Ends the process at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _last_lines(self) -> str:
        return "\n".join(self.log.splitlines()[-20:])


def azurite(
    data_folder: Path,
    log_folder: Path,
    blob_port: int,
    queue_port: int,
    table_port: int,
    *more_options: str,
    accounts: Sequence[str] = (STORAGE_ACCOUNT,),
) -> Server:
    """Azure storage, with so many accounts. Ended with SIGINT: after any other end Azurite has lost up to 5 s of
    acknowledged writes."""
    script = DEV_FOLDER / "node_modules" / "azurite" / "dist" / "src" / "azurite.js"
    options = ["--location", str(data_folder), "--silent", "--disableTelemetry", "--skipApiVersionCheck", *more_options]
    ports = {"--blobPort": blob_port, "--queuePort": queue_port, "--tablePort": table_port}
    for option, port in ports.items():
        options += [option, str(port)]
    command = node_command(script, *options)
    keys = ";".join(f"{account}:{STORAGE_KEY}" for account in accounts)
    environment = {**os.environ, "AZURITE_ACCOUNTS": keys}
    return Server(
        "azurite", command, list(ports.values()), log_folder, stop_signal=signal.SIGINT, environment=environment
    )


def fhir_server(log_folder: Path, port: int, *options: str) -> Server:
    """The FHIR R4 server at `http://127.0.0.1:PORT/fhir/R4`; its options are in the first lines of server.mjs."""
    command = node_command(DEV_FOLDER / "fhir" / "server.mjs", "--port", str(port), *options)
    return Server("fhir", command, [port], log_folder)


def storage_connection_string(blob_port: int, queue_port: int, table_port: int, account: str = STORAGE_ACCOUNT) -> str:
    """The connection string of an account that `azurite` serves."""
    ports = {"Blob": blob_port, "Queue": queue_port, "Table": table_port}
    endpoints = ";".join(f"{name}Endpoint=http://127.0.0.1:{port}/{account}" for name, port in ports.items())
    return f"DefaultEndpointsProtocol=http;AccountName={account};AccountKey={STORAGE_KEY};{endpoints};"
