"""Which hub the app reads, by its settings."""

import pytest

from medtech.checkpoints.connection import HubConnection
from medtech.errors import SettingInvalid

ENTRA = {"EventHubConnection__fullyQualifiedNamespace": "Ward.servicebus.windows.net", "EVENT_HUB_NAME": "devicedata"}
KEYED = "Endpoint=sb://ward.servicebus.windows.net/;SharedAccessKeyName=a;SharedAccessKey=b="


def test_a_namespace_is_opened_by_the_identity_that_the_connection_names() -> None:
    connection = HubConnection.of(ENTRA | {"EventHubConnection__clientId": "c1"})
    assert (connection.namespace, connection.event_hub) == ("Ward.servicebus.windows.net", "devicedata")
    assert (connection.consumer_group, connection.connection_string) == ("$Default", None)
    assert (connection.identity.client_id, connection.identity.managed) == ("c1", False)


@pytest.mark.parametrize("endpoint", ["sb://ns.example.org/", "sb://ns.example.org:5672", "SB://ns.example.org"])
def test_the_namespace_of_a_connection_string_has_no_port(endpoint: str) -> None:
    text = f"SharedAccessKeyName=a; Endpoint={endpoint} ;SharedAccessKey=b="
    connection = HubConnection.of({"EventHubConnection": text, "EVENT_HUB_NAME": "h", "EVENT_HUB_CONSUMER_GROUP": "g"})
    assert (connection.namespace, connection.event_hub, connection.consumer_group) == ("ns.example.org", "h", "g")
    assert connection.connection_string == text


def test_names_of_settings_are_in_any_case() -> None:
    given = {"EVENTHUBCONNECTION__FULLYQUALIFIEDNAMESPACE": "ns", "event_hub_name": "h"}
    assert HubConnection.of(given).namespace == "ns"


def test_the_hub_of_the_connection_string_counts() -> None:
    given = {"EventHubConnection": f"{KEYED};EntityPath=other", "EVENT_HUB_NAME": "devicedata"}
    assert HubConnection.of(given).event_hub == "other"


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({}, "EventHubConnection"),
        ({"EVENT_HUB_NAME": "h"}, "EventHubConnection"),
        ({"EVENT_HUB_NAME": "h", "EventHubConnection": " "}, "EventHubConnection"),
        ({"EVENT_HUB_NAME": "h", "EventHubConnection": "secret"}, "EventHubConnection"),
        ({"EVENT_HUB_NAME": "h", "EventHubConnection": "Endpoint=secret"}, "EventHubConnection"),
        ({"EventHubConnection": KEYED}, "EVENT_HUB_NAME"),
    ],
)
def test_what_is_missing_is_named(given: dict[str, str], name: str) -> None:
    with pytest.raises(SettingInvalid, match=name) as invalid:
        HubConnection.of(given)
    assert "secret" not in invalid.value.message
