"""`GET /api/dead-letters`: the causes of the dead letters, without their contents.

Parameters, all optional: the filters `stage`, `error`, `type`, `from`, `to`, `cause` and `id` (several with commas
between them), as in `selection`; and `continuation`.

Answer: `{letters, causes: [{cause, stage, error, type, message, letters, written, inReplay, firstTime, lastTime,
example}], truncated, continuation?}`. One answer folds about MAX_LETTERS, in as much time as its caller's deadline
gives, and may find none in that time; what is left is got with the `continuation`, whose answer has the causes of the
further letters alone.

`GET /api/dead-letters/{id}`: one letter with its reason and content, as `document` describes a letter. They are health
data, so this answer alone has them, for one letter at a time and with the master key.
"""

import base64
import json
from collections.abc import Callable

import azure.functions as func

from medtech.dead_letter.causes import Causes
from medtech.dead_letter.document import of_causes, of_letter
from medtech.dead_letter.selection import Selection, SelectionInvalid, read
from medtech.dead_letter.store import DeadLetters, Place
from medtech.errors import MedTechError, OutOfTime

MAX_LETTERS = 20_000
"""Twenty pages of what storage gives at once. More in one answer would keep its caller waiting without a word."""

_PAGE_LETTERS = 1_000
"""As many as storage gives at once."""

_FILTERS = {"stage": "stage", "error": "error", "type": "type", "from": "from_time", "to": "to_time", "cause": "cause"}
_PARAMETERS = [*_FILTERS, "id", "continuation"]
# How a caller gives its key.
_OF_THE_PLATFORM = {"code", "clientId"}


def answer(
    request: func.HttpRequest, dead_letters: Callable[[], DeadLetters], now: int, max_letters: int = MAX_LETTERS
) -> func.HttpResponse:
    """200 with the causes, 400 with a reason, 503 if storage is away or not set; `now` is in ticks."""
    try:
        selection, place = _read(request, now)
    except SelectionInvalid as refused:
        return _answer(400, {"error": str(refused), "parameter": refused.option})
    causes, following = Causes(), place
    try:
        for page in dead_letters().pages(selection, min(max_letters, _PAGE_LETTERS), place):
            for letter in page.letters:
                causes.add(letter)
            following = page.following
            if causes.letters >= max_letters:
                break
    except OutOfTime:
        if following == place:
            return _answer(503, {"error": "Storage did not answer in time. Try again."})
    except MedTechError as error:
        return _answer(503, {"error": error.message})
    document = of_causes(causes) | {"truncated": following is not None}
    if following is not None:
        document["continuation"] = base64.urlsafe_b64encode(json.dumps(following).encode()).decode().rstrip("=")
    return _answer(200, document)


def answer_letter(request: func.HttpRequest, dead_letters: Callable[[], DeadLetters], now: int) -> func.HttpResponse:
    """200 with a letter, 400 for what is no ID, 404 for one that is not there, 503 if storage is away or not set."""
    try:
        selection = read(now=now, ids=[request.route_params["id"]])
    except SelectionInvalid as refused:
        return _answer(400, {"error": str(refused), "parameter": refused.option})
    try:
        found = next(dead_letters().select_letters(selection), None)
    except MedTechError as error:
        return _answer(503, {"error": error.message})
    if found is None:
        return _answer(404, {"error": "There is no such letter: it was replayed or has expired. List the letters."})
    return _answer(200, of_letter(*found, content=True))


def _read(request: func.HttpRequest, now: int) -> tuple[Selection, Place | None]:
    parameters = {name: text for name, text in request.params.items() if name not in _OF_THE_PLATFORM}
    for name in parameters:
        if name not in _PARAMETERS:
            raise SelectionInvalid(name[:60], f"{name[:60]!a} is no parameter. Use {', '.join(_PARAMETERS)}.")
    filters = {argument: parameters.get(name) for name, argument in _FILTERS.items()}
    ids = [text.strip() for text in parameters.get("id", "").split(",") if text.strip()]
    return read(now=now, ids=ids, **filters), _place(parameters.get("continuation"))


def _place(continuation: str | None) -> Place | None:
    if continuation is None:
        return None
    try:
        padding = "=" * (-len(continuation) % 4)
        done, following = json.loads(base64.b64decode(continuation + padding, b"-_", validate=True))
        if type(done) is int and done >= 0 and (following is None or _is_place(following)):
            return done, following
    except (ValueError, TypeError, RecursionError):
        pass
    raise SelectionInvalid(
        "continuation", "The continuation is not one of an answer. Copy it again, or leave it out to begin anew."
    )


def _is_place(following: object) -> bool:
    names = {"PartitionKey", "RowKey"}
    if not isinstance(following, dict) or following.keys() != names:
        return False
    return all(
        each is None or (isinstance(each, str) and each.isascii() and each.isprintable()) for each in following.values()
    )


def _answer(status: int, document: dict[str, object]) -> func.HttpResponse:
    return func.HttpResponse(json.dumps(document), status_code=status, mimetype="application/json")
