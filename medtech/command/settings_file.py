"""A file of app settings: a local.settings.json, or what `az functionapp config appsettings list` prints."""

import json
from pathlib import Path
from typing import Any

import typer


def read(file: Path, option: str) -> dict[str, str]:
    """The settings by name. Raises BadParameter, which names `option`, for a file of any other kind."""
    try:
        document: Any = json.loads(file.read_text(encoding="utf-8-sig"))
        if isinstance(document, list):
            return {str(each["name"]): str(each["value"]) for each in document}
        return {str(name): str(value) for name, value in document["Values"].items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        raise typer.BadParameter(
            f"{file} is not a file of settings. Give a local.settings.json, or what `az functionapp config appsettings "
            "list --output json` prints.",
            param_hint=option,
        ) from None
