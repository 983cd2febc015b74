"""The table of docs/settings.md, made of what the code knows of each setting."""

from dev.processes import ROOT
from medtech.setup.catalogue import catalogue

PAGE = ROOT / "docs" / "settings.md"
BEGIN = "<!-- table of settings: `python -m dev settings-table` writes it -->"
END = "<!-- end of the table -->"


class PageUnusable(Exception):
    """The page has no place for the table; the message says what to add."""


def table() -> str:
    rows = ["| setting | default | allowed | meaning |", "|---|---|---|---|"]
    rows += [
        f"| `{each.name}` | {each.default} | {each.allowed or 'text'} | {each.description} |" for each in catalogue()
    ]
    return "\n".join(rows)


def with_table(page: str) -> str:
    """The text of the page with the table as it should be. Raises PageUnusable."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise PageUnusable(f"{PAGE.name} lacks the lines `{BEGIN}` and `{END}`, between which the table stands.")
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}"
