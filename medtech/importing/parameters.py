"""The parameters of infra/main.bicep for the app that takes the place of the service."""

from __future__ import annotations

from collections.abc import Mapping

from medtech.importing.app_settings import FIRST_WRITE, behaviour, consumer_group, fhir_url
from medtech.importing.old_service import OldService
from medtech.settings import SingleValuePeriod

_SCHEMA = "https://schema.management.azure.com/schemas/2019-04-01/deploymentParameters.json#"

_OF_AZD = {
    "environmentName": "${AZURE_ENV_NAME}",
    "location": "${AZURE_LOCATION}",
    # A service names its hub's namespace by host name; only Azure knows the resource id.
    "eventHubNamespaceId": "${EVENT_HUB_NAMESPACE_ID}",
}


_USUAL_HUB = "devicedata"
"""As in infra/main.parameters.json: what could not be read is still taken from azd's environment."""


def _unless_set(name: str, value: str) -> str:
    """What azd makes the value, unless its environment has another."""
    return f"${{{name}={value}}}"


_SETTINGS_OF_AZD = {
    name: _unless_set(name, value)
    for name, value in {
        "DEVICE_MAPPING": "mappings/deviceMapping.json",
        "FHIR_MAPPING": "mappings/fhirDestinationMapping.json",
        "FHIR_WRITE": FIRST_WRITE,
        "SINGLE_VALUE_PERIOD": SingleValuePeriod.INSTANT,
    }.items()
}
"""Those that `azd env set` changes in infra/main.parameters.json too. This file takes that one's place."""


def main_parameters(old: OldService) -> Mapping[str, object]:
    """A main.parameters.json. azd fills in its `${…}`, with what follows the `=` where its environment has nothing;
    the Azure CLI does not."""
    found: dict[str, object] = dict(_OF_AZD)
    found["eventHubName"] = _unless_set("EVENT_HUB_NAME", old.hub or _USUAL_HUB)
    # With the same for every environment, a second app would take the first one's events.
    found["eventHubConsumerGroup"] = _unless_set("EVENT_HUB_CONSUMER_GROUP", consumer_group(old))
    if old.fhir_service is not None:
        found["fhirServiceId"] = _unless_set("FHIR_SERVICE_ID", old.fhir_service.resource_id)
    else:
        found["fhirServiceId"] = "${FHIR_SERVICE_ID}"
        if old.fhir_url:
            found["fhirServiceUrl"] = fhir_url(old)
    # azd would put something in the place of `${…}`.
    taken_over = {name: value for name, value in behaviour(old).items() if "${" not in value}
    found["settings"] = _SETTINGS_OF_AZD | taken_over
    return {
        "$schema": _SCHEMA,
        "contentVersion": "1.0.0.0",
        "parameters": {name: {"value": value} for name, value in found.items()},
    }
