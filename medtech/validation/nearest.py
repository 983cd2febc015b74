"""The name that somebody probably meant."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

_MOST_COMPARED: Final = 200
"""Names that are compared letter by letter: with thousands, and as many to look for, that would take minutes."""


class KnownNames:
    """Names among which others are looked for."""

    def __init__(self, names: Iterable[str]) -> None:
        self._by_lower = {name.lower(): name for name in names}

    def nearest(self, name: str) -> str | None:
        """The known name that is most like `name`: equal but for case, or a slip or two away. None if none is."""
        lower = name.lower()
        known = self._by_lower.get(lower)
        if known is not None and known != name:
            return known
        if len(self._by_lower) > _MOST_COMPARED:
            return None
        close = get_close_matches(lower, (each for each in self._by_lower if each != lower), n=1, cutoff=0.75)
        return self._by_lower[close[0]] if close else None


def did_you_mean(near: str | None) -> str:
    return "" if near is None else f" Did you mean '{near}'?"
