"""Environments in which the app can run, and what is said of those in which it cannot."""

from collections.abc import Mapping

import pytest

from medtech.setup.check import faults, missing_mappings, misspelt

KEY = "SECRETKEY="
USABLE = {
    "AzureWebJobsStorage": f"DefaultEndpointsProtocol=https;AccountName=acct;AccountKey={KEY}",
    "EventHubConnection__fullyQualifiedNamespace": "ns-1.servicebus.windows.net",
    "EVENT_HUB_NAME": "devicedata",
    "FHIR_SERVICE_URL": "https://w-f.fhir.azurehealthcareapis.com",
    "PATH": "/usr/bin",
    "AZURE_TENANT_ID": "t",
}


def without(*names: str) -> dict[str, str]:
    return {name: value for name, value in USABLE.items() if name not in names}


@pytest.mark.parametrize(
    "further",
    [
        {},
        {"EventHubConnection": f"Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=n;SharedAccessKey={KEY}"},
        {"EventHubConnection__fullyQualifiedNamespace": "localhost"},
        {"BufferStorage__accountName": "acct", "BufferStorage__credential": "managedidentity"},
        {"BufferStorage__tableServiceUri": "https://t.example", "BufferStorage__blobServiceUri": "https://b.example"},
        {"AzureWebJobsStorage": "UseDevelopmentStorage=true"},
        {
            "BufferStorage": "TableEndpoint=https://t.example/;BlobEndpoint=https://b.example/;"
            f"SharedAccessSignature={KEY}"
        },
        {"EVENT_HUB_CONSUMER_GROUP": "$default"},
        {"EVENT_HUB_NAME": "a"},
        {"FLUSH_SCHEDULE": "0 */5 * * * *"},
        *({"FLUSH_FANOUT": text} for text in ("", "timer", "queue", " Queue ")),
        {"FLUSH_FANOUT": "queue", "BufferStorage__accountName": "acct"},
        {"FLUSH_FANOUT": "queue", "AzureWebJobsStorage": "UseDevelopmentStorage=true"},
        {"AZURE_CLIENT_ID": "11111111-2222-3333-4444-55555555555A"},
        {"window_seconds": "60"},
        *(
            {"FLUSH_SCHEDULE": text}
            for text in ("", "*/5 * * * *", "00:00:30", "1.00:00:00", "%OFTEN%", "0 */%MINUTES% * * * *", "0 0 0 1 J *")
        ),
        {"EVENT_HUB_CONSUMER_GROUP": ""},
        {"EVENT_HUB_CONSUMER_GROUP": "%GROUP%"},
        {"EVENT_HUB_NAME": "%HUB%"},
        {
            "EventHubConnection": f"Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=n;SharedAccessKey={KEY};"
            "EntityPath=hub",
            "EVENT_HUB_NAME": "(that of the connection string)",
        },
        {
            "EventHubConnection": "Endpoint=sb://localhost;SharedAccessKeyName=n;SharedAccessKey=k;"
            "UseDevelopmentEmulator=true;"
        },
        {"EventHubConnection": " endpoint = sb://ns.servicebus.windows.net/; sharedaccesssignature = s "},
        {"EventHubConnection": " "},
        *(
            {"EventHubConnection__fullyQualifiedNamespace": text}
            for text in (
                "sb://ns.servicebus.windows.net/",
                "https://ns.servicebus.windows.net:443/",
                "ns.servicebus.chinacloudapi.cn",
                "ns.servicebus.usgovcloudapi.net",
                "ns.privatelink.servicebus.windows.net",
                "hub_1.clinic.internal.",
            )
        ),
        {"AzureWebJobsStorage": f" AccountName=acct;AccountKey={KEY};EndpointSuffix=core.usgovcloudapi.net\n"},
        {"AzureWebJobsStorage": "AccountName=acct;SharedAccessSignature=s"},
        {"BufferStorage__accountName": ""},
        {"BufferStorage": " "},
        {"AZURE_CLIENT_ID": " 11111111-2222-3333-4444-55555555555a\n"},
        {"AZURE_CLIENT_ID": ""},
        {"FHIR_AUDIENCE": "", "FHIR_AUTHENTICATION": "none"},
        {"FHIR_AUDIENCE": " ", "FHIR_AUTHENTICATION": " None "},
        {"FHIR_USERNAME": "", "FHIR_PASSWORD": "", "FHIR_CLIENT_KEY": " ", "FHIR_SCOPE": " "},
        {"FHIR_SERVICE_URL": " https://f.example/r4/ "},
        {"FHIR_SERVICE_URL": "https://10.0.0.4:8443/fhir"},
        *({"KEEP_UNMATCHED": text} for text in ("True", "1", "FALSE", "no")),
    ],
)
def test_an_app_that_can_run(further: dict[str, str]) -> None:
    environment = USABLE | further
    assert (faults(environment), missing_mappings(environment), misspelt(environment)) == ([], [], [])


