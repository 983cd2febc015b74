"""A mapping out of a resource, as a file that people edit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal

from medtech.dotnet.json_reader import Node

MAX_CHARACTERS = 16 * 1024 * 1024
"""More than any resource holds. The variables of a template can hold each other, and so be far longer than its file."""


class TooLong(Exception):
    """A mapping of more than MAX_CHARACTERS."""


def mapping_text(node: Node) -> str:
    """The value as JSON with a line for each value; texts, numbers (`1.50`) and their order as they are."""
    pieces: list[str] = []
    length = 0
    for piece in _pieces(node, "\n"):
        length += len(piece)
        if length > MAX_CHARACTERS:
            raise TooLong
        pieces.append(piece)
    return "".join(pieces) + "\n"


def _pieces(node: Node, line_end: str) -> Iterator[str]:
    value = node.value
    inner = line_end + "  "
    if isinstance(value, dict) and value:
        before = "{"
        for name, member in value.items():
            yield f"{before}{inner}{json.dumps(name, ensure_ascii=False)}: "
            yield from _pieces(member, inner)
            before = ","
        yield f"{line_end}}}"
    elif isinstance(value, list) and value:
        before = "["
        for element in value:
            yield f"{before}{inner}"
            yield from _pieces(element, inner)
            before = ","
        yield f"{line_end}]"
    elif isinstance(value, Decimal):
        yield str(value)
    else:
        yield json.dumps(value, ensure_ascii=False)
