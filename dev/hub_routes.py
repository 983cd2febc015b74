"""The HTTP endpoints of hubs, which a functions host has and `python -m dev hub`.

    POST /dev/events         stores a device event or an array of them, answers their positions
    GET  /dev/hub            partitions and last sequence numbers, of a functions host its checkpoints too; consumer
                             groups, and whether an app reads them
    GET  /dev/hub/position   the sequence number that a receiver begins with
    GET  /dev/hub/events     events of a partition, for receivers

The receivers of dev/event_hubs ask `/dev/hub/position?partition=0&annotation=x-opt-offset&value=120` (and
`&inclusive=true`), then `/dev/hub/events?partition=0&from=7&limit=100` again and again: the answer waits up to
RECEIVE_SECONDS for the first event.
"""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dev.hub import EventRefused, Partition, PositionInvalid, StoredEvent, read_new_event
from dev.hubs import Hubs

Endpoint = Callable[[Request], Awaitable[Response]]

RECEIVE_SECONDS = 1.0
"""A process that ends waits this long for the answers to receivers."""
_MOST_EVENTS = 100


def hub_routes(hubs: Hubs, states: Callable[[], dict[str, Any]]) -> list[Route]:
    """`states` gives by hub and partition what `GET /dev/hub` answers."""
    return [
        Route("/dev/events", json_only(_take_events(hubs)), methods=["POST"]),
        Route("/dev/hub/position", _position(hubs)),
        Route("/dev/hub/events", _events(hubs)),
        Route("/dev/hub", _describe(hubs, states)),
    ]


def json_only(endpoint: Endpoint) -> Endpoint:
    async def answer(request: Request) -> Response:
        if media_type(request) != "application/json":
            return JSONResponse({"error": "Send this with the header Content-Type: application/json."}, 415)
        return await endpoint(request)

    return answer


def media_type(request: Request) -> str:
    """What a request is sent as, in lower case and without parameters."""
    sent, _, _ = request.headers.get("content-type", "").partition(";")
    return sent.strip().lower()


def _take_events(hubs: Hubs) -> Endpoint:
    async def answer(request: Request) -> Response:
        try:
            document = json.loads(await request.body())
            events = [read_new_event(each) for each in (document if isinstance(document, list) else [document])]
            positions = hubs.hub(request.query_params.get("hub")).append(events)
        except EventRefused as error:
            return JSONResponse({"error": str(error)}, 400)
        except ValueError:  # not the error's text: it may quote the body
            return JSONResponse({"error": "The request is not valid JSON."}, 400)
        return JSONResponse({"events": [{"partition": p, "sequenceNumber": n} for p, n in positions]})

    return answer


def _describe(hubs: Hubs, states: Callable[[], dict[str, Any]]) -> Endpoint:
    async def answer(_request: Request) -> Response:
        document = {"hubs": states(), "created": hubs.created(), "consumerGroups": hubs.consumer_groups()}
        return JSONResponse(document)

    return answer


def _position(hubs: Hubs) -> Endpoint:
    async def answer(request: Request) -> Response:
        asked = request.query_params
        try:
            first = _partition(hubs, request).first(
                asked.get("annotation", ""), asked.get("value", ""), inclusive=asked.get("inclusive") == "true"
            )
        except (EventRefused, PositionInvalid) as error:
            return JSONResponse({"error": str(error)}, 400)
        return JSONResponse({"sequenceNumber": first})

    return answer


def _events(hubs: Hubs) -> Endpoint:
    async def answer(request: Request) -> Response:
        try:
            partition = _partition(hubs, request)
            first, limit = (max(0, int(request.query_params[name])) for name in ("from", "limit"))
        except EventRefused as error:
            return JSONResponse({"error": str(error)}, 400)
        except (KeyError, ValueError):
            return JSONResponse({"error": "from and limit must be whole numbers."}, 400)
        with suppress(TimeoutError):
            await asyncio.wait_for(partition.wait_for(first), RECEIVE_SECONDS)
        return JSONResponse({"events": [_received(event) for event in partition.read(first, min(limit, _MOST_EVENTS))]})

    return answer


def _partition(hubs: Hubs, request: Request) -> Partition:
    """The partition that a request names. Raises EventRefused."""
    hub, name = hubs.hub(request.query_params.get("hub")), request.query_params.get("partition")
    if name not in hub.partitions:
        raise EventRefused(f"This hub has partitions 0 to {len(hub.partitions) - 1}.")
    return hub.partitions[name]


def _received(event: StoredEvent) -> dict[str, Any]:
    return {
        "bodyBase64": base64.b64encode(event.body).decode(),
        "properties": event.properties,
        "systemProperties": event.system_properties,
        "partitionKey": event.partition_key,
        "sequenceNumber": event.sequence_number,
        "offset": event.offset,
        "enqueuedTime": event.enqueued_time.isoformat(),
    }
