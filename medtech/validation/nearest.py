"""The name that somebody probably meant."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like `name`: equal but for case, or a slip or two away. None if none is."""
    by_lower = {each.lower(): each for each in known if each != name}
    if name.lower() in by_lower:
        return by_lower[name.lower()]
    close = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.75)
    return by_lower[close[0]] if close else None


def did_you_mean(near: str | None) -> str:
    return "" if near is None else f" Did you mean '{near}'?"
