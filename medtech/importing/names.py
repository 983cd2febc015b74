"""What names and ids of Azure may look like. Whatever goes into a command or a parameter has one of these forms."""

from __future__ import annotations

import re

from medtech.importing.old_service import FhirService

_NAMESPACE_HOST = re.compile(
    r"([a-z][a-z0-9-]{4,48}[a-z0-9])\.servicebus\.(?:windows\.net|usgovcloudapi\.net|chinacloudapi\.cn)", re.IGNORECASE
)
"""Also in the clouds of the US government and of China, where the open-source connector runs."""
_BUILT_IN = re.compile(r"iothub-ns-|ih[a-z]*prod[a-z0-9]*namespace", re.IGNORECASE)
_HUB = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,254}[A-Za-z0-9])?")
_FHIR_SERVICE = re.compile(
    r"/?subscriptions/(?P<subscription>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/resourceGroups/"
    r"(?P<group>[\w().-]{0,89}[\w()-])/providers/Microsoft\.HealthcareApis/workspaces/(?P<workspace>[a-z0-9]{3,24})/"
    r"fhirservices/(?P<name>[a-z0-9][a-z0-9-]{1,22}[a-z0-9])/?",
    re.IGNORECASE,
)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_GROUP = re.compile(r"[\w().-]{0,89}[\w()-]")


def namespace_of(host: str) -> str | None:
    """The name of an Event Hubs namespace by its host name; None for anything else."""
    found = _NAMESPACE_HOST.fullmatch(host)
    return None if found is None else found[1]


def is_built_in(host: str) -> bool:
    """Whether it is the built-in endpoint of an IoT hub, as Azure names them: no resource of its own, without roles."""
    return _BUILT_IN.match(host) is not None


def is_hub(name: str) -> bool:
    return _HUB.fullmatch(name) is not None


def is_uuid(text: str) -> bool:
    return _UUID.fullmatch(text) is not None


def is_resource_group(text: str) -> bool:
    return _GROUP.fullmatch(text) is not None


def fhir_service_of(resource_id: str) -> FhirService | None:
    """The FHIR service that a resource id names, which may lack its first slash; None for anything else."""
    found = _FHIR_SERVICE.fullmatch(resource_id)
    if found is None:
        return None
    written = "/" + resource_id.strip("/")
    return FhirService(written, found["workspace"], found["name"])