def test_the_names_of_hub_and_connections_are_read_in_any_case() -> None:
    environment = without("EVENT_HUB_NAME", "EventHubConnection__fullyQualifiedNamespace", "AzureWebJobsStorage") | {
        "event_hub_name": "devicedata",
        "EVENTHUBCONNECTION__FULLYQUALIFIEDNAMESPACE": "ns.servicebus.windows.net",
        "AzureWebJobsStorage__ACCOUNTNAME": "acct",
    }
    assert (faults(environment), misspelt(environment)) == ([], [])


@pytest.mark.parametrize(
    "host",
    [
        {
            "AzureWebJobsStorage__blobServiceUri": "https://b.example",
            "AzureWebJobsStorage__queueServiceUri": "https://q",
        },
        {"azurewebjobsstorage__ACCOUNTNAME": "acct"},
        {"AzureWebJobsStorage": "BlobEndpoint=https://b.example/;SharedAccessSignature=s"},
        {"CUSTOMCONNSTR_AzureWebJobsStorage": "x"},
    ],
)
def test_storage_that_only_the_host_opens_needs_no_tables(host: dict[str, str]) -> None:
    environment = without("AzureWebJobsStorage") | {"BufferStorage__accountName": "acct"} | host
    assert faults(environment) == []


def test_the_hub_may_be_among_the_connection_strings_of_the_app() -> None:
    environment = without("EventHubConnection__fullyQualifiedNamespace") | {"CUSTOMCONNSTR_EventHubConnection": "x"}
    assert faults(environment) == []


@pytest.mark.parametrize(
    ("environment", "name", "told"),
    [
        (without("EventHubConnection__fullyQualifiedNamespace"), "EventHubConnection", "is missing"),
        (USABLE | {"EventHubConnection": "SECRET"}, "EventHubConnection", "not a connection string of Event Hubs"),
        (
            USABLE | {"EventHubConnection": "Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=SECRET"},
            "EventHubConnection",
            "not a connection string of Event Hubs",
        ),
        (
            USABLE | {"EventHubConnection": f"HostName=h.azure-devices.net;SharedAccessKey={KEY}"},
            "EventHubConnection",
            "of an IoT hub",
        ),
        *(
            (
                USABLE | {"EventHubConnection__fullyQualifiedNamespace": text},
                "EventHubConnection__fullyQualifiedNamespace",
                "fullyQualifiedEventHubNamespace",
            )
            for text in ("", "SECRET", "sb://SECRET", "SECRET.servicebus.windows.net:5671", "a.b/SECRET")
        ),
        (without("EVENT_HUB_NAME"), "EVENT_HUB_NAME", "is missing"),
        (USABLE | {"EVENT_HUB_NAME": "SECRET hub"}, "EVENT_HUB_NAME", "letter or digit at both ends"),
        (USABLE | {"EVENT_HUB_NAME": "-SECRET"}, "EVENT_HUB_NAME", "not the name of a hub"),
        (USABLE | {"EVENT_HUB_NAME": "x" * 257}, "EVENT_HUB_NAME", "1 to 256"),
        (USABLE | {"EVENT_HUB_CONSUMER_GROUP": "x" * 51}, "EVENT_HUB_CONSUMER_GROUP", "1 to 50"),
        (without("AzureWebJobsStorage"), "AzureWebJobsStorage", "is missing"),
        (USABLE | {"AzureWebJobsStorage": "SECRET"}, "AzureWebJobsStorage", "not a storage connection string"),
        (USABLE | {"BufferStorage": f"AccountKey={KEY}"}, "BufferStorage", "not a storage connection string"),
        (USABLE | {"BufferStorage__tableServiceUri": "https://t"}, "BufferStorage", "BufferStorage__blobServiceUri"),
        (USABLE | {"FLUSH_FANOUT": "SECRET"}, "FLUSH_FANOUT", "Allowed: timer, queue."),
        (
            USABLE
            | {
                "FLUSH_FANOUT": "queue",
                "BufferStorage__tableServiceUri": "https://t.example",
                "BufferStorage__blobServiceUri": "https://b.example",
            },
            "BufferStorage",
            "BufferStorage__queueServiceUri",
        ),
        (
            USABLE
            | {
                "FLUSH_FANOUT": "queue",
                "BufferStorage": "TableEndpoint=https://t.example/;BlobEndpoint=https://b.example/;"
                "SharedAccessSignature=SECRET",
            },
            "BufferStorage",
            "does not say where the account's queues are",
        ),
        (USABLE | {"AZURE_CLIENT_ID": "SECRET"}, "AZURE_CLIENT_ID", "32 hex digits"),
        (USABLE | {"FLUSH_SCHEDULE": "SECRET"}, "FLUSH_SCHEDULE", "second minute hour day month weekday"),
        (USABLE | {"FLUSH_SCHEDULE": "5 * * *"}, "FLUSH_SCHEDULE", "4 fields, not 6"),
        (
            without("AzureWebJobsStorage") | {"azurewebjobsstorage": "UseDevelopmentStorage=true"},
            "AzureWebJobsStorage",
            "only the host reads",
        ),
        (without("AzureWebJobsStorage") | {"BufferStorage__accountName": "acct"}, "AzureWebJobsStorage", "is missing"),
        (without("FHIR_SERVICE_URL"), "FHIR_SERVICE_URL", "is missing"),
        (USABLE | {"FHIR_SERVICE_URL": " "}, "FHIR_SERVICE_URL", "is missing"),
        (USABLE | {"WINDOW_SECONDS": "SECRET"}, "WINDOW_SECONDS", "from 1 to 86400"),
    ],
)
def test_a_fault_is_named_with_what_is_allowed(environment: Mapping[str, str], name: str, told: str) -> None:
    [fault] = faults(environment)
    assert fault.name == name
    assert fault.message.startswith(name)
    assert told in fault.message
    assert "SECRET" not in fault.message


