"""Ports of this machine for the servers of a local run."""

import fcntl
import os
import random
import socket
import tempfile
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from dev.processes import LocalRunFailed

FREE_PORTS = range(20_000, 32_000)
"""Free ports are taken from here: those that the system hands out (from 32,768 on) may go to any connection of this
machine between the choice and the start of the server."""
RESERVED_PORTS = 500
"""How many ports a process keeps to itself, the newest."""


def choose_ports(wanted: Mapping[str, int | None]) -> list[int]:
    """Ports on 127.0.0.1, one per option: the given one, or a free one for None; all different.

    A free one is no other process's choice either, before its server has started and while that is down: runs may go
    side by side. Raises LocalRunFailed, which names the option, for a port that is in use.
    """
    with ExitStack() as probes:
        return [_bind(probes.enter_context(socket.socket()), port, option) for option, port in wanted.items()]


def _bind(probe: socket.socket, port: int | None, option: str) -> int:
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port that was just released counts as free
    if port is None:
        while not (_reservations.reserve(port := random.choice(FREE_PORTS)) and _is_free(probe, port)):
            pass
    elif not _is_free(probe, port):
        raise LocalRunFailed(
            f"Port {port} is in use: end the program that listens on it, or choose another with {option}."
        )
    return port


def _is_free(probe: socket.socket, port: int) -> bool:
    """Has the probe listen on the port if that is possible: with SO_REUSEADDR, Linux binds any number of sockets to a
    port on which none listens."""
    try:
        probe.bind(("127.0.0.1", port))
        probe.listen()
    except (OSError, OverflowError):
        return False
    return True


class _Reservations:
    """The newest ports that this process has chosen. Each is a lock on a byte of a file that all processes of this user
    open: the system releases it when the process ends, however it ends."""

    def __init__(self) -> None:
        self._ports: deque[int] = deque()
        self._lock = threading.Lock()
        self._file: int | None = None

    def reserve(self, port: int) -> bool:
        """Whether nobody had it, this process included."""
        with self._lock:
            if self._file is None:
                # Opened once: a process that closes any of its descriptors of a file gives up all its locks on it.
                path = Path(tempfile.gettempdir(), f"medtech-ports-{os.getuid()}")
                self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            if port in self._ports:
                return False
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
            except OSError:
                return False
            self._ports.append(port)
            if len(self._ports) > RESERVED_PORTS:
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, self._ports.popleft())
            return True


_reservations = _Reservations()
