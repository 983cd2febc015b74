"""The tables of docs/telemetry.md."""

import re

from tests.docs.markdown import ROOT, read

PAGE = read(ROOT / "docs" / "telemetry.md")


def span_attributes() -> dict[str, set[str]]:
    """The attributes that each span may have."""
    rows = PAGE.table("span").rows
    return {name.strip("`"): set(re.findall(r"`([^`]+)`", attributes)) for name, _, _, attributes in rows}
