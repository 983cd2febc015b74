"""The parameters of infra/main.bicep for the app that takes the place of the service."""

from __future__ import annotations

from collections.abc import Mapping

from medtech.importing.app_settings import behaviour, consumer_group, fhir_url
from medtech.importing.old_service import OldService

_SCHEMA = "https://schema.management.azure.com/schemas/2019-04-01/deploymentParameters.json#"

_OF_AZD = {
    "environmentName": "${AZURE_ENV_NAME}",
    "location": "${AZURE_LOCATION}",
    # A service names its hub's namespace by host name; only Azure knows the resource id.
    "eventHubNamespaceId": "${EVENT_HUB_NAMESPACE_ID}",
}


def main_parameters(old: OldService) -> Mapping[str, object]:
    """A main.parameters.json. azd fills in its `${…}`; the Azure CLI needs them on its command line."""
    found: dict[str, object] = dict(_OF_AZD)
    if old.hub:
        found["eventHubName"] = old.hub
    found["eventHubConsumerGroup"] = consumer_group(old)
    if old.fhir_service is not None:
        found["fhirServiceId"] = old.fhir_service.resource_id
    elif old.fhir_url:
        found["fhirServiceUrl"] = fhir_url(old)
    # azd would put something in the place of `${…}`.
    found["settings"] = {name: value for name, value in behaviour(old).items() if "${" not in value}
    return {
        "$schema": _SCHEMA,
        "contentVersion": "1.0.0.0",
        "parameters": {name: {"value": value} for name, value in found.items()},
    }
