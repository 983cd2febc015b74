"""Applies the fix of a finding in both ways: to the text as an editor does, and to the parsed mapping."""

import json
from typing import Any

from medtech.validation.finding import Fix


def to_text(text: str, fix: Fix) -> str:
    assert fix.range is not None
    assert fix.replacement is not None
    lines = text.splitlines(keepends=True)
    starts = [sum(map(len, lines[:number])) for number in range(len(lines))]
    start = starts[fix.range.line - 1] + fix.range.position
    end = starts[fix.range.end_line - 1] + fix.range.end_position
    return text[:start] + fix.replacement + text[end:]


def to_document(text: str, fix: Fix) -> Any:
    document = json.loads(text)
    *path, last = [key.replace("~1", "/").replace("~0", "~") for key in fix.pointer.split("/")[1:]]
    holder = document
    for key in path:
        holder = holder[int(key)] if isinstance(holder, list) else holder[key]
    holder[int(last) if isinstance(holder, list) else last] = json.loads(fix.value)
    return document
