"""The app settings of a scenario: storage, a FHIR server, mappings; a hub that nothing is read from."""

import os
from pathlib import Path

_MAPPINGS = Path(__file__).resolve().parents[1]


def app_settings(
    connection: str, *, device: str = "single.device.json", fhir: str = "quantity.fhir.json", fhir_url: str = ""
) -> dict[str, str]:
    """`connection` is storage's connection string, `device` and `fhir` are mappings in bench/."""
    return {
        "AzureWebJobsStorage": connection,
        "EventHubConnection__fullyQualifiedNamespace": "namespace.servicebus.windows.net",
        "EVENT_HUB_NAME": "devicedata",
        "FHIR_SERVICE_URL": fhir_url or "http://127.0.0.1:9/fhir/R4",
        "DEVICE_MAPPING": str(_MAPPINGS / device),
        "FHIR_MAPPING": str(_MAPPINGS / fhir),
        # Known identities stay known however long a run takes; looking at them again is the same in every tree.
        "IDENTITY_CACHE_SECONDS": "3600",
    }


def use(settings: dict[str, str]) -> None:
    """Makes them this process's app settings, before anything reads one."""
    os.environ.update(settings)


def table_port(connection: str) -> int:
    """The port of the table service that a connection string of Azurite names."""
    endpoints = dict(part.split("=", 1) for part in connection.split(";") if part)
    return int(endpoints["TableEndpoint"].split(":")[2].partition("/")[0])
