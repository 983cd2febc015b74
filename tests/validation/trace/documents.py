"""Parts of documents, by JSON pointer."""

from copy import deepcopy
from typing import Any


def at(document: Any, pointer: str) -> Any:
    """What stands at a pointer; raises LookupError where nothing does."""
    for key in _keys(pointer):
        document = document[int(key) if isinstance(document, list) else key]
    return document


def with_value(document: Any, pointer: str, value: Any) -> Any:
    """A copy of the document with another value at a pointer."""
    changed = deepcopy(document)
    *outer, last = _keys(pointer)
    holder = changed
    for key in outer:
        holder = holder[int(key) if isinstance(holder, list) else key]
    holder[int(last) if isinstance(holder, list) else last] = value
    return changed


def _keys(pointer: str) -> list[str]:
    assert pointer == "" or pointer[0] == "/"
    return [key.replace("~1", "/").replace("~0", "~") for key in pointer.split("/")[1:]]
