"""Stacks of real parts: Azurite, a FHIR server and a functions host around Microsoft's worker runtime."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from dev.processes import storage_connection_string
from dev.stack import LocalStack, Ports
from tests.azurite import free_ports
from tests.end_to_end.ward import QUIET, Ward
from tests.faults import FaultProxy


class Wires(NamedTuple):
    """A ward whose app reaches Table storage and the FHIR server through proxies that can be made to fail."""

    ward: Ward
    tables: FaultProxy
    fhir: FaultProxy


@contextmanager
def behind_proxies(folder: Path, settings: dict[str, str], log_level: str | None = None) -> Iterator[Wires]:
    """A new stack with a proxy in front of Table storage and one in front of the FHIR server."""
    blob, queue, table, fhir = free_ports(4)
    with FaultProxy(f"http://127.0.0.1:{table}") as tables, FaultProxy(f"http://127.0.0.1:{fhir}") as fhir_line:
        lines = {
            "AzureWebJobsStorage": storage_connection_string(blob, queue, urlsplit(tables.url).port or 0),
            "FHIR_SERVICE_URL": f"{fhir_line.url}/fhir/R4",
        }
        ports = Ports(blob=blob, queue=queue, table=table, fhir=fhir)
        with (
            LocalStack(folder, settings=QUIET | lines | settings, ports=ports, log_level=log_level) as stack,
            Ward(stack) as ward,
        ):
            yield Wires(ward, tables, fhir_line)


@pytest.fixture(scope="session")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    """One stack for all tests that neither need their own settings nor break its parts."""
    with LocalStack(tmp_path_factory.mktemp("stack"), settings=QUIET) as stack, Ward(stack) as ward:
        yield ward


@pytest.fixture(scope="session")
def breakable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wires]:
    """One stack for the tests that take its parts away; each must leave it whole for the next.

    It keeps messages that no template matches, and its bundles are so small that a flush sends several at a time.
    """
    settings = {"KEEP_UNMATCHED": "true", "FHIR_BUNDLE_SIZE": "2"}
    with behind_proxies(tmp_path_factory.mktemp("breakable"), settings) as wires:
        yield wires


@pytest.fixture
def wires(breakable: Wires) -> Iterator[Wires]:
    """The breakable stack, without faults."""
    yield breakable
    breakable.tables.clear()
    breakable.fhir.clear()


@pytest.fixture
def device(request: pytest.FixtureRequest) -> str:
    """A device id of the test's own that is also a valid FHIR id."""
    name = request.node.name.removeprefix("test_")
    return "".join(each if each.isalnum() and each.isascii() else "-" for each in name)[-40:].strip("-")
