"""The HTTP endpoints of the host.

    {routePrefix}/...                  the app's HTTP functions
    POST /admin/functions/{name}       starts a timer function, answers 202        (master key; a JSON body)
    GET  /admin/host/status            state and version                           (master key)
    GET  /admin/host/ping              200 once functions are served
    POST /dev/events                   stores a device event or an array of them, answers their positions
    POST /dev/hub/steal                a second listener of a partition starts while the first still works
    GET  /dev/hub                      partitions, last sequence numbers, checkpoints, consumer groups
    GET  /dev/hub/position             the sequence number that a receiver begins with
    GET  /dev/hub/events               events of a partition, for receivers
    GET  /dev/functions                functions, invocations so far, the workers' process ids and starts
    POST /dev/timers/{name}            runs a timer and waits for its end

A key is given as `x-functions-key` or `?code=`. What is under /dev exists only here: in Azure, Event Hubs and the
platform's own tools take its place. It needs no key, so a POST to it must have `Content-Type: application/json` (else
415): a page in a browser of this machine cannot send that to another origin without asking first, which is refused.

`/dev/hub/steal` takes `{"partition": "0"}` and does what Event Hubs does when ownership of a partition moves: the
second listener starts from the last checkpoint, so that the batch that the first has in hand is worked on twice at
once; the first then finishes it without moving the checkpoint, and ends. With `"sequenceNumber": 7` the second starts
there, as after the loss of a checkpoint; it never passes over events that are beyond the checkpoint.

The receivers of dev/event_hubs ask `/dev/hub/position?partition=0&annotation=x-opt-offset&value=120` (and
`&inclusive=true`), then `/dev/hub/events?partition=0&from=7&limit=100` again and again: the answer waits up to
RECEIVE_SECONDS for the first event.
"""

import asyncio
import base64
import json
import re
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, Literal

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dev.functions import Function, FunctionInvalid, HttpTrigger
from dev.host import FunctionsHost
from dev.hub import EventRefused, Partition, PositionInvalid, StoredEvent, read_new_event
from dev.rpc import messages

Endpoint = Callable[[Request], Awaitable[Response]]

RECEIVE_SECONDS = 1.0
"""A host that ends waits this long for the answers to receivers."""
_MOST_EVENTS = 100

_SEGMENT = re.compile(r"\{(\*?)(\w+)(?::([a-z]+))?(\?)?\}")
_JSON_SUFFIX = re.compile(r"application/[^/]+\+json")
_CONVERTORS = {"int": "int", "long": "int", "guid": "uuid", "decimal": "float", "double": "float", "float": "float"}
_SAME_SITE: dict[int, Literal["lax", "strict", "none"]] = {1: "lax", 2: "strict", 3: "none"}


def application(host: FunctionsHost) -> Starlette:
    """The host's endpoints as a web application."""
    routes = [
        Route("/admin/host/ping", _ping),
        Route("/admin/host/status", _guarded(host, "admin", _status(host))),
        Route("/admin/functions/{name}", _guarded(host, "admin", _start_timer(host)), methods=["POST"]),
        Route("/dev/events", _json_only(_take_events(host)), methods=["POST"]),
        Route("/dev/hub/steal", _json_only(_steal(host)), methods=["POST"]),
        Route("/dev/hub/position", _position(host)),
        Route("/dev/hub/events", _events(host)),
        Route("/dev/hub", _hub(host)),
        Route("/dev/functions", _functions(host)),
        Route("/dev/timers/{name}", _json_only(_run_timer(host)), methods=["POST"]),
    ]
    for function in host.functions.values():
        if isinstance(function.trigger, HttpTrigger) and not function.disabled:
            endpoint = _guarded(host, function.trigger.auth_level, _call(host, function))
            paths = route_paths(function.name, host.config.route_prefix, function.trigger.route)
            routes += [Route(path, endpoint, methods=list(function.trigger.methods)) for path in paths]
    return Starlette(routes=routes)


