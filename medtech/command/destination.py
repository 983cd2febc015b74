"""Where simulated messages go: the local functions host, or a real Event Hub."""

import os
import sys
import time
from collections.abc import Callable, Iterable
from itertools import islice
from types import TracebackType
from typing import Any, Protocol, Self

from medtech.command.traffic import Message
from medtech.dotnet import ticks
from medtech.entra import AppIdentity
from medtech.errors import MedTechError, Severity, Stage

MESSAGES_AT_ONCE = 100


class SimulationFailed(MedTechError):
    """Traffic cannot be sent; the message says what is missing."""

    stage = Stage.SETUP
    severity = Severity.CRITICAL


class Destination(Protocol):
    """Where messages go."""

    def send(self, messages: Iterable[Message]) -> None:
        """Returns once all are accepted. Raises SimulationFailed."""


class LocalHost:
    """The local functions host (`python -m dev run`) at an address."""

    def __init__(self, address: str) -> None:
        import httpx

        self._address = address
        self._http = httpx.Client(base_url=address, timeout=30)

    def send(self, messages: Iterable[Message]) -> None:
        import httpx

        events = [{"body": message.body.decode(), "partitionKey": message.device_id} for message in messages]
        try:
            answer = self._http.post("/dev/events", json=events)
        except httpx.TransportError as error:
            raise SimulationFailed(
                f"Nothing answers at {self._address} ({type(error).__name__}). Start the local run with `make run` and "
                "pass the address that it prints as --host."
            ) from None
        if answer.status_code != httpx.codes.OK:
            raise SimulationFailed(f"{self._address} refused the events with status {answer.status_code}.")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._http.close()


class EventHub:
    """A real hub, opened by the connection string in EVENT_HUB_CONNECTION_STRING or as the signed-in identity."""

    def __init__(self, name: str, fully_qualified_namespace: str | None) -> None:
        try:
            from azure.eventhub import EventHubProducerClient
        except ImportError:
            raise SimulationFailed(
                f"Sending to a hub needs azure-eventhub: run `{sys.executable} -m pip install azure-eventhub` or, if "
                f"uv made the environment, `uv pip install --python {sys.executable} azure-eventhub`."
            ) from None
        connection_string = os.environ.get("EVENT_HUB_CONNECTION_STRING")
        self._producer: Any
        if fully_qualified_namespace is not None:
            credential = AppIdentity.of().credential()
            self._producer = EventHubProducerClient(fully_qualified_namespace, name, credential)
        elif connection_string:
            try:
                self._producer = EventHubProducerClient.from_connection_string(connection_string, eventhub_name=name)
            except ValueError:  # not the error's text: it may quote part of the secret
                raise SimulationFailed("EVENT_HUB_CONNECTION_STRING is not an Event Hubs connection string.") from None
        else:
            raise SimulationFailed(
                "The hub's namespace is not given: pass --fully-qualified-namespace NAME.servicebus.windows.net, or "
                "set EVENT_HUB_CONNECTION_STRING."
            )

    def send(self, messages: Iterable[Message]) -> None:
        from azure.core.exceptions import AzureError
        from azure.eventhub import EventData
        from azure.eventhub.exceptions import EventHubError

        by_device: dict[str, list[Message]] = {}
        for message in messages:
            by_device.setdefault(message.device_id, []).append(message)
        try:
            for device, sent in by_device.items():
                # With the device as partition key its messages stay in one partition, in order.
                self._producer.send_batch([EventData(message.body) for message in sent], partition_key=device)
        except (AzureError, EventHubError) as error:
            raise SimulationFailed(
                f"The hub did not take the events ({type(error).__name__}): check the names of the namespace and the "
                "hub, and that you may send to it (role Azure Event Hubs Data Sender)."
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._producer.close()


def send_at_once(messages: Iterable[Message], destination: Destination, sent: Callable[[list[Message]], None]) -> None:
    """Sends without waiting for the messages' times; `sent` is called after each batch."""
    waiting = iter(messages)
    while batch := list(islice(waiting, MESSAGES_AT_ONCE)):
        destination.send(batch)
        sent(batch)


def send_in_time(messages: Iterable[Message], destination: Destination, sent: Callable[[list[Message]], None]) -> None:
    """Sends each message when its time has come; `sent` is called after each one."""
    for message in messages:
        time.sleep(max(0.0, (message.time - ticks.now()) / ticks.TICKS_PER_SECOND))
        destination.send([message])
        sent([message])
