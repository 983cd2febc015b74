"""`GET /api/comparison`: what a comparison found, as `document` describes it, without the values of any reading, and
`comparing`: whether the app compares now. What it found before stays until it expires.

Parameters, both optional: `since` (a time, a date, or how long ago), `type` (a measurement type).

`GET /api/comparison/{id}`: one difference with both sides. They are health data, so this answer alone has them, for one
difference at a time and with the master key.
"""

import json
from collections.abc import Callable

import azure.functions as func
import orjson

from medtech.comparison.document import of_comparison, of_difference
from medtech.comparison.store import Comparisons
from medtech.dead_letter.selection import SelectionInvalid, read
from medtech.errors import MedTechError

_PARAMETERS = ("since", "type")
# How a caller gives its key.
_OF_THE_PLATFORM = {"code", "clientId"}


def answer(
    request: func.HttpRequest, comparisons: Callable[[], Comparisons], now: int, comparing: Callable[[], bool]
) -> func.HttpResponse:
    """200 with what was found, 400 with a reason, 503 if storage is away or not set; `now` is in ticks."""
    parameters = {name: text for name, text in request.params.items() if name not in _OF_THE_PLATFORM}
    for name in parameters:
        if name not in _PARAMETERS:
            return _refused(name[:60], f"{name[:60]!a} is no parameter. Use {' or '.join(_PARAMETERS)}.")
    try:
        since = read(now=now, from_time=parameters.get("since")).from_time
    except SelectionInvalid as refused:
        return _refused("since", str(refused))
    try:
        found = of_comparison(comparisons(), since, parameters.get("type"))
        return _answer(200, json.dumps({"comparing": comparing()} | found).encode())
    except MedTechError as error:
        return _answer(503, json.dumps({"error": error.message}).encode())


def answer_difference(request: func.HttpRequest, comparisons: Callable[[], Comparisons]) -> func.HttpResponse:
    """200 with a difference, 400 for what is no ID, 404 for one that is not there, 503 if storage is away or not
    set."""
    try:
        found = comparisons().find(request.route_params["id"])
    except ValueError as refused:
        return _refused("id", str(refused))
    except MedTechError as error:
        return _answer(503, json.dumps({"error": error.message}).encode())
    if found is None:
        return _answer(404, b'{"error": "There is no such difference: it has expired, or was cleared. List them."}')
    return _answer(200, orjson.dumps(of_difference(*found)))


def _refused(parameter: str, reason: str) -> func.HttpResponse:
    return _answer(400, json.dumps({"error": reason, "parameter": parameter}).encode())


def _answer(status: int, body: bytes) -> func.HttpResponse:
    return func.HttpResponse(body, status_code=status, mimetype="application/json")
