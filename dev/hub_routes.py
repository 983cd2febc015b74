"""The HTTP endpoints of hubs, which a functions host has and `python -m dev hub`.

POST /dev/events     stores a device event or an array of them, answers their positions
GET  /dev/hub        partitions and last sequence numbers; of a functions host, its checkpoints too
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dev.hub import EventRefused, read_new_event
from dev.hubs import Hubs

Endpoint = Callable[[Request], Awaitable[Response]]


def hub_routes(hubs: Hubs, states: Callable[[], dict[str, Any]]) -> list[Route]:
    """`states` gives by hub and partition what `GET /dev/hub` answers."""
    return [
        Route("/dev/events", json_only(_take_events(hubs)), methods=["POST"]),
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
        return JSONResponse({"hubs": states(), "created": hubs.created()})

    return answer
