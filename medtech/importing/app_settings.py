"""The settings of the app that takes the place of the service."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from medtech.importing.old_service import OldService
from medtech.settings import FhirWrite
from medtech.setup.platform import CONSUMER_GROUP, HOST_STORAGE, HUB, HUB_CONNECTION

OWN_CONSUMER_GROUP = "medtech"
_OTHER_CONSUMER_GROUP = "medtech-app"

FIRST_WRITE = FhirWrite.COMPARE
"""FHIR_WRITE of an app that has just been imported: the service that it is to replace still writes."""

_APP_FOLDER = Path(__file__).parents[2]

DEVICE_MAPPING_FILE = "deviceMapping.json"
FHIR_MAPPING_FILE = "fhirDestinationMapping.json"


def consumer_group(old: OldService) -> str:
    """The app's own: two readers of one group take the hub's partitions from each other."""
    is_taken = (old.consumer_group or "").lower() == OWN_CONSUMER_GROUP
    return _OTHER_CONSUMER_GROUP if is_taken else OWN_CONSUMER_GROUP


def fhir_url(old: OldService) -> str | None:
    """The usual address of a FHIR service, as infra/main.bicep has it; else the one that was given."""
    if old.fhir_service is None:
        return old.fhir_url
    host = f"{old.fhir_service.workspace}-{old.fhir_service.name}".lower()
    return f"https://{host}.fhir.azurehealthcareapis.com"


def taken_over(old: OldService) -> dict[str, str]:
    """The app settings that follow from the service, by their names in docs/settings.md."""
    found = {
        f"{HUB_CONNECTION.name}__fullyQualifiedNamespace": old.hub_namespace,
        HUB.name: old.hub,
        CONSUMER_GROUP.name: consumer_group(old),
        "FHIR_SERVICE_URL": fhir_url(old),
        **behaviour(old),
    }
    return {name: value for name, value in found.items() if value}


def behaviour(old: OldService) -> dict[str, str]:
    """Those of them that the parameter `settings` of infra/main.bicep takes."""
    found = {
        "RESOURCE_IDENTITY_RESOLUTION_TYPE": old.resolution_type,
        "DEFAULT_DEVICE_IDENTIFIER_SYSTEM": old.device_identifier_system,
    }
    return {name: value for name, value in found.items() if value}


def local_settings(old: OldService, folder: Path) -> Mapping[str, object]:
    """A local.settings.json that reads the mappings in `folder`, with Azurite as its storage."""
    values = {
        "FUNCTIONS_WORKER_RUNTIME": "python",
        HOST_STORAGE.name: "UseDevelopmentStorage=true",
        **taken_over(old),
        "FHIR_WRITE": str(FIRST_WRITE),
        "PYTHON_ENABLE_OPENTELEMETRY": "true",
    }
    if old.device_mapping is not None:
        values["DEVICE_MAPPING"] = _from_app(folder / DEVICE_MAPPING_FILE)
    if old.fhir_mapping is not None:
        values["FHIR_MAPPING"] = _from_app(folder / FHIR_MAPPING_FILE)
    return {"IsEncrypted": False, "Values": values}


def _from_app(path: Path) -> str:
    """As the settings name a file: relative to the app if it is part of it."""
    whole = path.resolve()
    return str(whole.relative_to(_APP_FOLDER)) if whole.is_relative_to(_APP_FOLDER) else str(whole)
