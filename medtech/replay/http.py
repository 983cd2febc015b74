"""`POST /api/replay` and `GET /api/replay/{job}`.

Request: `{stage?, error?, type?, cause?, from?, to?, id?: [...], relabelUnit?, dryRun?}`, the filters as in the
command; an empty body takes every letter. Answer: 202 with the job and the address of its state, also as `Location`;
for a dry run 200 with what would be taken.
"""

import json
from collections.abc import Callable
from typing import Any

import azure.functions as func

from medtech.dead_letter.marks import Marks
from medtech.dead_letter.selection import Selection, SelectionInvalid, read
from medtech.errors import MedTechError
from medtech.replay.document import of_dry_run, of_job
from medtech.replay.dry_run import DryRun
from medtech.replay.job import Job, Jobs

_TEXTS = {"stage": "stage", "error": "error", "type": "type", "cause": "cause", "from": "from_time", "to": "to_time"}
_FLAGS = ("relabelUnit", "dryRun")
_PROPERTIES = [*_TEXTS, "id", *_FLAGS]

MAX_BYTES = 256 * 1024
"""Of a request. A thousand ids, the most that are taken, have some 60,000."""


def answer_post(
    request: func.HttpRequest, jobs: Callable[[], Jobs], dry_run: Callable[[Selection], DryRun], now: int
) -> func.HttpResponse:
    """202 with a job, 200 with a dry run, 400 with a reason, 413 for more than MAX_BYTES, 503 if storage is away or not
    set; `now` is in ticks."""
    body = request.get_body()
    if len(body) > MAX_BYTES:
        return _answer(413, {"error": f"The request has over {MAX_BYTES} bytes. Select by filters, not by ids."})
    try:
        asked = _read(body)
        texts = {argument: asked.get(name) for name, argument in _TEXTS.items()}
        selection = read(now=now, ids=asked.get("id", ()), **texts)
    except SelectionInvalid as refused:
        return _answer(400, {"error": str(refused), "parameter": refused.option})
    try:
        if asked.get("dryRun", False):
            return _answer(200, of_dry_run(dry_run(selection)))
        job = jobs().create(selection, now, relabel_unit=asked.get("relabelUnit", False))
    except MedTechError as error:
        return _answer(503, {"error": error.message})
    address = f"{request.url.partition('?')[0].rstrip('/')}/{job.id}"
    return _answer(202, of_job(job, None) | {"status": address}, {"Location": address})


def answer_get(request: func.HttpRequest, document: Callable[[str], dict[str, Any] | None]) -> func.HttpResponse:
    """200 with the job's state, 404 if there is no such job, 503 if storage is away or not set; `document` is that of
    the job with an id."""
    job_id = request.route_params.get("job", "")
    try:
        found = document(job_id)
        if found is None:
            return _answer(404, {"error": "There is no such job. It was done days ago, or its id is wrong."})
        return _answer(200, found)
    except MedTechError as error:
        return _answer(503, {"error": error.message})


def letters_in_buffer(job: Job, marks: Marks) -> int:
    """How many letters of a job wait for the flush: one scan of the partitions that it has been through."""
    if job.cursor is None:
        return 0
    return marks.count(job.id, job.first, job.cursor.partition_key)


def _read(body: bytes) -> dict[str, Any]:
    """Raises SelectionInvalid."""
    try:
        asked = json.loads(body) if body.strip() else {}
    except (ValueError, RecursionError):
        asked = None
    if not isinstance(asked, dict):
        raise SelectionInvalid("body", f"The request is not a JSON object. Use {', '.join(_PROPERTIES)}.")
    for name, value in asked.items():
        if name not in _PROPERTIES:
            raise SelectionInvalid(name[:60], f"{name[:60]!a} is no property. Use {', '.join(_PROPERTIES)}.")
        if name in _FLAGS and not isinstance(value, bool):
            raise SelectionInvalid(name, f"'{name}' is neither true nor false. Send one of them, or leave it out.")
        if name in _TEXTS and not isinstance(value, str):
            raise SelectionInvalid(name, f"'{name}' is not a text. Send one, or leave it out.")
        if name == "id" and not (isinstance(value, list) and all(isinstance(each, str) for each in value)):
            raise SelectionInvalid(name, "'id' is not a list of texts. Send the IDs of letters, or leave it out.")
    return asked


def _answer(status: int, document: dict[str, Any], headers: dict[str, str] | None = None) -> func.HttpResponse:
    return func.HttpResponse(json.dumps(document), status_code=status, headers=headers, mimetype="application/json")
