"""Health as JSON: `{state, checked, version, parts: {name: {state, message, ...facts}}}`."""

from typing import Any

from medtech import __version__
from medtech.dotnet import ticks
from medtech.health.part import Health


def of_health(health: Health) -> dict[str, Any]:
    """As GET /api/health and `status --json` give it. Times are ISO 8601."""
    return {
        "state": health.state,
        "checked": ticks.format_iso(health.checked),
        "version": __version__,
        "parts": {part.name: {"state": part.state, "message": part.message, **part.facts} for part in health.parts},
    }
