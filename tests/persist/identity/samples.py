"""Devices, Patients and Encounters on a server, and resolvers whose waits take no time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from medtech.errors import MedTechError
from medtech.model import ResourceIdentity
from medtech.persist.client import FhirClient
from medtech.persist.identity import IdentityKey, IdentityResolver
from medtech.settings import ResolutionType
from tests.persist.samples import Server, unique

LOOKUP, CREATE = ResolutionType.LOOKUP, ResolutionType.CREATE


@contextmanager
def resolver_at(
    url: str, mode: ResolutionType, system: str = "", clock: Callable[[], float] = lambda: 0.0
) -> Iterator[IdentityResolver]:
    """Its cached identities are fresh for 60 s of `clock`."""
    with FhirClient(url) as client:
        yield IdentityResolver(client, mode, system, 60, pause=lambda seconds: None, clock=clock)


def resolve(
    url: str, mode: ResolutionType, *keys: IdentityKey, system: str = ""
) -> list[ResourceIdentity | MedTechError]:
    """The results in the order of the keys."""
    with resolver_at(url, mode, system) as resolver:
        resolved = resolver.resolve(keys, lambda: None)
    return [resolved[key] for key in keys]


def key(device: str, patient: str | None = None, encounter: str | None = None) -> IdentityKey:
    return IdentityKey(device, patient, encounter)


def add_device(server: Server, identifier: str, patient: Any = None, system: str | None = None) -> str:
    """The id of a new Device. `patient`: the id of a Patient, created if it is not there, or the whole reference."""
    if isinstance(patient, str) and not server.holds(f"Patient/{patient}"):
        server.put({"resourceType": "Patient", "id": patient})
    device: dict[str, Any] = {"resourceType": "Device", "id": unique("d"), "identifier": [{"value": identifier}]}
    if system:
        device["identifier"][0]["system"] = system
    if patient:
        device["patient"] = patient if isinstance(patient, dict) else {"reference": f"Patient/{patient}"}
    return str(server.put(device)["id"])


def add(server: Server, kind: str, identifier: str, **content: Any) -> str:
    resource = {"resourceType": kind, "id": unique("r"), "identifier": [{"value": identifier}], **content}
    return str(server.put(resource)["id"])


def add_encounter(server: Server, identifier: str) -> str:
    return add(server, "Encounter", identifier, status="finished", **{"class": {"code": "AMB"}})
