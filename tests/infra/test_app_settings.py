"""The app settings that infra writes are those that the app and the platform read; all of the app's can be set."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

from medtech.declared_settings import FieldInfo
from medtech.entra import AppIdentity
from medtech.settings import Settings
from medtech.storage.connection import Storage
from medtech.storage.further import SETTING
from tests.infra.bicep import Choice, Expression, template

FIELDS = {name.upper(): field for name, field in Settings.model_fields.items()}

OF_TRIGGERS = {
    # function_app.py and medtech/entra.py; docs/settings.md has them.
    "EVENT_HUB_NAME",
    "EVENT_HUB_CONSUMER_GROUP",
    "EventHubConnection",
    "EventHubConnection__fullyQualifiedNamespace",
    "EventHubConnection__credential",
    "EventHubConnection__clientId",
    "FLUSH_SCHEDULE",
    "FLUSH_FANOUT",
    "AZURE_CLIENT_ID",
}
OF_THE_PLATFORM = {
    # https://learn.microsoft.com/azure/azure-functions/functions-reference#connecting-to-host-storage-with-an-identity
    "AzureWebJobsStorage__blobServiceUri",
    "AzureWebJobsStorage__queueServiceUri",
    "AzureWebJobsStorage__tableServiceUri",
    "AzureWebJobsStorage__credential",
    "AzureWebJobsStorage__clientId",
    # https://learn.microsoft.com/azure/azure-functions/functions-app-settings
    "APPLICATIONINSIGHTS_CONNECTION_STRING",
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
    # https://learn.microsoft.com/azure/azure-functions/opentelemetry-howto
    "PYTHON_ENABLE_OPENTELEMETRY",
    # https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/, read by its SDK
    "OTEL_TRACES_SAMPLER",
}
OF_OTHER_PLANS = {
    # https://learn.microsoft.com/azure/azure-functions/functions-app-settings#flex-consumption-plan-considerations
    "ENABLE_ORYX_BUILD",
    "FUNCTIONS_EXTENSION_VERSION",
    "FUNCTIONS_WORKER_RUNTIME",
    "FUNCTIONS_WORKER_RUNTIME_VERSION",
    "SCM_DO_BUILD_DURING_DEPLOYMENT",
    "WEBSITE_CONTENTAZUREFILECONNECTIONSTRING",
    "WEBSITE_CONTENTSHARE",
    "WEBSITE_RUN_FROM_PACKAGE",
    "WEBSITE_VNET_ROUTE_ALL",
}
REFUSED_PROPERTIES = {
    # The plan's deployments fail on these (code 51021), or took them once and no longer do:
    # https://github.com/Azure/terraform-azurerm-avm-res-web-site/pull/345
    *("alwaysOn", "ftpsState", "functionAppScaleLimit", "functionsRuntimeScaleMonitoringEnabled", "linuxFxVersion"),
    *("minimumElasticInstanceCount", "netFrameworkVersion", "numberOfWorkers", "preWarmedInstanceCount"),
    *("use32BitWorkerProcess", "windowsFxVersion"),
}
SECRETS = {name for name, field in FIELDS.items() if "SecretStr" in str(field.annotation)}
SETTABLE = template("settings.bicep").properties_of_type("appSettings")


def written() -> dict[str, Any]:
    """What app.bicep writes by itself, of both ways to open the hub."""
    variables = template("app.bicep").variables
    connection = variables["hubConnection"]
    assert isinstance(connection, Choice)
    return {**variables["ownSettings"], **connection.values[0], **connection.values[1]}


def test_all_of_them_reach_the_app() -> None:
    text = (template("app.bicep").tree.text or b"").decode()
    given = "platformSettings, settings, secretSettings, ownSettings, hubConnection, furtherSettings"
    assert f"items(union({given}))" in text


def test_further_accounts_are_listed_where_the_app_reads_them() -> None:
    further = template("app.bicep").variables["furtherSettings"]
    assert isinstance(further, Choice)
    assert [*further.values[1]] == [SETTING]


@pytest.mark.parametrize("name", sorted(written()))
def test_what_infra_writes_is_read(name: str) -> None:
    assert name in {*FIELDS} | OF_TRIGGERS | OF_THE_PLATFORM


@pytest.mark.parametrize("name", sorted(written()))
def test_what_infra_writes_is_known_to_this_plan(name: str) -> None:
    assert name not in OF_OTHER_PLANS


def test_no_property_is_one_that_this_plan_refuses() -> None:
    site = template("app.bicep").resources["app"].body["properties"]["siteConfig"]
    assert not REFUSED_PROPERTIES & set(site)


@pytest.mark.parametrize("name", sorted(SETTABLE))
def test_what_can_be_set_is_read(name: str) -> None:
    assert name in {*FIELDS} | OF_TRIGGERS


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_every_setting_can_be_set(name: str) -> None:
    if name in SECRETS:
        # `settingSecretUris` takes any name.
        assert name not in SETTABLE, "A secret is a Key Vault reference."
        return
    assert name in {*SETTABLE, *written()}, f"Add {name} to the type in infra/settings.bicep."


@pytest.mark.parametrize("name", sorted({*FIELDS} & {*SETTABLE}))
def test_bounds_and_choices_are_the_apps(name: str) -> None:
    field, settable = FIELDS[name], SETTABLE[name]
    assert settable.type == _type_in_bicep(field)
    assert (settable.minimum, settable.maximum) == (_bound(field, "ge"), _bound(field, "le"))


def _type_in_bicep(field: FieldInfo) -> str:
    if isinstance(field.annotation, type) and issubclass(field.annotation, StrEnum):
        return "(" + " | ".join(f"'{choice}'" for choice in field.annotation) + ")?"
    return {str: "string?", int: "int?", float: "int?", bool: "bool?"}[field.annotation or str]


def _bound(field: FieldInfo, kind: str) -> int | None:
    return next((getattr(each, kind) for each in field.metadata if hasattr(each, kind)), None)


def test_no_unknown_setting_is_taken() -> None:
    assert re.search(r"@sealed\(\)\n(@.*\n)*type appSettings", (template("settings.bicep").tree.text or b"").decode())


def test_what_trigger_declarations_read_can_be_set() -> None:
    source = (Path(__file__).parents[2] / "function_app.py").read_text()
    read = {*re.findall(r"environ\.get\(\"(\w+)\"", source), *re.findall(r"%(\w+)%", source)}
    read |= set(re.findall(r'connection="(\w+)"', source))
    assert read <= {*SETTABLE, *written()}


def test_a_switch_is_understood_as_azure_writes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEP_UNMATCHED", "True")
    assert Settings().keep_unmatched is True


def _environment() -> dict[str, str]:
    """The app's settings as Azure would fill them in."""
    connection = template("app.bicep").variables["hubConnection"].values[1]
    known = {
        "storageAccount.properties.primaryEndpoints.blob": "https://stabc.blob.core.windows.net/",
        "storageAccount.properties.primaryEndpoints.queue": "https://stabc.queue.core.windows.net/",
        "storageAccount.properties.primaryEndpoints.table": "https://stabc.table.core.windows.net/",
        "identity.properties.clientId": "11111111-2222-3333-4444-555555555555",
    }
    settings = {**template("app.bicep").variables["ownSettings"], **connection}
    return {
        name: known.get(each.text, "-") if isinstance(each, Expression) else each for name, each in settings.items()
    }


def test_the_app_opens_its_storage_by_these_settings() -> None:
    storage = Storage(environment=_environment())
    assert storage.table_service().url.rstrip("/") == "https://stabc.table.core.windows.net"
    assert storage.blob_service().url.rstrip("/") == "https://stabc.blob.core.windows.net"
    storage.close()


def test_the_app_is_the_user_assigned_identity_by_these_settings() -> None:
    identity = AppIdentity.of({**_environment(), "IDENTITY_ENDPOINT": "http://localhost"})
    assert identity == AppIdentity("11111111-2222-3333-4444-555555555555", None, managed=True)


def test_the_deployment_package_goes_where_its_container_is() -> None:
    app = template("app.bicep").resources["app"].body
    container = template("storage.bicep").resources["packages"].body["name"]
    assert app["properties"]["functionAppConfig"]["deployment"]["storage"]["value"].text.endswith(f"{container}'")


def test_instances_are_kept_ready_for_functions_that_exist() -> None:
    groups = template("app.bicep").variables["alwaysReady"]
    functions = re.findall(
        r'@app\.function_name\("(\w+)"\)', (Path(__file__).parents[2] / "function_app.py").read_text()
    )
    assert {group["name"] for group in groups} <= {f"function:{name}" for name in functions}
