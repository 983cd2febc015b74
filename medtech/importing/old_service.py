"""What the service that is left was configured with, wherever that was read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from medtech.importing.document import Place


class SetupFault(NamedTuple):
    """A fault in the configuration of the service, by the name of the property that the service's own errors name.

    `message` is whole sentences: what is wrong and how to fix it. It holds no value that could be a secret.
    """

    name: str
    message: str
    place: Place


class Identity(NamedTuple):
    """A managed identity of the service. `resource_id` is empty for a system-assigned one; ids may be empty."""

    resource_id: str
    principal_id: str
    client_id: str


class FhirService(NamedTuple):
    """A FHIR service of Azure Health Data Services."""

    resource_id: str
    workspace: str
    name: str


@dataclass(slots=True)
class OldService:
    """`kind` is what people call it. None and empty: not given, or given wrong, which `faults` then say.

    `fhir_url` is given by the open-source connector, `fhir_service` by the MedTech service. `by_hand` has what cannot
    be taken over, each with what to do about it.
    """

    kind: str
    name: str = ""
    hub_namespace: str | None = None
    hub: str | None = None
    consumer_group: str | None = None
    fhir_service: FhirService | None = None
    fhir_url: str | None = None
    resolution_type: str | None = None
    device_identifier_system: str = ""
    identities: list[Identity] = field(default_factory=list)
    device_mapping: str | None = None
    fhir_mapping: str | None = None
    faults: list[SetupFault] = field(default_factory=list)
    by_hand: list[str] = field(default_factory=list)

    def fault(self, name: str, message: str, place: Place) -> None:
        self.faults.append(SetupFault(name, message, place))
