"""With `privateNetwork` what is created can be reached through private endpoints only."""

import re

import pytest

from tests.infra.bicep import Choice, Resource, template, templates

CLOSED = [
    pytest.param(resource, id=f"{read.name}:{resource.symbol}")
    for read in templates()
    for resource in read.created
    if "publicNetworkAccess" in resource.body.get("properties", {})
]


@pytest.mark.parametrize("resource", CLOSED)
def test_public_access_is_off(resource: Resource) -> None:
    access = resource.body["properties"]["publicNetworkAccess"]
    assert access == Choice("publicAccess", ("Enabled", "Disabled"))


def test_storage_hub_and_fhir_are_closed() -> None:
    assert {each.values[0].type for each in CLOSED} == {
        "Microsoft.Storage/storageAccounts",
        "Microsoft.EventHub/namespaces",
        "Microsoft.EventHub/namespaces/networkRuleSets",
        "Microsoft.HealthcareApis/workspaces",
        "Microsoft.HealthcareApis/workspaces/fhirservices",
    }
    main = template("main.bicep")
    given = {
        symbol: each.parameters["publicAccess"].text
        for symbol, each in main.modules.items()
        if "publicAccess" in each.parameters
    }
    assert given == dict.fromkeys(("storage", "bufferStorage", "hub", "fhir"), "!privateNetwork")


def test_each_has_an_endpoint_and_the_zones_of_its_names() -> None:
    # https://learn.microsoft.com/azure/private-link/private-endpoint-dns
    text = template("main.bicep").modules["privateEndpoints"].parameters["services"].text
    assert "map(['blob', 'table', 'queue']" in text
    assert re.findall(r"group: '(\w+)'", text) == ["table", "namespace", "healthcareworkspace", "vault"]
    assert re.findall(r"'(privatelink\.[^']+)'", text) == [
        "privatelink.${part}.${environment().suffixes.storage}",
        "privatelink.table.${environment().suffixes.storage}",
        "privatelink.servicebus.windows.net",
        "privatelink.workspace.azurehealthcareapis.com",
        "privatelink.fhir.azurehealthcareapis.com",
        "privatelink.vaultcore.azure.net",
    ]


def test_endpoints_are_created_one_after_the_other() -> None:
    assert template("private-endpoints.bicep").resources["endpoints"].decorators == {"batchSize": 1}


def test_the_apps_subnet_is_one_that_flex_consumption_takes() -> None:
    subnets = template("network.bicep").resources["network"].body["properties"]["subnets"]
    app = next(subnet for subnet in subnets if subnet["name"] == "app")
    assert [each["properties"]["serviceName"] for each in app["properties"]["delegations"]] == [
        "Microsoft.App/environments"
    ]
    assert not any("_" in subnet["name"] for subnet in subnets)