def test_all_faults_are_told_at_once() -> None:
    environment = {"FLUSH_SCHEDULE": "never", "BUFFER_SHARDS": "0", "AZURE_CLIENT_ID": "me"}
    assert {fault.name for fault in faults(environment)} == {
        "EventHubConnection",
        "EVENT_HUB_NAME",
        "AzureWebJobsStorage",
        "AZURE_CLIENT_ID",
        "FLUSH_SCHEDULE",
        "BUFFER_SHARDS",
        "FHIR_SERVICE_URL",
    }


@pytest.mark.parametrize(
    "name",
    ["FHIR_SERVICE_URL", "EVENT_HUB_NAME", "AzureWebJobsStorage", "BufferStorage__accountName", "WINDOW_SECONDS"],
)
def test_a_reference_that_was_not_resolved_is_the_only_fault_of_its_setting(name: str) -> None:
    [fault] = faults(USABLE | {name: "@Microsoft.KeyVault(SecretUri=https://SECRET.vault.azure.net/secrets/a)"})
    assert fault.message.startswith(f"{name} is a reference to a secret")
    assert "Key Vault Secrets User" in fault.message
    assert "SECRET" not in fault.message


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("WINDOW_SECOND", "WINDOW_SECONDS"),
        ("FHIR_SERVICE_URI", "FHIR_SERVICE_URL"),
        ("FLUSH_SHEDULE", "FLUSH_SCHEDULE"),
        ("EVENTHUB_NAME", "EVENT_HUB_NAME"),
        ("EVENT_HUB_CONNECTION", "EventHubConnection"),
        ("BufferStorage__acountName", "BufferStorage__accountName"),
        ("KEEP_UNMATCH", "KEEP_UNMATCHED"),
    ],
)
def test_a_misspelt_name_gets_a_hint(name: str, nearest: str) -> None:
    [hint] = misspelt(USABLE | {name: "SECRET"})
    assert (hint.name, hint.nearest) == (name, nearest)
    assert hint.message == f"{name} is not a setting. If {nearest} is meant, rename it."


@pytest.mark.parametrize(
    "name",
    [
        "EVENT_HUB_NAMESPACE",
        "EVENT_HUB_CONNECTION_STRING",
        "AZURE_CLIENT_SECRET",
        "AZURE_TENANT_ID",
        "AzureWebJobsSecretStorageType",
        "AzureWebJobsFeatureFlags",
        "WEBSITE_INSTANCE_ID",
        "eventhubconnection__fullyqualifiednamespace",
        "event_hub_name",
        "AzureWebJobsStorage__accountname",
        "Dead_Letter_Days",
    ],
)
def test_other_names_get_none(name: str) -> None:
    assert misspelt({name: "x"}) == []


def test_a_missing_setting_that_stands_under_another_name_says_so() -> None:
    [fault] = faults(without("FHIR_SERVICE_URL") | {"FHIR_SERVICE_URI": "https://f.example"})
    assert fault.message.endswith("Is FHIR_SERVICE_URI meant to be it?")


@pytest.mark.parametrize(("name", "address"), [("DEVICE_MAPPING", "mappings/none.json"), ("FHIR_MAPPING", "mappings")])
def test_a_mapping_file_that_is_not_there_is_named_and_stops_no_function(name: str, address: str) -> None:
    environment = USABLE | {name: address}
    [fault] = missing_mappings(environment)
    assert fault.message == f"{name} names a file that is not there. Allowed: a path in the app, or a blob's URL."
    assert faults(environment) == []


def test_a_blob_is_not_looked_for() -> None:
    assert missing_mappings({"DEVICE_MAPPING": "https://acct.blob.core.windows.net/m/d.json"}) == []
