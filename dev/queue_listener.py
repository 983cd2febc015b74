"""Queue trigger: messages of a storage queue, each to one invocation.

The rules of the Storage queues extension (5.x: QueueListener, QueueProcessor) that the product's fan-out rests on:

- a batch of `batchSize` messages is asked for when no more than `newBatchThreshold` are under way
- a message that is worked on is hidden for 10 minutes, which is renewed at half of them for as long as it takes
- it is deleted when the function succeeds; when it fails, it is visible again after `visibilityTimeout`
- one that fails for the `maxDequeueCount`-th time, or is given out once more than that, goes to the queue
  `NAME-poison`, which is created for it; so does what is not base64, unless `messageEncoding` is `none`
- an empty queue, one that is missing, and a service that is away are looked at ever more rarely, up to
  `maxPollingInterval`
- a host that stops takes no further messages and lets those under way end; what a host that dies had taken is visible
  again when its time is over, and counts as given out
"""

import asyncio
import base64
import binascii
import json
import logging
import random
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from math import inf
from typing import Any, NamedTuple

from azure.core.exceptions import AzureError, HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.queue import QueueClient

from dev.functions import Function
from dev.host_config import SHORTEST_POLLING_SECONDS, QueueOptions
from dev.rpc import messages
from dev.worker_process import InvocationResult

log = logging.getLogger("Host.Queues")

HIDDEN_SECONDS = 600
POISON_SUFFIX = "-poison"
_JITTER = 0.2
_TAKEN_OVER = (400, 404)
"""PopReceiptMismatch, MessageNotFound: it was given out again, and belongs to whom it was given to."""

Invoke = Callable[[Any, dict[str, Any]], Coroutine[Any, Any, InvocationResult]]
"""Runs the function once. Arguments: value, trigger metadata."""


class Queues(NamedTuple):
    """The queue of a trigger and the one for its poison messages; both may be missing."""

    queue: QueueClient
    poison: QueueClient


class QueueListener:
    """Delivers the messages of one queue to one function until it is stopped."""

    def __init__(
        self,
        function: Function,
        queues: Queues,
        options: QueueOptions,
        invoke: Invoke,
        longest_wait_seconds: float = inf,
        *,
        hidden_seconds: float = HIDDEN_SECONDS,
    ) -> None:
        self._function = function
        self._queue, self._poison = queues
        self._options = options
        self._invoke = invoke
        self._longest_pause_seconds = min(options.max_polling_seconds, longest_wait_seconds)
        self._hidden_seconds = hidden_seconds
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Delivers until `stop`; messages under way are finished first."""
        pause_seconds = SHORTEST_POLLING_SECONDS
        under_way: set[asyncio.Task[None]] = set()
        while not self._stopping.is_set():
            batch = await self._receive()
            if not batch:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), pause_seconds)
                longer = 2 * pause_seconds * random.uniform(1 - _JITTER, 1 + _JITTER)
                pause_seconds = min(longer, self._longest_pause_seconds)
                continue
            pause_seconds = SHORTEST_POLLING_SECONDS
            under_way |= {asyncio.create_task(self._deliver(message)) for message in batch}
            while len(under_way) > self._options.new_batch_threshold and not self._stopping.is_set():
                stop = asyncio.create_task(self._stopping.wait())
                done, _ = await asyncio.wait({stop, *under_way}, return_when=asyncio.FIRST_COMPLETED)
                stop.cancel()
                under_way -= done
        if under_way:
            await asyncio.wait(under_way)

    def stop(self) -> None:
        self._stopping.set()

    async def _receive(self) -> list[Any]:
        def receive() -> list[Any]:
            most = self._options.batch_size
            hidden = int(self._hidden_seconds)
            return list(self._queue.receive_messages(max_messages=most, visibility_timeout=hidden))

        try:
            return await asyncio.to_thread(receive)
        except ResourceNotFoundError:
            return []
        except AzureError as error:
            log.warning("Queue %s cannot be read (%s).", self._queue.queue_name, type(error).__name__)
            return []

    async def _deliver(self, message: Any) -> None:
        try:
            body = self._body(message)
            if body is None or message.dequeue_count > self._options.max_dequeue_count:
                await self._give_up(message)
                return
            renewing = asyncio.create_task(self._renew(message))
            try:
                value = messages.TypedData(string=body)
                result = await self._invoke(value, _metadata(message, body))
            finally:
                renewing.cancel()
                with suppress(asyncio.CancelledError):
                    await renewing
            if result.failure is None:
                await self._delete(message)
            elif message.dequeue_count >= self._options.max_dequeue_count:
                await self._give_up(message)
            else:
                await self._hide(message, self._options.visibility_seconds)
        except AzureError as error:
            # It is visible again when its time is over.
            name = type(error).__name__  # not its text: that may hold an address with a signature
            log.error("Queue %s: what became of a message is not noted (%s).", self._queue.queue_name, name)

    def _body(self, message: Any) -> str | None:
        """The text; None if it cannot be decoded."""
        if not self._options.base64:
            return str(message.content)
        try:
            return base64.b64decode(message.content, validate=True).decode()
        except (binascii.Error, ValueError):
            return None

    async def _renew(self, message: Any) -> None:
        while True:
            await asyncio.sleep(self._hidden_seconds / 2)
            try:
                await self._hide(message, self._hidden_seconds)
            except AzureError as error:
                name = type(error).__name__
                log.warning("Queue %s: a message cannot be hidden any longer (%s).", self._queue.queue_name, name)

    async def _hide(self, message: Any, seconds: float) -> None:
        def update() -> None:
            with _unless_taken_over():
                renewed = self._queue.update_message(message.id, message.pop_receipt, visibility_timeout=int(seconds))
                message.pop_receipt = renewed.pop_receipt

        await asyncio.to_thread(update)

    async def _delete(self, message: Any) -> None:
        def delete() -> None:
            with _unless_taken_over():
                self._queue.delete_message(message.id, message.pop_receipt)

        await asyncio.to_thread(delete)

    async def _give_up(self, message: Any) -> None:
        log.warning(
            "A message of queue %s has been given out %d times, or cannot be decoded, and goes to %s.",
            self._queue.queue_name,
            message.dequeue_count,
            self._poison.queue_name,
        )

        def copy() -> None:
            try:
                self._poison.send_message(message.content)
            except ResourceNotFoundError:
                with suppress(ResourceExistsError):
                    self._poison.create_queue()
                self._poison.send_message(message.content)

        await asyncio.to_thread(copy)
        await self._delete(message)


@contextmanager
def _unless_taken_over() -> Iterator[None]:
    """Passes over that a message is no longer this listener's."""
    try:
        yield
    except HttpResponseError as error:
        if error.status_code not in _TAKEN_OVER:
            raise


def _metadata(message: Any, body: str) -> dict[str, Any]:
    """What the extension says of a message. Texts are texts, all else is JSON, as the host sends it."""
    times = {
        "ExpirationTime": message.expires_on,
        "InsertionTime": message.inserted_on,
        "NextVisibleTime": message.next_visible_on,
    }
    return {
        "QueueTrigger": messages.TypedData(string=body),
        "DequeueCount": messages.TypedData(json=json.dumps(message.dequeue_count)),
        "Id": messages.TypedData(string=message.id),
        "PopReceipt": messages.TypedData(string=message.pop_receipt),
        **{name: messages.TypedData(json=json.dumps(_time(time))) for name, time in times.items()},
    }


def _time(time: datetime) -> str:
    return time.astimezone(UTC).isoformat()
