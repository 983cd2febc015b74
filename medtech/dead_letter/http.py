"""`GET /api/dead-letters`: the causes of the dead letters, without their contents.

Parameters, all optional: the filters `stage`, `error`, `type`, `from`, `to`, `cause` and `id` (several with commas
between them), as in `selection`; and `continuation`.

Answer: `{letters, causes: [{cause, stage, error, type, message, letters, written, inReplay, firstTime, lastTime,
example}], truncated, continuation?}`. One answer folds at most MAX_LETTERS, in as much time as its caller's deadline
gives; what is left is got with the `continuation`, whose answer has the causes of the further letters alone.
"""

import base64
import json
from collections.abc import Callable

import azure.functions as func

from medtech.dead_letter.causes import Causes
from medtech.dead_letter.document import of_causes
from medtech.dead_letter.selection import Cursor, Selection, SelectionInvalid, read
from medtech.dead_letter.store import DeadLetters
from medtech.errors import MedTechError, OutOfTime

MAX_LETTERS = 20_000
"""Some seconds: a page of 1,000 summaries takes storage 50 to 300 ms."""

_FILTERS = {"stage": "stage", "error": "error", "type": "type", "from": "from_time", "to": "to_time", "cause": "cause"}
_PARAMETERS = [*_FILTERS, "id", "continuation"]
# How a caller gives its key.
_OF_THE_PLATFORM = {"code", "clientId"}


def answer(
    request: func.HttpRequest, dead_letters: Callable[[], DeadLetters], now: int, max_letters: int = MAX_LETTERS
) -> func.HttpResponse:
    """200 with the causes, 400 with a reason, 503 if storage is away or not set; `now` is in ticks."""
    try:
        selection, after = _read(request, now)
    except SelectionInvalid as refused:
        return _answer(400, {"error": str(refused), "parameter": refused.option})
    causes, last = Causes(), after
    truncated = False
    try:
        for letter in dead_letters().select(selection, after):
            if causes.letters == max_letters:
                truncated = True
                break
            causes.add(letter)
            last = letter.cursor
    except OutOfTime:
        if last == after:
            return _answer(
                503, {"error": "Storage did not answer in time. Try again, or with more filters (stage, error, to)."}
            )
        truncated = True
    except MedTechError as error:
        return _answer(503, {"error": error.message})
    document = of_causes(causes) | {"truncated": truncated}
    if truncated and last is not None:
        document["continuation"] = base64.urlsafe_b64encode("\n".join(last).encode()).decode().rstrip("=")
    return _answer(200, document)


def _read(request: func.HttpRequest, now: int) -> tuple[Selection, Cursor | None]:
    parameters = {name: text for name, text in request.params.items() if name not in _OF_THE_PLATFORM}
    for name in parameters:
        if name not in _PARAMETERS:
            raise SelectionInvalid(name[:60], f"{name[:60]!a} is no parameter. Use {', '.join(_PARAMETERS)}.")
    filters = {argument: parameters.get(name) for name, argument in _FILTERS.items()}
    ids = [text.strip() for text in parameters.get("id", "").split(",") if text.strip()]
    return read(now=now, ids=ids, **filters), _cursor(parameters.get("continuation"))


def _cursor(continuation: str | None) -> Cursor | None:
    if continuation is None:
        return None
    try:
        padding = "=" * (-len(continuation) % 4)
        partition_key, row_key = base64.b64decode(continuation + padding, b"-_", validate=True).decode().split("\n")
    except ValueError:
        raise SelectionInvalid(
            "continuation", "The continuation is not one of an answer. Copy it again, or leave it out to begin anew."
        ) from None
    return Cursor(partition_key, row_key)


def _answer(status: int, document: dict[str, object]) -> func.HttpResponse:
    return func.HttpResponse(json.dumps(document), status_code=status, mimetype="application/json")
