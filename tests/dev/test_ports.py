"""Ports that are free, for one run of several."""

import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from dev import ports
from dev.ports import FREE_PORTS, choose_ports
from dev.processes import ROOT, LocalRunFailed

CHOOSE = """
import sys
from dev import ports
ports.FREE_PORTS = range(*map(int, sys.argv[1:3]))
print(*ports.choose_ports(dict.fromkeys(map(str, range(int(sys.argv[3]))))), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def own_reservations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No process of another run has reserved anything."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(ports, "_reservations", ports._Reservations())


@pytest.fixture
def port() -> int:
    return choose_ports({"--port": None})[0]


def test_a_used_port_is_one_clear_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as used:
        number = used.getsockname()[1]
        with pytest.raises(LocalRunFailed) as failed:
            choose_ports({"--host-port": None, "--fhir-port": number})
    assert str(failed.value) == (
        f"Port {number} is in use: end the program that listens on it, or choose another with --fhir-port."
    )


def test_a_port_that_two_options_name_is_refused(port: int) -> None:
    with pytest.raises(LocalRunFailed, match=r"choose another with --fhir-port"):
        choose_ports({"--host-port": port, "--fhir-port": port})


@pytest.mark.usefixtures("own_reservations")
def test_ports_that_are_chosen_together_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "FREE_PORTS", FREE_PORTS[:200])
    assert len(set(choose_ports(dict.fromkeys(map(str, range(100)))))) == 100


@pytest.mark.usefixtures("own_reservations")
def test_a_port_is_chosen_once_although_nobody_listens_on_it_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "FREE_PORTS", FREE_PORTS[:200])
    assert len({choose_ports({"--port": None})[0] for _ in range(100)}) == 100


def test_processes_that_live_at_once_choose_different_ports(tmp_path: Path) -> None:
    def choosing(count: int) -> "subprocess.Popen[str]":
        arguments = [str(FREE_PORTS[0]), str(FREE_PORTS[200]), str(count)]
        return subprocess.Popen(
            [sys.executable, "-c", CHOOSE, *arguments],
            cwd=ROOT,
            env={"TMPDIR": str(tmp_path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    with choosing(80) as first, choosing(80) as second:
        chosen = [process.stdout.readline().split() for process in (first, second) if process.stdout is not None]
        for process in (first, second):
            process.communicate()
    assert [len(each) for each in chosen] == [80, 80]
    assert not set(chosen[0]) & set(chosen[1])
    with choosing(150) as third:  # what ended processes had chosen is free again
        answer, _ = third.communicate()
    assert len(answer.split()) == 150


@pytest.mark.usefixtures("own_reservations")
def test_the_oldest_of_many_ports_is_free_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "FREE_PORTS", FREE_PORTS[:20])
    monkeypatch.setattr(ports, "RESERVED_PORTS", 10)
    assert len(choose_ports(dict.fromkeys(map(str, range(10))))) == 10
    assert all(choose_ports({"--port": None}) for _ in range(40))
