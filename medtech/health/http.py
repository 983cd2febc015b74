"""`GET /api/health`: 200, or 503 if a part is down. It takes no parameters but the key."""

import json
from collections.abc import Callable

import azure.functions as func

from medtech.health.document import of_health
from medtech.health.part import Health, State


def answer(look: Callable[[], Health]) -> func.HttpResponse:
    """503 if a part is down, else 200: a warning is for people, not for what restarts or replaces an app."""
    health = look()
    return func.HttpResponse(
        json.dumps(of_health(health)),
        status_code=503 if health.state is State.DOWN else 200,
        mimetype="application/json",
    )
