"""The tables of docs/telemetry.md."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "telemetry.md"


def rows(heading: str) -> list[list[str]]:
    """The cells of the table whose first line begins so, without that line."""
    text = PAGE.read_text(encoding="utf-8")
    lines = text[text.index(heading) :].splitlines()
    length = next(number for number, line in enumerate(lines) if not line.startswith("|"))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:length]]


def span_attributes() -> dict[str, set[str]]:
    """The attributes that each span may have."""
    return {name.strip("`"): set(re.findall(r"`([^`]+)`", attributes)) for name, _, _, attributes in rows("| span |")}