def route_paths(function: str, prefix: str, route: str) -> list[str]:
    """Starlette's paths for a route template of Functions; two when its last part is optional.

    Raises FunctionInvalid for a route constraint that this host does not know.
    """

    def part(match: re.Match[str]) -> str:
        catch_all, name, constraint, _optional = match.groups()
        if constraint not in (None, "alpha", *_CONVERTORS):
            raise FunctionInvalid(
                f"Function {function}: the local host does not support the route constraint '{constraint}'."
            )
        convertor = "path" if catch_all else _CONVERTORS.get(constraint)
        return f"{{{name}:{convertor}}}" if convertor else f"{{{name}}}"

    segments = [segment for segment in f"{prefix}/{route}".split("/") if segment]
    paths = ["/" + "/".join(_SEGMENT.sub(part, segment) for segment in segments)]
    if segments and segments[-1].endswith("?}"):
        paths.append("/" + "/".join(_SEGMENT.sub(part, segment) for segment in segments[:-1]))
    return paths


def _guarded(host: FunctionsHost, auth_level: str, endpoint: Endpoint) -> Endpoint:
    async def answer(request: Request) -> Response:
        given = request.headers.get("x-functions-key") or request.query_params.get("code", "")
        return await endpoint(request) if host.keys.open(auth_level, given) else Response(status_code=401)

    return answer


def _media_type(request: Request) -> str:
    media_type, _, _ = request.headers.get("content-type", "").partition(";")
    return media_type.strip().lower()


def _is_invocation(body: bytes) -> bool:
    """Whether a body is what the real host reads as an invocation: an object whose `input`, if any, is no object or
    array (ASP.NET binds it to a text). FunctionsController of azure-functions-host answers 400 to all else."""
    try:
        document = json.loads(body)
    except ValueError:
        return False
    return isinstance(document, dict) and not any(
        isinstance(value, dict | list) for name, value in document.items() if name.lower() == "input"
    )


def _json_only(endpoint: Endpoint) -> Endpoint:
    async def answer(request: Request) -> Response:
        if _media_type(request) != "application/json":
            return JSONResponse({"error": "Send this with the header Content-Type: application/json."}, 415)
        return await endpoint(request)

    return answer


async def _ping(_request: Request) -> Response:
    return Response(status_code=200)


def _status(host: FunctionsHost) -> Endpoint:
    async def answer(_request: Request) -> Response:
        state = "Running" if host.worker.pids else "Error"
        return JSONResponse({"id": "local", "state": state, "version": "4.1040.0", "processUptime": host.uptime_ms})

    return answer


def _call(host: FunctionsHost, function: Function) -> Endpoint:
    async def answer(request: Request) -> Response:
        body = messages.TypedData(bytes=await request.body())
        http = messages.RpcHttp(
            method=request.method,
            url=str(request.url),
            headers=_joined(request.headers.items()),
            query=_joined((k, v) for k, v in request.query_params.multi_items()),
            params={name: str(value) for name, value in request.path_params.items()},
            body=body,
            rawBody=body,
        )
        result = await host.invoke(function.name, messages.TypedData(http=http))
        return Response(status_code=500) if result.failure is not None else http_response(result.return_value)

    return answer


