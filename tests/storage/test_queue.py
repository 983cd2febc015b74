"""Queues over a real Azurite."""

import base64

import pytest
from azure.storage.queue import QueueClient

from medtech.errors import StorageUnavailable
from medtech.storage.connection import Storage
from tests.azurite import nobody

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
