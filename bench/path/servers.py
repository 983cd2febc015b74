"""What a scenario talks to, each in a process of its own, so that its time is not the app's."""

import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from dev.ports import choose_ports
from dev.processes import Server
from tests.azurite import Azurite


class Servers(NamedTuple):
    """A connection string of storage, and the base address of a FHIR server that answers as conforming ones do."""

    connection: str
    fhir_url: str


@contextmanager
def servers() -> Iterator[Servers]:
    """An empty Azurite and an empty FHIR server, until the block ends."""
    with TemporaryDirectory() as location, ExitStack() as opened:
        folder = Path(location)
        azurite = Azurite(folder / "azurite")
        opened.callback(azurite.stop)
        azurite.start()
        [port] = choose_ports({"fhir": None})
        command = [sys.executable, "-m", "bench.path.fhir_answers", str(port)]
        fhir = Server("fhir-answers", command, [port], folder, stop_signal=signal.SIGTERM)
        opened.callback(fhir.stop)
        fhir.start()
        fhir.wait_until_ready()
        yield Servers(azurite.connection_string, f"http://127.0.0.1:{port}/fhir/R4")
