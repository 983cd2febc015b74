"""Nothing is opened by a key, no secret is asked for, none is given out."""

import json
import re
from typing import Any

import pytest

from tests.infra.bicep import FILES, INFRA, Choice, template, templates

KEYLESS = {
    "Microsoft.Storage/storageAccounts": ("allowSharedKeyAccess", False),
    "Microsoft.EventHub/namespaces": ("disableLocalAuth", True),
    "Microsoft.Devices/IotHubs": ("disableLocalAuth", True),
    "Microsoft.Insights/components": ("DisableLocalAuth", True),
    "Microsoft.OperationalInsights/workspaces": ("features.disableLocalAuth", True),
    "Microsoft.Web/sites/basicPublishingCredentialsPolicies": ("allow", False),
}
"""Every type that knows keys or passwords, and what turns them off."""

WITHOUT_KEYS = {
    "Microsoft.Authorization/roleAssignments",
    "Microsoft.EventHub/namespaces/eventhubs",
    "Microsoft.EventHub/namespaces/eventhubs/consumergroups",
    "Microsoft.EventHub/namespaces/networkRuleSets",
    "Microsoft.HealthcareApis/workspaces",
    "Microsoft.HealthcareApis/workspaces/fhirservices",
    "Microsoft.Insights/actionGroups",
    "Microsoft.Insights/metricAlerts",
    "Microsoft.Insights/scheduledQueryRules",
    "Microsoft.Insights/workbooks",
    "Microsoft.ManagedIdentity/userAssignedIdentities",
    "Microsoft.Network/privateDnsZones",
    "Microsoft.Network/privateDnsZones/virtualNetworkLinks",
    "Microsoft.Network/privateEndpoints",
    "Microsoft.Network/privateEndpoints/privateDnsZoneGroups",
    "Microsoft.Network/virtualNetworks",
    "Microsoft.Storage/storageAccounts/blobServices",
    "Microsoft.Storage/storageAccounts/blobServices/containers",
    "Microsoft.Storage/storageAccounts/tableServices",
    "Microsoft.Web/serverfarms",
    "Microsoft.Web/sites",
}

CREATED = [
    pytest.param(resource, id=f"{read.name}:{resource.symbol}") for read in templates() for resource in read.created
]


def _at(body: dict[str, Any], path: str) -> Any:
    found: Any = body["properties"]
    for part in path.split("."):
        found = found[part]
    return found


@pytest.mark.parametrize("resource", CREATED)
def test_keys_are_off(resource: Any) -> None:
    if resource.type not in KEYLESS:
        assert resource.type in WITHOUT_KEYS, "Say here whether this type knows keys."
        return
    path, off = KEYLESS[resource.type]
    assert _at(resource.body, path) is off


def test_both_ways_of_deployment_by_password_are_closed() -> None:
    policies = [each for each in template("app.bicep").created if each.type.endswith("CredentialsPolicies")]
    assert {each.body["name"] for each in policies} == {"ftp", "scm"}


@pytest.mark.parametrize("name", FILES)
def test_no_key_is_asked_of_a_resource(name: str) -> None:
    text = (template(name).tree.text or b"").decode()
    assert re.findall(r"\blist\w*\(|getSecret\(|SharedAccessKey|AccountKey", text) == []


@pytest.mark.parametrize("name", FILES)
def test_no_parameter_is_a_secret(name: str) -> None:
    for parameter in template(name).parameters.values():
        assert "secure" not in parameter.decorators
        assert not re.search(r"(?i)password|secret(?!Uri)|accessKey|connectionString", parameter.name)


@pytest.mark.parametrize("name", FILES)
def test_no_output_is_a_secret(name: str) -> None:
    for output, (_, expression) in template(name).outputs.items():
        assert not re.search(r"(?i)key|secret|password|connectionString|token", f"{output} {expression}")


def test_the_hubs_connection_string_stays_in_the_key_vault() -> None:
    connection = template("app.bicep").variables["hubConnection"]
    assert isinstance(connection, Choice)
    by_secret = next(each for each in connection.values if "EventHubConnection" in each)
    assert by_secret["EventHubConnection"].text == "'@Microsoft.KeyVault(SecretUri=${eventHubConnectionSecretUri})'"


def test_settings_that_are_secrets_stay_in_the_key_vault() -> None:
    secrets = template("app.bicep").variables["secretSettings"]
    assert secrets.text == "mapValues(settingSecretUris, uri => '@Microsoft.KeyVault(SecretUri=${uri})')"


@pytest.mark.parametrize("name", sorted(template("settings.bicep").properties_of_type("appSettings")))
def test_a_secret_is_no_plain_setting(name: str) -> None:
    assert not re.search(r"PASSWORD|SECRET|KEY|TOKEN(?!_URL)", name), "It belongs into settingSecretUris."


def test_the_role_covers_the_secrets_that_settings_refer_to() -> None:
    given = template("main.bicep").modules["keyVaultRoles"].parameters["keyVaultSecretUris"].text
    assert "map(items(settingSecretUris), setting => setting.value)" in given
    assert "[eventHubConnectionSecretUri]" in given
    # The fifth part of https://NAME.vault.azure.net/secrets/SECRET/VERSION; a name twice would be one assignment twice.
    names = template("roles.bicep").variables["secretNames"].text
    assert names == "union([], map(keyVaultSecretUris, uri => split(uri, '/')[4]))"


def test_key_vault_references_are_read_by_the_apps_identity() -> None:
    assert template("app.bicep").resources["app"].body["properties"]["keyVaultReferenceIdentity"].text == "identity.id"


def test_the_iot_hub_routes_by_identity() -> None:
    endpoint = template("iot-hub.bicep").resources["iotHub"].body["properties"]["routing"]["endpoints"]["eventHubs"][0]
    assert endpoint["authenticationType"] == "identityBased"
    assert "connectionString" not in endpoint


def test_nothing_has_to_be_given_but_name_and_region() -> None:
    required = {each.name for each in template("main.bicep").parameters.values() if each.default is None}
    assert required == {"environmentName"}


def test_the_parameter_file_names_parameters_that_exist() -> None:
    given = json.loads((INFRA / "main.parameters.json").read_text())["parameters"]
    assert set(given) <= set(template("main.bicep").parameters)
    settable = template("settings.bicep").properties_of_type("appSettings")
    assert set(given["settings"]["value"]) <= set(settable)
