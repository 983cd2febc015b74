"""How further accounts of the buffer are named, and what is said of a list that names none."""

import pytest

from medtech.errors import SettingInvalid
from medtech.storage.connection import Storage
from medtech.storage.further import SETTING

_KEY = "c2VjcmV0LWFjY291bnQta2V5LW9mLW91cnM="
_ONE = {"BufferStorage__accountName": "one", "BufferStorage__clientId": "11111111-2222-3333-4444-555555555555"}
_STRING = f"DefaultEndpointsProtocol=https;AccountName=four;AccountKey={_KEY};EndpointSuffix=core.windows.net"


def _further(text: str) -> list[tuple[str, bool]]:
    return [(each.place, each.retired) for each in Storage(environment={**_ONE, SETTING: text}).further()]


def test_accounts_are_named_by_name_address_and_connection_string() -> None:
    assert _further(f"two, https://THREE.table.core.windows.net/ ,\n{_STRING}") == [
        ("two.table.core.windows.net", False),
        ("three.table.core.windows.net", False),
        ("four.table.core.windows.net", False),
    ]


def test_an_account_after_a_minus_is_only_emptied() -> None:
    assert _further(f"two,-three,-{_STRING}") == [
        ("two.table.core.windows.net", False),
        ("three.table.core.windows.net", True),
        ("four.table.core.windows.net", True),
    ]


@pytest.mark.parametrize("text", ["", "  "])
def test_without_a_list_there_is_one_account(text: str) -> None:
    assert _further(text) == []


def test_a_further_account_is_opened_where_it_is_and_by_the_apps_identity() -> None:
    [two, four] = Storage(environment={**_ONE, SETTING: f"two,{_STRING}"}).further()
    with two.storage.table_service() as service:
        assert service.url.rstrip("/") == "https://two.table.core.windows.net"
    assert two.storage.identity.client_id == _ONE["BufferStorage__clientId"]
    with four.storage.table_service() as service:
        assert service.url.rstrip("/") == "https://four.table.core.windows.net"


def test_the_list_stands_beside_the_hosts_storage_too() -> None:
    storage = Storage(environment={"AzureWebJobsStorage__accountName": "one", SETTING: "two"})
    storage.check()
    assert storage.name == "AzureWebJobsStorage"
    assert [each.place for each in storage.further()] == ["two.table.core.windows.net"]


def test_the_list_is_found_in_any_case_as_other_parts_are() -> None:
    [two] = Storage(environment={**_ONE, "BufferStorage__FURTHERACCOUNTS": "two"}).further()
    assert two.place == "two.table.core.windows.net"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("two,,three", "entry 2 is neither the name"),
        ("Two", "entry 1 is neither the name"),
        ("http://two.table.core.windows.net", "entry 1 is neither the name"),
        ("https://two.table.core.windows.net?sig=secret", "entry 1 is neither the name"),
        ("AccountName=two", "entry 1 is neither the name"),
        (f"AccountKey={_KEY}", "entry 1 is neither the name"),
        ("two,three,two", "entry 3 is an account that an entry before it names"),
        ("two,-https://two.table.core.windows.net", "entry 2 is an account that an entry before it names"),
        ("two,one", "entry 2 is the first account"),
    ],
)
def test_a_list_that_names_something_else_is_told_without_its_text(text: str, told: str) -> None:
    with pytest.raises(SettingInvalid, match=told) as raised:
        Storage(environment={**_ONE, SETTING: text}).check()
    assert SETTING in raised.value.message
    assert "secret" not in raised.value.message and _KEY not in raised.value.message
