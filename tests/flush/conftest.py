"""Fixtures of the tests of the flush: a real Azurite, a real FHIR server, and runs over both."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from medtech.storage.connection import Storage
from tests.flush.samples import MakeRun, Run
from tests.persist.samples import Server


@pytest.fixture
def server(fhir: str) -> Iterator[Server]:
    server = Server(fhir)
    yield server
    server.close()


@pytest.fixture
def make_run(storage: Storage, server: Server) -> Iterator[MakeRun]:
    """A run that writes to the given address, closed at the end of the test."""
    with ExitStack() as opened:

        def make(url: str, **settings: Any) -> Run:
            run = Run(storage, server, url, **settings)
            opened.enter_context(run.client)
            return run

        yield make


@pytest.fixture
def run(make_run: MakeRun, fhir: str) -> Run:
    return make_run(fhir)
