"""What every answer of the app's HTTP functions has, whatever became of the request.

A browser keeps no copy of an answer, guesses no other content type, runs nothing in it, shows it in no frame, and tells
no other site its address. CORS stays closed: no answer has an `Access-Control-` header, so that only pages of the app's
own origin read it.
"""

import json
import logging
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ParamSpec

import azure.functions as func

from medtech.errors import MedTechError, UnexpectedFault

SECURITY_HEADERS: Mapping[str, str] = {
    # Most answers say how things are now; those of `validate` hold readings.
    "Cache-Control": "no-store",
    # For JSON. A function that answers with a page sets what its page needs.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    # The platform redirects http to https (`httpsOnly`) but does not set this. Browsers pass over it where they came by
    # http (RFC 6797, 8.1), as to the local host. Not for subdomains: a custom domain's are not the app's.
    "Strict-Transport-Security": "max-age=31536000",
    "X-Content-Type-Options": "nosniff",
}

Parameters = ParamSpec("Parameters")

_log = logging.getLogger(__name__)


def answers(function: Callable[Parameters, func.HttpResponse]) -> Callable[Parameters, func.HttpResponse]:
    """Makes an HTTP function answer always, with SECURITY_HEADERS; those it sets itself stand.

    What it raises becomes 503 with the reason for an error of the app, and 500 for a fault of it. Left to the worker,
    the exception's text and traceback would be logged, and may quote the request.
    """

    @wraps(function)
    def answered(*arguments: Parameters.args, **named: Parameters.kwargs) -> func.HttpResponse:
        try:
            answer = function(*arguments, **named)
        except MedTechError as error:
            answer = _error(503, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, its text must not be logged
            fault = UnexpectedFault.of(error, f"`{function.__name__}` answered a request", then="Report it.")
            _log.error("%s", fault.message)
            answer = _error(500, fault)
        for name, value in SECURITY_HEADERS.items():
            answer.headers.setdefault(name, value)
        return answer

    return answered


def _error(status: int, error: MedTechError) -> func.HttpResponse:
    document: dict[str, Any] = {"error": error.message}
    return func.HttpResponse(json.dumps(document), status_code=status, mimetype="application/json")
