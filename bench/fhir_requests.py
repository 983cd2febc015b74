"""Requests and bytes that Observations cost on the wire, counted by a proxy in front of the local FHIR server.

    python -m bench.fhir_requests

First the identities of 100 devices that the server does not know, in Create mode, with its capabilities known. Then a
flush of 1,000 new Observations of these devices, one that changes them all, and one that changes nothing. Each of the
three runs as a process that has just started, so capabilities and identities are read too. The reference connector
takes 2,000, 2,000 and 1,000 requests.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from medtech.errors import MedTechError
from medtech.model import ResourceIdentity
from medtech.persist.client import FhirClient
from medtech.persist.identity import IdentityResolver
from medtech.persist.identity_cache import IdentityKey
from medtech.persist.observations import ObservationWriter, Operation
from medtech.settings import ResolutionType
from tests.faults import FaultProxy
from tests.fhir_server import FhirServer
from tests.persist.samples import series

DEVICES = 100
HOURS = 10
"""One Observation an hour per device, of sixty data points each."""

MOST_REQUESTS = {"identities": 8, "new": 25, "changed": 25, "unchanged": 15}


def main() -> int:
    """The exit code: 0 if no figure is above its maximum."""
    with TemporaryDirectory() as folder:
        server = FhirServer(Path(folder))
        server.start()
        try:
            with FaultProxy(server.origin) as proxy:
                return 0 if all(_measure(proxy, f"{proxy.url}/fhir/R4")) else 1
        finally:
            server.stop()


def _measure(proxy: FaultProxy, url: str) -> list[bool]:
    keys = [IdentityKey(str(uuid4()), str(uuid4()), None) for _ in range(DEVICES)]
    with FhirClient(url) as client:
        client.capabilities()
        proxy.clear()
        _resolve(client, keys, ResolutionType.CREATE)
    good = [_report("identities", proxy)]
    for name, operation, reading in (
        ("new", Operation.CREATED, 60),
        ("changed", Operation.UPDATED, 61),
        ("unchanged", Operation.NO_OPERATION, 61),
    ):
        proxy.clear()
        with FhirClient(url) as client:
            identities = _resolve(client, keys, ResolutionType.LOOKUP)
            writes = [
                series(identity, {hour * 60 + minute: reading + minute for minute in range(60)})
                for identity in identities
                for hour in range(HOURS)
            ]
            outcomes = list(ObservationWriter(client).write(writes, lambda creates: None))
        if {outcome.operation for outcome in outcomes} != {operation}:
            raise RuntimeError(f"{name}: not every Observation was {operation}")
        good.append(_report(name, proxy))
    return good


def _resolve(client: FhirClient, keys: list[IdentityKey], mode: ResolutionType) -> list[ResourceIdentity]:
    resolved = IdentityResolver(client, mode, "", 0).resolve(keys)
    for found in resolved.values():
        if isinstance(found, MedTechError):
            raise found
    return [found for found in resolved.values() if isinstance(found, ResourceIdentity)]


def _report(name: str, proxy: FaultProxy) -> bool:
    requests = len(proxy.requests)
    size = sum(len(request.body) + request.answer_bytes for request in proxy.requests)
    print(f"{name}: {requests} requests, {size} bytes (at most {MOST_REQUESTS[name]} requests)")
    return requests <= MOST_REQUESTS[name]


if __name__ == "__main__":
    sys.exit(main())
