"""Resources of the MedTech service in the shape of API 2022-06-01 and 2023-11-01, as az prints them."""

import json
from pathlib import Path
from typing import Any

SUBSCRIPTION = "11111111-2222-3333-4444-555566667777"
GROUP = "hospital-rg"
WORKSPACE_ID = (
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.HealthcareApis/workspaces/ward7"
)
SERVICE_ID = f"{WORKSPACE_ID}/iotconnectors/monitors"
FHIR_SERVICE_ID = f"{WORKSPACE_ID}/fhirservices/records"
SERVICE_TYPE = "Microsoft.HealthcareApis/workspaces/iotconnectors"
DESTINATION_TYPE = f"{SERVICE_TYPE}/fhirdestinations"

DEVICE_MAPPING: dict[str, Any] = {
    "templateType": "CollectionContent",
    "template": [
        {
            "templateType": "JsonPathContent",
            "template": {
                "typeName": "heartrate",
                "typeMatchExpression": "$..[?(@heartRate)]",
                "deviceIdExpression": "$.deviceId",
                "timestampExpression": "$.endDate",
                "values": [{"required": "true", "valueExpression": "$.heartRate", "valueName": "hr"}],
            },
        }
    ],
}
FHIR_MAPPING: dict[str, Any] = {
    "templateType": "CollectionFhirTemplate",
    "template": [
        {
            "templateType": "CodeValueFhir",
            "template": {
                "typeName": "heartrate",
                "periodInterval": 60,
                "codes": [{"code": "8867-4", "system": "http://loinc.org", "display": "Heart rate"}],
                "value": {"valueType": "SampledData", "valueName": "hr", "defaultPeriod": 5000, "unit": "/min"},
            },
        }
    ],
}


def service(**properties: Any) -> dict[str, Any]:
    """What `az resource show` prints of the service; `properties` replace or add some."""
    return {
        "etag": "00000000-0000-0000-0000-000000000000",
        "extendedLocation": None,
        "id": SERVICE_ID,
        "identity": {
            "principalId": "03fe6ae0-952c-4e4b-954b-cc0364dd252e",
            "tenantId": "72f988bf-86f1-41af-91ab-2d7cd011db47",
            "type": "SystemAssigned",
            "userAssignedIdentities": None,
        },
        "kind": None,
        "location": "westeurope",
        "name": "ward7/monitors",
        "properties": {
            "deviceMapping": {"content": DEVICE_MAPPING},
            "ingestionEndpointConfiguration": endpoint(),
            "provisioningState": "Succeeded",
        }
        | properties,
        "resourceGroup": GROUP,
        "systemData": {"createdByType": "Application"},
        "tags": {},
        "type": SERVICE_TYPE,
    }


def endpoint(**changed: Any) -> dict[str, Any]:
    return {
        "consumerGroup": "$Default",
        "eventHubName": "telemetry",
        "fullyQualifiedEventHubNamespace": "ward7-hub.servicebus.windows.net",
    } | changed


def destination(**properties: Any) -> dict[str, Any]:
    return {
        "id": f"{SERVICE_ID}/fhirdestinations/records",
        "location": "westeurope",
        "name": "ward7/monitors/records",
        "properties": {
            "fhirMapping": {"content": FHIR_MAPPING},
            "fhirServiceResourceId": FHIR_SERVICE_ID,
            "provisioningState": "Succeeded",
            "resourceIdentityResolutionType": "Create",
        }
        | properties,
        "resourceGroup": GROUP,
        "type": DESTINATION_TYPE,
    }


def flattened(resource: dict[str, Any]) -> dict[str, Any]:
    """As `az healthcareapis workspace iot-connector show` prints it: without `properties` around its properties."""
    return {name: value for name, value in resource.items() if name != "properties"} | resource["properties"]


def template(*resources: Any, **sections: Any) -> dict[str, Any]:
    return {
        "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
        "contentVersion": "1.0.0.0",
        **sections,
        "resources": list(resources),
    }


def parameters(**values: Any) -> dict[str, Any]:
    return {
        "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentParameters.json#",
        "contentVersion": "1.0.0.0",
        "parameters": {name: {"value": value} for name, value in values.items()},
    }


def written(folder: Path, name: str, content: Any) -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content, indent=2), encoding="utf-8")
    return path
