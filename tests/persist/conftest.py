"""Fixtures of the tests of persist: the FHIR server under each profile, and a proxy in front of it."""

from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest

from tests.faults import FaultProxy
from tests.persist.samples import Server

WRITABLE_PROFILES = [
    "strict",
    "no-if-none-match",
    "no-etag",
    "milliseconds",
    "outer-400",
    "versioned-update",
    "uuid-versions",
    "hapi",
    "no-batch",
    "no-search-in-batch",
]


@pytest.fixture(params=WRITABLE_PROFILES)
def any_server(request: pytest.FixtureRequest, fhir_profile: Callable[[str], str]) -> Iterator[Server]:
    """The server under each profile that can be written to."""
    server = Server(fhir_profile(request.param))
    yield server
    server.close()


@pytest.fixture
def server(fhir: str) -> Iterator[Server]:
    server = Server(fhir)
    yield server
    server.close()


@pytest.fixture
def proxy(fhir: str) -> Iterator[FaultProxy]:
    """In front of the strict server; the path of its base URL is still to be appended (see `proxied`)."""
    address = urlsplit(fhir)
    with FaultProxy(f"{address.scheme}://{address.netloc}") as proxy:
        yield proxy


@pytest.fixture
def proxied(proxy: FaultProxy, fhir: str) -> str:
    """The base URL of the strict server, through the proxy."""
    return f"{proxy.url}{urlsplit(fhir).path}"