def _joined(items: Iterable[tuple[str, str]]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in items:
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return joined


def http_response(value: Any) -> Response:
    kind = value.WhichOneof("data")
    if kind is None:
        return Response(status_code=204)
    if kind != "http":
        return Response(_content(value), media_type="application/json" if kind == "json" else "text/plain")
    headers = {name: text for name, text in value.http.headers.items() if name.lower() != "content-length"}
    answer = Response(_content(value.http.body), int(value.http.status_code or 200), headers)
    for cookie in value.http.cookies:
        expires = cookie.expires.value.ToDatetime(UTC) if cookie.HasField("expires") else None
        answer.set_cookie(
            cookie.name,
            cookie.value,
            max_age=int(cookie.max_age.value) if cookie.HasField("max_age") else None,
            expires=format_datetime(expires, usegmt=True) if isinstance(expires, datetime) else None,
            path=cookie.path.value or "/",
            domain=cookie.domain.value or None,
            secure=cookie.secure.value,
            httponly=cookie.http_only.value,
            samesite=_SAME_SITE.get(cookie.same_site),
        )
    return answer


def _content(value: Any) -> bytes:
    kind = value.WhichOneof("data")
    if kind is None:
        return b""
    content = getattr(value, kind)
    return content if isinstance(content, bytes) else str(content).encode()


def _start_timer(host: FunctionsHost) -> Endpoint:
    async def answer(request: Request) -> Response:
        media_type = _media_type(request)
        if media_type not in ("application/json", "text/json") and not _JSON_SUFFIX.fullmatch(media_type):
            return Response(status_code=415)
        if not _is_invocation(await request.body()):
            return Response(status_code=400)
        name = request.path_params["name"]
        if name not in host.functions:
            return Response(status_code=404)
        if name not in host.timers:
            return JSONResponse({"error": f"{name} is not a timer: only timers can be started here."}, 400)
        host.start_timer(name)
        return Response(status_code=202)

    return answer


def _run_timer(host: FunctionsHost) -> Endpoint:
    async def answer(request: Request) -> Response:
        timer = host.timers.get(request.path_params["name"])
        if timer is None:
            return Response(status_code=404)
        return JSONResponse({"succeeded": (await timer.run()).failure is None})

    return answer


def _take_events(host: FunctionsHost) -> Endpoint:
    async def answer(request: Request) -> Response:
        try:
            document = json.loads(await request.body())
            events = [read_new_event(each) for each in (document if isinstance(document, list) else [document])]
            positions = host.hub(request.query_params.get("hub")).append(events)
        except EventRefused as error:
            return JSONResponse({"error": str(error)}, 400)
        except ValueError:  # not the error's text: it may quote the body
            return JSONResponse({"error": "The request is not valid JSON."}, 400)
        return JSONResponse({"events": [{"partition": p, "sequenceNumber": n} for p, n in positions]})

    return answer


def _steal(host: FunctionsHost) -> Endpoint:
    async def answer(request: Request) -> Response:
        try:
            wanted = json.loads(await request.body())
            partition, first = wanted["partition"], wanted.get("sequenceNumber")
            if not isinstance(partition, str) or not (first is None or (type(first) is int and first >= 0)):
                raise ValueError
            host.steal_partition(host.hub(request.query_params.get("hub")), partition, first)
        except EventRefused as error:
            return JSONResponse({"error": str(error)}, 400)
        except (ValueError, KeyError, TypeError, AttributeError):
            return JSONResponse({"error": 'The request must be {"partition": "0"}, with a sequenceNumber if any.'}, 400)
        return Response(status_code=202)

    return answer


def _hub(host: FunctionsHost) -> Endpoint:
    async def answer(_request: Request) -> Response:
        return JSONResponse(
            {"hubs": host.hub_states(), "created": host.hubs_created(), "consumerGroups": host.consumer_groups()}
        )

    return answer


def _position(host: FunctionsHost) -> Endpoint:
    async def answer(request: Request) -> Response:
        asked = request.query_params
        try:
            first = _partition(host, request).first(
                asked.get("annotation", ""), asked.get("value", ""), inclusive=asked.get("inclusive") == "true"
            )
        except (EventRefused, PositionInvalid) as error:
            return JSONResponse({"error": str(error)}, 400)
        return JSONResponse({"sequenceNumber": first})

    return answer


def _events(host: FunctionsHost) -> Endpoint:
    async def answer(request: Request) -> Response:
        try:
            partition = _partition(host, request)
            first, limit = (max(0, int(request.query_params[name])) for name in ("from", "limit"))
        except EventRefused as error:
            return JSONResponse({"error": str(error)}, 400)
        except (KeyError, ValueError):
            return JSONResponse({"error": "from and limit must be whole numbers."}, 400)
        with suppress(TimeoutError):
            await asyncio.wait_for(partition.wait_for(first), RECEIVE_SECONDS)
        return JSONResponse({"events": [_received(event) for event in partition.read(first, min(limit, _MOST_EVENTS))]})

    return answer


def _partition(host: FunctionsHost, request: Request) -> Partition:
    """The partition that a request names. Raises EventRefused."""
    hub, name = host.hub(request.query_params.get("hub")), request.query_params.get("partition")
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


def _functions(host: FunctionsHost) -> Endpoint:
    async def answer(_request: Request) -> Response:
        functions = {
            name: {
                "trigger": type(function.trigger).__name__,
                "disabled": function.disabled,
                **host.invocations[name]._asdict(),
            }
            for name, function in host.functions.items()
        }
        return JSONResponse(
            {"worker": {"pids": host.worker.pids, "starts": host.worker.starts}, "functions": functions}
        )

    return answer
