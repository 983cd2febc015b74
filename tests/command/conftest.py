"""A stand-in for azure-eventhub, which is an optional package."""

import sys
import types

import pytest


class Producer:
    """In place of azure-eventhub's client: keeps what is sent, or refuses it."""

    sent: list[tuple[str, list[bytes]]]
    refuses = False

    @classmethod
    def from_connection_string(cls, text: str, *, eventhub_name: str) -> "Producer":
        if not text.startswith("Endpoint="):
            raise ValueError(text)
        cls.sent = []
        return cls()

    def send_batch(self, batch: list[bytes], *, partition_key: str) -> None:
        if self.refuses:
            raise HubError
        self.sent.append((partition_key, batch))

    def close(self) -> None:
        pass


class HubError(Exception):
    pass


@pytest.fixture
def producer(monkeypatch: pytest.MonkeyPatch) -> type[Producer]:
    package, errors = types.ModuleType("azure.eventhub"), types.ModuleType("azure.eventhub.exceptions")
    vars(package).update(EventHubProducerClient=Producer, EventData=bytes)
    vars(errors).update(EventHubError=HubError)
    monkeypatch.setitem(sys.modules, "azure.eventhub", package)
    monkeypatch.setitem(sys.modules, "azure.eventhub.exceptions", errors)
    monkeypatch.setenv("EVENT_HUB_CONNECTION_STRING", "Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKey=k")
    monkeypatch.setattr(Producer, "refuses", False)
    return Producer
