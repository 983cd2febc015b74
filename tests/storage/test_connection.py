"""The settings of a connection: which account they name, and what is said of those that name none."""

import pytest

from medtech.errors import SettingInvalid
from medtech.storage.connection import Storage


@pytest.mark.parametrize(
    ("settings", "table_address"),
    [
        ({"BufferStorage__accountName": "acct"}, "https://acct.table.core.windows.net"),
        (
            {
                "BufferStorage__tableServiceUri": "https://t.example",
                "AzureWebJobsStorage": "UseDevelopmentStorage=true",
            },
            "https://t.example",
        ),
        (
            {"AzureWebJobsStorage__accountName": "acct", "AzureWebJobsStorage__credential": "managedidentity"},
            "https://acct.table.core.windows.net",
        ),
        ({"AzureWebJobsStorage": "UseDevelopmentStorage=true"}, "http://127.0.0.1:10002/devstoreaccount1"),
    ],
)
def test_a_connection_is_named_as_functions_names_it(settings: dict[str, str], table_address: str) -> None:
    with Storage(environment=settings).table_service() as service:
        assert service.url.rstrip("/") == table_address


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "No storage is set"),
        ({"AzureWebJobsStorage": "nonsense"}, "not a storage connection string"),
        ({"BufferStorage__blobServiceUri": "https://b.example"}, "BufferStorage__tableServiceUri"),
    ],
)
def test_an_unusable_connection_says_what_to_set(settings: dict[str, str], told: str) -> None:
    with pytest.raises(SettingInvalid, match=told):
        Storage(environment=settings).table("made").get("p", "a")
