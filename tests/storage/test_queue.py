"""Queues over a real Azurite, and over a wire that breaks."""

import base64
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
from azure.storage.queue import QueueClient

from medtech.errors import StorageUnavailable
from medtech.storage.connection import Storage
from medtech.storage.queue import Queue
from tests.azurite import nobody
from tests.faults import FaultProxy

NAME = "messages"


def test_what_is_put_is_taken_until_it_is_deleted(storage: Storage) -> None:
    queue = storage.queue(NAME)
    assert list(queue.take()) == []
    for number in range(40):
        queue.put(str(number).encode())
    taken = list(queue.take())
    assert sorted(int(message.body) for message in taken) == list(range(40))
    for message in taken:
        queue.delete(message)
        queue.delete(message)
    assert (
        QueueClient.from_connection_string(connection(storage), NAME).get_queue_properties()[
            "approximate_message_count"
        ]
        == 0
    )


def connection(storage: Storage) -> str:
    return str(storage._connection_string)


def test_a_message_is_base64_on_the_wire_as_the_queue_trigger_wants_it(storage: Storage) -> None:
    storage.queue(NAME).put(b'{"a": 1}')
    [message] = QueueClient.from_connection_string(connection(storage), NAME).receive_messages()
    assert base64.b64decode(message.content) == b'{"a": 1}'


def test_a_message_can_be_put_for_later(storage: Storage) -> None:
    queue = storage.queue(NAME)
    queue.put(b"later", after_seconds=3600)
    assert list(queue.take()) == []


def test_what_is_no_base64_is_taken_with_an_empty_body(storage: Storage) -> None:
    storage.queue(NAME).put(b"")
    QueueClient.from_connection_string(connection(storage), NAME).send_message("not base64!")
    assert [message.body for message in storage.queue(NAME).take()] == [b"", b""]


def test_a_service_that_is_away_is_told_apart() -> None:
    away = nobody()
    queue = away.queue(NAME)
    for call in (lambda: queue.put(b""), lambda: list(queue.take()), queue.check):
        with pytest.raises(StorageUnavailable, match="queue `messages`"):
            call()


def test_a_queue_that_is_missing_is_no_fault(storage: Storage) -> None:
    storage.queue(NAME).check()


@pytest.fixture
def queues(storage: Storage, azurite: str) -> Iterator[tuple[Queue, FaultProxy]]:
    """A queue of the account, over a wire that can break."""
    settings = dict(part.split("=", 1) for part in azurite.split(";") if part)
    address = urlsplit(settings["QueueEndpoint"])
    with FaultProxy(f"http://{address.netloc}") as proxy:
        settings["QueueEndpoint"] = f"{proxy.url}{address.path}"
        wired = Storage(environment={"BufferStorage": ";".join("=".join(each) for each in settings.items())})
        yield wired.queue(NAME), proxy
        wired.close()


def test_a_queue_that_is_being_deleted_is_away_until_it_can_be_made_again(queues: tuple[Queue, FaultProxy]) -> None:
    """As "Delete Queue" documents: 409 to who makes it again, 404 to all else, for half a minute."""
    queue, proxy = queues
    proxy.answer(404, headers={"x-ms-error-code": "QueueNotFound"}, when=lambda it: "/messages/" in it.path, times=2)
    proxy.answer(409, headers={"x-ms-error-code": "QueueBeingDeleted"}, when=lambda it: "/messages/" not in it.path)
    with pytest.raises(StorageUnavailable, match="being deleted"):
        queue.put(b"first")
    queue.put(b"second")
    assert [each.body for each in queue.take()] == [b"second"]


@pytest.mark.parametrize("status", [404, 405, 409, 410, 412])
def test_a_refusal_that_is_none_of_a_queues_is_an_outage(queues: tuple[Queue, FaultProxy], status: int) -> None:
    queue, proxy = queues
    queue.put(b"")
    [taken] = queue.take()
    proxy.answer(status, b"<html>Not here</html>", {"Content-Type": "text/html"}, times=None)
    calls: list[Callable[[], object]] = [lambda: queue.put(b"")]
    if status != 404:  # else it is missing, or gone
        calls += [lambda: list(queue.take()), queue.check, lambda: queue.delete(taken)]
    for call in calls:
        with pytest.raises(StorageUnavailable, match="queue `messages`"):
            call()
