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
"""

import json
import re
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, Literal

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dev.functions import Function, FunctionInvalid, HttpTrigger
from dev.host import FunctionsHost
from dev.hub import EventRefused
from dev.hub_routes import hub_routes, json_only, media_type
from dev.rpc import messages

Endpoint = Callable[[Request], Awaitable[Response]]

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
        *hub_routes(host.hubs, host.hub_states),
        Route("/dev/hub/steal", json_only(_steal(host)), methods=["POST"]),
        Route("/dev/functions", _functions(host)),
        Route("/dev/timers/{name}", json_only(_run_timer(host)), methods=["POST"]),
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
        sent = media_type(request)
        if sent not in ("application/json", "text/json") and not _JSON_SUFFIX.fullmatch(sent):
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


def _steal(host: FunctionsHost) -> Endpoint:
    async def answer(request: Request) -> Response:
        try:
            wanted = json.loads(await request.body())
            partition, first = wanted["partition"], wanted.get("sequenceNumber")
            if not isinstance(partition, str) or not (first is None or (type(first) is int and first >= 0)):
                raise ValueError
            host.steal_partition(host.hubs.hub(request.query_params.get("hub")), partition, first)
        except EventRefused as error:
            return JSONResponse({"error": str(error)}, 400)
        except (ValueError, KeyError, TypeError, AttributeError):
            return JSONResponse({"error": 'The request must be {"partition": "0"}, with a sequenceNumber if any.'}, 400)
        return Response(status_code=202)

    return answer


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
