"""What a hub tells of its partitions: where they begin and end, and which event came first after a time."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar

from medtech.errors import MedTechError, Severity, Stage

if TYPE_CHECKING:
    from medtech.checkpoints.connection import HubConnection

RECEIVE_SECONDS = 30.0
"""How long an event that the hub says it holds may take to come."""
_PAUSES_SECONDS = (1.0, 4.0)
"""Before a hub is asked again that was busy, or out of reach for a moment."""
_STOLEN, _NOT_FOUND = "link:stolen", "not-found"
"""AMQP conditions of a link that is refused, as EventHubError.error has them."""
_NO_HUB = "Status code: 404"
"""The answer to a token for a hub that does not exist."""

T = TypeVar("T")


class HubUnavailable(MedTechError):
    """The hub cannot be asked; the message says what to check."""

    stage = Stage.SETUP
    severity = Severity.CRITICAL


class Extent(NamedTuple):
    """The sequence numbers that a partition holds. `last` is below `first` if it holds none; `last_enqueued_time` is
    that of the last event it ever had."""

    first: int
    last: int
    last_enqueued_time: datetime
    is_empty: bool


class Position(NamedTuple):
    """An event in its partition; the time is UTC."""

    sequence_number: int
    enqueued_time: datetime


class EventHub:
    """A hub, asked through one of its consumer groups. Nobody's partition is taken: it reads without an owner level."""

    def __init__(self, connection: HubConnection, consumer_group: str) -> None:
        """Raises HubUnavailable if azure-eventhub is not installed."""
        try:
            import azure.eventhub  # noqa: F401
        except ImportError:
            raise HubUnavailable(
                f"Asking a hub needs azure-eventhub: run `{sys.executable} -m pip install azure-eventhub` or, if uv "
                f"made the environment, `uv pip install --python {sys.executable} azure-eventhub`."
            ) from None
        self._connection = connection
        self._consumer_group = consumer_group
        # It prints what it also raises, with the addresses it called.
        logging.getLogger("azure.eventhub").setLevel(logging.CRITICAL)

    def partitions(self) -> list[str]:
        """The ids of the partitions, in order. Raises HubUnavailable."""
        found = self._ask(lambda client: client.get_partition_ids())
        return sorted(found, key=lambda each: (len(each), each))

    def extent(self, partition: str) -> Extent:
        """Raises HubUnavailable."""
        found = self._ask(lambda client: client.get_partition_properties(partition))
        return Extent(
            found["beginning_sequence_number"],
            found["last_enqueued_sequence_number"],
            found["last_enqueued_time_utc"],
            found["is_empty"],
        )

    def first_from(self, partition: str, start: datetime | int) -> Position:
        """The first event that was enqueued at a time or later, or that has a sequence number or a higher one.

        There has to be one. Raises HubUnavailable.
        """

        def receive(client: Any) -> Any:
            received: list[Any] = []

            def take(_context: Any, event_or_error: Any) -> None:
                received.append(event_or_error)
                client.close()

            client.receive(
                take,
                on_error=take,
                partition_id=partition,
                starting_position=start,
                starting_position_inclusive=True,
                prefetch=1,
                max_wait_time=RECEIVE_SECONDS,
            )
            event = received[0] if received else None
            if isinstance(event, Exception):
                raise event
            return event

        event = self._ask(receive)
        if event is None:
            raise HubUnavailable(
                f"Partition {partition} of hub {self._connection.event_hub} gave no event for {RECEIVE_SECONDS:g} s, "
                "though it holds some. Call this again later."
            )
        return Position(event.sequence_number, event.enqueued_time)

    def _ask(self, ask: Callable[[Any], T]) -> T:
        """What a client of the hub answers; asked again where a fault may pass."""
        from azure.core.exceptions import AzureError
        from azure.eventhub.exceptions import EventHubError

        pauses = iter(_PAUSES_SECONDS)
        while True:
            try:
                with self._client() as client:
                    return ask(client)
            except (AzureError, EventHubError, OSError) as error:
                pause = next(pauses, None)
                if pause is None or not _may_pass(error):
                    self._fail(error)
            time.sleep(pause)

    def _client(self) -> Any:
        from azure.eventhub import EventHubConsumerClient

        of, group = self._connection, self._consumer_group
        options: dict[str, Any] = {
            # With a retry of the package's own, a receiver that is refused waits instead, and says nothing.
            "retry_total": 0,
            # The thread that shares out partitions, which are not shared here, ends at its next turn: by default with
            # what it holds half a minute after the client.
            "load_balancing_interval": 1,
        }
        try:
            if of.connection_string is None:
                return EventHubConsumerClient(of.namespace, of.event_hub, group, of.identity.credential(), **options)
            return EventHubConsumerClient.from_connection_string(
                of.connection_string, group, eventhub_name=of.event_hub, **options
            )
        except ValueError:  # not the error's text: it may quote part of the secret
            raise HubUnavailable("EventHubConnection is not a connection string of Event Hubs.") from None

    def _fail(self, error: Exception) -> NoReturn:
        """Raises HubUnavailable in place of what azure-eventhub says, which can hold addresses."""
        of, condition = self._connection, getattr(error, "error", None)
        if condition == _STOLEN:
            raise HubUnavailable(
                f"The hub lets nobody beside the app read consumer group {self._consumer_group}. Stop the app first."
            ) from None
        if condition == _NOT_FOUND or _NO_HUB in str(error):
            raise HubUnavailable(
                f"Namespace {of.namespace} has no hub {of.event_hub}, or the hub no consumer group "
                f"{self._consumer_group}. Check EVENT_HUB_NAME and EVENT_HUB_CONSUMER_GROUP."
            ) from None
        raise HubUnavailable(
            f"Hub {of.event_hub} of {of.namespace} cannot be asked ({type(error).__name__}). Check "
            "EventHubConnection, that the hub's firewall lets this machine in, and that you may receive from the hub "
            "(role Azure Event Hubs Data Receiver)."
        ) from None


def _may_pass(error: Exception) -> bool:
    """Whether the same question may be answered a moment later: not where it was refused."""
    from azure.core.exceptions import ClientAuthenticationError
    from azure.eventhub.exceptions import AuthenticationError

    if isinstance(error, (AuthenticationError, ClientAuthenticationError)) or _NO_HUB in str(error):
        return False
    return getattr(error, "error", None) not in (_STOLEN, _NOT_FOUND)
