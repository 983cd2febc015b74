"""Queues: messages of text, at least once each, in no order that can be relied on."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, NamedTuple

from medtech.storage.faults import Fault, reaching

if TYPE_CHECKING:
    from azure.storage.queue import QueueClient, QueueServiceClient

TAKEN_AT_ONCE = 32
"""Queue storage gives no more in one answer."""

_HIDDEN_SECONDS = 60
"""How long a message that was taken is hidden from others; by then it is deleted, or it comes again."""


class Taken(NamedTuple):
    """A message that is hidden until it is deleted. `body` is empty if it is no base64, and so nobody's of the app."""

    id: str
    pop_receipt: str
    body: bytes


class Queue:
    """One queue, created by the first message. Messages are base64 on the wire, as Functions' queue trigger reads them.

    Whatever asks the service raises StorageUnavailable when the service is away.
    """

    def __init__(self, name: str, service: Callable[[], QueueServiceClient]) -> None:
        self._name = name
        self._service = service

    def put(self, body: bytes, *, after_seconds: int = 0) -> None:
        """Puts a message, which nobody sees before so many seconds have passed."""
        from azure.core.exceptions import ResourceNotFoundError

        text = base64.b64encode(body).decode("ascii")
        with self._reaching():
            client = self._open()
            try:
                client.send_message(text, visibility_timeout=after_seconds)
            except ResourceNotFoundError:
                self._create(client)
                client.send_message(text, visibility_timeout=after_seconds)

    def take(self) -> Iterator[Taken]:
        """The messages that can be seen, until there is none; who has dealt with one deletes it."""
        from azure.core.exceptions import ResourceNotFoundError

        with self._reaching():
            try:
                yield from map(
                    _taken,
                    self._open().receive_messages(messages_per_page=TAKEN_AT_ONCE, visibility_timeout=_HIDDEN_SECONDS),
                )
            except ResourceNotFoundError:  # no message was ever put
                return

    def delete(self, message: Taken) -> None:
        """Deletes a message; one that is gone, or was taken by another since, is left to that one."""
        from azure.core.exceptions import HttpResponseError

        with self._reaching():
            try:
                self._open().delete_message(message.id, message.pop_receipt)
            except HttpResponseError as error:
                if error.status_code not in (400, 404):  # 400: PopReceiptMismatch
                    raise

    def check(self) -> None:
        """Asks the service for the queue, which may be missing."""
        from azure.core.exceptions import ResourceNotFoundError

        with self._reaching():
            try:
                self._open().get_queue_properties()
            except ResourceNotFoundError:
                return

    def _open(self) -> QueueClient:
        return self._service().get_queue_client(self._name)

    def _create(self, client: QueueClient) -> None:
        from azure.core.exceptions import ResourceExistsError

        try:
            client.create_queue()
        except ResourceExistsError as error:
            if Fault.of(error).being_deleted:
                raise
            # Else another instance was first.

    def _reaching(self) -> AbstractContextManager[None]:
        return reaching(f"queue `{self._name}`", judged_inside=True)


def _taken(message: object) -> Taken:
    try:
        body = base64.b64decode(str(message.content), validate=True)  # type: ignore[attr-defined]
    except (binascii.Error, ValueError):
        body = b""
    return Taken(message.id, message.pop_receipt, body)  # type: ignore[attr-defined]
