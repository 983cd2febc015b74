"""An entity as the JSON of Table storage, and back ("Payload format for Table service operations").

What Python reads and writes is what azure-data-tables would: texts, booleans, numbers of 32 bits and doubles as they
are, binaries as bytes, times as datetimes in UTC, GUIDs as UUIDs. A number of 64 bits is read as (number, "Edm.Int64").
"""

from __future__ import annotations

import json
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable
from datetime import UTC, datetime
from enum import Enum
from typing import Any
from urllib.parse import quote
from uuid import UUID

import orjson

from medtech.storage.table import Entity

_TYPE = "@odata.type"
_INT32 = range(-(2**31), 2**31)


def to_json(entity: Entity) -> bytes:
    """One line of ASCII, as `wire_bytes` counts it. Raises TypeError for a value that no property can hold."""
    properties: dict[str, Any] = {}
    for name, value in entity.items():
        kind = type(value)
        if kind is str or kind is bool:
            properties[name] = value
        elif kind is int:
            if value not in _INT32:
                raise TypeError(f"{value} is too large to be cast to type Edm.Int32.")
            properties[name] = value
        elif kind is bytes:
            properties[name] = b2a_base64(value, newline=False).decode()
            properties[name + _TYPE] = "Edm.Binary"
        elif value is not None:
            text, annotation = _annotated(value)
            properties[name] = text
            if annotation:
                properties[name + _TYPE] = annotation
    try:
        packed = orjson.dumps(properties)
    except orjson.JSONEncodeError:  # half a surrogate pair, which `json` escapes
        packed = b"\xff"
    return packed if packed.isascii() else json.dumps(properties, separators=(",", ":")).encode()


def _annotated(value: Any) -> tuple[Any, str]:
    """A value and its type; "" where the service needs no word for it."""
    if isinstance(value, Enum):
        return str(value), ""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"), "Edm.DateTime"
    if isinstance(value, UUID):
        return str(value), "Edm.Guid"
    if type(value) is float:
        if value != value:
            return "NaN", "Edm.Double"
        infinite = {float("inf"): "Infinity", float("-inf"): "-Infinity"}
        return infinite.get(value, value), "Edm.Double"
    raise TypeError(f"Type not supported when sending data to the service: {type(value)}.")


def of_json(stored: dict[str, Any]) -> Entity:
    """The entity with its "etag", and its "timestamp" if it was asked for. Raises ValueError, TypeError or KeyError for
    what is no entity."""
    # A property's name is an identifier, so these are never the app's.
    entity = {name: value for name, value in stored.items() if "odata." not in name}
    for name in stored.keys() - entity.keys():
        if name.endswith(_TYPE) and (property_name := name.removesuffix(_TYPE)) in entity:
            entity[property_name] = _typed(entity[property_name], stored[name])
    changed = entity.pop("Timestamp", None)
    etag = stored.get("odata.etag")
    if etag is None and changed is not None:
        etag = f"W/\"datetime'{quote(changed)}'\""
    # A row without one could neither be deleted nor changed: the app would read it again for ever.
    if type(etag) is not str:
        raise TypeError("an entity without an etag")
    entity["etag"] = etag
    entity["timestamp"] = None if changed is None else _time(changed)
    return entity


def _time(text: Any) -> datetime:
    # Seven digits of a second, of which Python keeps six.
    moment = text if isinstance(text, datetime) else datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _typed(value: Any, kind: str) -> Any:
    read = _READ.get(kind)
    return (value, kind) if read is None else read(value)


_READ: dict[str, Callable[[Any], Any]] = {
    "Edm.Binary": a2b_base64,
    "Edm.Boolean": lambda value: value,
    "Edm.DateTime": _time,
    "Edm.Double": float,
    "Edm.Guid": UUID,
    "Edm.Int32": lambda value: value,
    "Edm.Int64": lambda value: (int(value), "Edm.Int64"),
    "Edm.String": lambda value: value,
}
