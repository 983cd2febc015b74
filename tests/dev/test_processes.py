"""Servers that end when they should."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from dev import processes
from dev.ports import choose_ports
from dev.processes import ROOT, LocalRunFailed, Server, node_command
from tests.dev.conftest import SampleHost
from tests.dev.waiting import wait_until

LISTEN = "import socket, sys, time; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); time.sleep(600)"


@pytest.fixture
def port() -> int:
    return choose_ports({"--port": None})[0]


def test_missing_node_is_one_clear_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(LocalRunFailed, match=r"^Node\.js is missing: install version 20 or newer"):
        node_command(Path("server.mjs"))


def test_missing_npm_packages_are_one_clear_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "DEV_FOLDER", tmp_path)
    with pytest.raises(LocalRunFailed, match=r"^The npm packages are missing: run"):
        node_command(tmp_path / "server.mjs")


def test_another_program_on_the_port_is_not_taken_for_the_server(tmp_path: Path, port: int) -> None:
    server = Server("listener", [sys.executable, "-c", LISTEN, str(port)], [port], tmp_path)
    with socket.create_server(("127.0.0.1", port)):
        server.start()
        with pytest.raises(LocalRunFailed, match="listener did not start"):
            server.wait_until_ready()


def test_a_server_starts_again_under_its_port(tmp_path: Path, port: int) -> None:
    server = Server("listener", [sys.executable, "-c", LISTEN, str(port)], [port], tmp_path)
    for end in (server.stop, server.kill):
        server.start()
        server.wait_until_ready()
        assert server.running
        end()
        assert not server.running


def test_a_server_that_does_not_start_shows_the_end_of_its_log(tmp_path: Path, port: int) -> None:
    server = Server("broken", [sys.executable, "-c", "raise SystemExit('why it ended')"], [port], tmp_path)
    server.start()
    with pytest.raises(LocalRunFailed, match=r"broken did not start; .*\n.*why it ended"):
        server.wait_until_ready()


if sys.platform == "linux":  # elsewhere the kernel does not signal a parent's death

    def test_a_child_ends_with_its_parent() -> None:
        script = (
            "import signal, subprocess, sys, time\n"
            "from dev.processes import bound_to_parent\n"
            "command = bound_to_parent(signal.SIGTERM, [sys.executable, '-c', 'import time; time.sleep(600)'])\n"
            "print(subprocess.Popen(command).pid, flush=True); time.sleep(600)\n"
        )
        with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE) as parent:
            try:
                assert parent.stdout is not None
                child = psutil.Process(int(parent.stdout.readline()))
                wait_until(lambda: "child.py" not in " ".join(child.cmdline()))
            finally:
                parent.kill()
        wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_worker_outlives_its_host(tmp_path: Path, azurite: str, number: signal.Signals) -> None:
    with SampleHost(tmp_path, azurite) as host:
        worker, pid = host.worker_pid, host.host.pid
        assert worker is not None
        assert pid is not None
        os.kill(pid, number)
        wait_until(lambda: not psutil.pid_exists(worker))


def test_two_runs_never_share_a_data_folder(tmp_path: Path, azurite: str) -> None:
    with SampleHost(tmp_path, azurite), pytest.raises(LocalRunFailed, match="Another run uses"):
        SampleHost(tmp_path, azurite).__enter__()


def test_a_port_that_is_used_stops_the_host_with_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as used:
        port = str(used.getsockname()[1])
        app = ROOT / "tests" / "dev" / "apps" / "sample"
        command = [sys.executable, "-m", "dev", "host", "--app", str(app), "--port", port, "--data", str(tmp_path)]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert ended.stderr.strip().splitlines()[-1].startswith(f"Port {port} cannot be used")
