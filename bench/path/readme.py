"""The tables of the last run in bench/README.md, between two markers."""

from bench.path.tree import HERE

README = HERE / "bench" / "README.md"
BEGIN, END = "<!-- python -m bench.path --readme writes from here -->", "<!-- to here -->"


def with_tables(page: str, written: str) -> str:
    """The page with these tables. Raises ValueError if it does not have both markers."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"bench/README.md does not have the lines {BEGIN} and {END}.")
    return f"{before}{BEGIN}\n\n{written}\n\n{END}{after}"
