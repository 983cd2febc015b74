"""Every setting, as people are told of it."""

from enum import StrEnum
from typing import Any, NamedTuple

from medtech.declared_settings import SecretStr
from medtech.settings import Settings, allowed, is_secret
from medtech.setup.platform import PLATFORM_SETTINGS


class Setting(NamedTuple):
    """`default`, `allowed` (empty: any text) and `description` are Markdown. `names` has the setting's own name and, of
    a connection, those of its parts. The value of a `secret` is shown to nobody."""

    name: str
    default: str
    allowed: str
    description: str
    names: tuple[str, ...]
    secret: bool


def catalogue() -> list[Setting]:
    """Those of triggers, connections and identity first, then the app's own in the order of its fields."""
    platform = [
        # What a connection holds besides its parts is a connection string, with a key in it.
        Setting(each.name, each.default, each.allowed, each.description, each.names, secret=bool(each.parts))
        for each in PLATFORM_SETTINGS
    ]
    own = [
        Setting(
            name.upper(),
            _default(field.default, field.json_schema_extra),
            allowed(field),
            field.description or "",
            (name.upper(),),
            is_secret(field),
        )
        for name, field in Settings.model_fields.items()
    ]
    return platform + own


def _default(value: Any, extra: Any) -> str:
    if isinstance(extra, dict) and "unset" in extra:
        return str(extra["unset"])
    if value is None or value == "" or isinstance(value, SecretStr):
        return "–"
    if isinstance(value, bool):
        return f"`{value}`".lower()
    return f"`{value}`" if isinstance(value, str | StrEnum) else str(value)
