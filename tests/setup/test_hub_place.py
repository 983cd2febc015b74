"""Which hub the app reads, from the settings that its trigger is opened by."""

import pytest

from medtech.errors import SettingInvalid
from medtech.setup.hub_place import read_hub_place

ENDPOINT = "Endpoint=sb://ward.servicebus.windows.net/;SharedAccessKeyName=a;SharedAccessKey=b="
HOST = "ward.servicebus.windows.net"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"EventHubConnection": ENDPOINT, "EVENT_HUB_NAME": "h"}, (HOST, "h", "$Default")),
        ({"EventHubConnection": f"{ENDPOINT};EntityPath=e", "EVENT_HUB_NAME": "h"}, (HOST, "e", "$Default")),
        ({"EventHubConnection": "Endpoint=sb://127.0.0.1:5672", "EVENT_HUB_NAME": "h"}, ("127.0.0.1", "h", "$Default")),
        (
            {
                "EventHubConnection__fullyQualifiedNamespace": HOST,
                "event_hub_name": "%HUB%",
                "HUB": "real",
                "EVENT_HUB_CONSUMER_GROUP": "medtech",
            },
            (HOST, "real", "medtech"),
        ),
        (
            {"eventhubconnection__FULLYQUALIFIEDNAMESPACE": f"https://{HOST}:443/", "EVENT_HUB_NAME": "h"},
            (HOST, "h", "$Default"),
        ),
    ],
)
def test_it_is_read_as_the_host_reads_it(settings: dict[str, str], expected: tuple[str, str, str]) -> None:
    assert read_hub_place(settings) == expected


def test_the_namespace_is_the_first_part_of_its_host_name() -> None:
    place = read_hub_place({"EventHubConnection__fullyQualifiedNamespace": HOST, "EVENT_HUB_NAME": "h"})
    assert place.namespace == "ward"


@pytest.mark.parametrize(
    ("settings", "missing"),
    [({"EVENT_HUB_NAME": "h"}, "EventHubConnection"), ({"EventHubConnection": ENDPOINT}, "EVENT_HUB_NAME")],
)
def test_what_is_missing_is_named(settings: dict[str, str], missing: str) -> None:
    with pytest.raises(SettingInvalid, match=f"^{missing} does not say"):
        read_hub_place(settings)
