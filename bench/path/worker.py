"""Microsoft's worker runtime in this process, without the stream to a host: what it does with an invocation request.

`dev.worker` has the stream. A request is a protobuf message as the stream gives it, with the batch as the Event Hubs
trigger of the real host writes it (compare `dev.event_listener`).
"""

import asyncio
import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import azure_functions_runtime as runtime

from dev.rpc import messages

PARTITION = "3"
_SUCCESS = 1


class InvocationFailed(Exception):
    """The function raised; the text is what the worker says of it."""


class Worker:
    """The app of a folder, indexed and loaded. Its settings are environment variables, set before."""

    def __init__(self, app_folder: Path) -> None:
        self._folder = str(app_folder)
        self._loop = asyncio.new_event_loop()
        self._function_ids: dict[str, str] = {}

    def start(self) -> None:
        # What is logged goes to the host in protobuf messages; here it is made up to that point, and dropped.
        logging.basicConfig(level=logging.INFO, handlers=[logging.NullHandler()], force=True)
        os.chdir(self._folder)
        runtime.start_threadpool_executor()
        init = messages.WorkerInitRequest(
            host_version="4.1040.0",
            function_app_directory=self._folder,
            capabilities={"TypedDataCollection": "true", "RpcHttpBodyOnly": "true"},
        )
        self._check(self._ask(runtime.worker_init_request, worker_init_request=init))
        wanted = messages.FunctionsMetadataRequest(function_app_directory=self._folder)
        found = self._ask(runtime.functions_metadata_request, functions_metadata_request=wanted)
        self._check(found)
        self._function_ids = {each.name: each.function_id for each in found.function_metadata_results}

    def request(self, name: str, parameter: str, value: Any, metadata: Mapping[str, Any]) -> bytes:
        """The request to run a function, as it comes over the wire."""
        content = messages.InvocationRequest(
            invocation_id="bench",
            function_id=self._function_ids[name],
            input_data=[messages.ParameterBinding(name=parameter, data=value)],
            trigger_metadata=metadata,
            trace_context=messages.RpcTraceContext(trace_parent=f"00-{'1' * 32}-{'2' * 16}-01"),
        )
        serialized: bytes = messages.StreamingMessage(
            request_id="bench", invocation_request=content
        ).SerializeToString()
        return serialized

    def invoke(self, message: Any) -> None:
        """Runs the function of a StreamingMessage to its end. Raises InvocationFailed."""
        self._check(self._loop.run_until_complete(runtime.invocation_request(_request(message))))

    def _ask(self, handler: Any, **content: Any) -> Any:
        return self._loop.run_until_complete(
            handler(_request(messages.StreamingMessage(request_id="bench", **content)))
        )

    @staticmethod
    def _check(answer: Any) -> None:
        if answer.result.status != _SUCCESS:
            thrown = answer.result.exception
            raise InvocationFailed(f"{thrown.message}\n{thrown.stack_trace}")


def parsed(request: bytes) -> Any:
    """The message of a request that came over the wire."""
    return messages.StreamingMessage.FromString(request)


def batch_metadata(first: int, enqueued: Sequence[str]) -> dict[str, Any]:
    """The trigger metadata of a batch whose sequence numbers begin at `first`; `enqueued` as the host writes times."""
    context = {
        "FullyQualifiedNamespace": "namespace.servicebus.windows.net",
        "EventHubName": "devicedata",
        "ConsumerGroup": "$Default",
        "PartitionId": PARTITION,
    }
    numbers = range(first, first + len(enqueued))
    offsets = [number * 64 for number in numbers]
    fields: dict[str, Any] = {
        "PartitionContext": context,
        "TriggerPartitionContext": context | {"IsCheckpointingAfterInvocation": True},
        "PartitionKeyArray": [None for _ in numbers],
        "OffsetArray": [str(offset) for offset in offsets],
        "OffsetStringArray": [str(offset) for offset in offsets],
        "SequenceNumberArray": list(numbers),
        "EnqueuedTimeUtcArray": list(enqueued),
        "PropertiesArray": [{} for _ in numbers],
        "SystemPropertiesArray": [
            {
                "x-opt-sequence-number-epoch": -1,
                "x-opt-sequence-number": number,
                "x-opt-offset": offset,
                "x-opt-enqueued-time": f"{time}+00:00",
                "SequenceNumber": number,
                "Offset": offset,
                "OffsetString": str(offset),
                "PartitionKey": None,
                "EnqueuedTimeUtc": time,
            }
            for number, offset, time in zip(numbers, offsets, enqueued, strict=True)
        ],
    }
    return {name: messages.TypedData(json=json.dumps(field)) for name, field in fields.items()}


def batch_value(bodies: Sequence[bytes]) -> Any:
    return messages.TypedData(collection_bytes=messages.CollectionBytes(bytes=bodies))


def _request(message: Any) -> Any:
    return SimpleNamespace(request=message, properties={"host": "127.0.0.1", "protos": messages})
