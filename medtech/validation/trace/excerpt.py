"""A token as it is shown in an answer: whole if it is small, else the beginning of it."""

import math
from typing import Any, Final

from medtech.dotnet.numbers import INT64_MAX, INT64_MIN
from medtech.dotnet.text import well_formed
from medtech.dotnet.tokens import text_reading

_MOST_TOKENS: Final = 50
_MOST_LEVELS: Final = 6
_LONGEST_TEXT: Final = 200
_LONGEST_NAME: Final = 60
_MOST_BITS: Final = 1000
"""Python writes an integer of up to 4,300 digits."""


class Excerpt:
    """`value` is what is shown of a token, as plain JSON; `cut` says whether anything is left out.

    A number that JSON or most of its readers do not have (NaN, an integer past 64 bits) is its text.
    """

    __slots__ = ("_tokens_left", "cut", "value")

    def __init__(self, token: Any) -> None:
        self._tokens_left = _MOST_TOKENS
        self.cut = False
        self.value = self._shown(token, _MOST_LEVELS)

    def _shown(self, token: Any, levels: int) -> Any:
        self._tokens_left -= 1
        if isinstance(token, str):
            return self._text(token, _LONGEST_TEXT)
        if isinstance(token, dict):
            return {
                self._text(name, _LONGEST_NAME): self._shown(token[name], levels - 1)
                for name in self._first(token, levels)
            }
        if isinstance(token, list):
            return [self._shown(element, levels - 1) for element in self._first(token, levels)]
        if isinstance(token, float) and not math.isfinite(token):
            return text_reading(token)
        if isinstance(token, int) and not INT64_MIN <= token <= INT64_MAX:
            return self._long_integer(token)
        return token

    def _first(self, container: Any, levels: int) -> Any:
        for element in container:
            if levels == 0 or self._tokens_left <= 0:
                self.cut = True
                return
            yield element

    def _long_integer(self, number: int) -> str:
        if number.bit_length() <= _MOST_BITS:
            return self._text(str(number), _LONGEST_TEXT)
        self.cut = True
        return "…"

    def _text(self, text: str, longest: int) -> str:
        if len(text) <= longest:
            return well_formed(text)
        self.cut = True
        return f"{well_formed(text[:longest])}…"
