"""What an expression asks of the tokens that it selects, for a caller who has a thousand expressions.

A language cannot know the other expressions, and the caller cannot read a language's conditions. So a language says
what a token must have for a condition to hold, as far as that can be told from names and constants alone; the caller
then tries only the expressions that may select a token.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from medtech.evaluation_budget import EvaluationBudget

ANYTHING: Final = object()


class Trait(NamedTuple):
    """Of an object: `path`, names one within the other, leads to a token; to `constant` itself if that is given.

    A constant is a text, an integer, true, false or null. Which tokens equal it is the language's matter; but a text
    equals no token but itself, and an integer none but itself and fractions.
    """

    path: tuple[str, ...]
    constant: Any = ANYTHING


Requirement = tuple[frozenset[Trait], ...]
"""A condition holds only for an object that has every trait of one of the sets."""

MOST_ALTERNATIVES: Final = 64
"""A condition with more ways to be true than this is not told by traits."""


def both(left: Requirement | None, right: Requirement | None) -> Requirement | None:
    """What `left and right` requires; None where nothing is known."""
    if left is None or right is None:
        return right if left is None else left
    # One side alone is still necessary.
    return _bounded(one | other for one in left for other in right) or left


def either(parts: Iterable[Requirement | None]) -> Requirement | None:
    """What `one or other` requires; None where nothing is known of a part."""
    alternatives: list[frozenset[Trait]] = []
    for part in parts:
        if part is None:
            return None
        alternatives += part
    return _bounded(alternatives)


def _bounded(alternatives: Iterable[frozenset[Trait]]) -> Requirement | None:
    """The alternatives, where they are too many by their outermost names, None where these are too many."""
    different = tuple(dict.fromkeys(alternatives))
    if len(different) > MOST_ALTERNATIVES:
        different = tuple(dict.fromkeys(frozenset(Trait(name.path[:1]) for name in each) for each in different))
    return different if len(different) <= MOST_ALTERNATIVES else None


@dataclass(frozen=True, slots=True)
class Selection:
    """An expression that filters an array, in two parts: what gives the array, and what is done with it.

    `array(document, budget)` returns the elements that are asked, an empty list where there is no array; it takes
    `array_weight` steps that are not charged. Expressions of one language with equal `source` have the same array.
    `select(elements, document, budget)` returns the tokens of the expression. Elements that do not meet `required` need
    not be among those that it is given; with none left it finds nothing, and need not be asked. Both raise what the
    expression raises.
    """

    source: str
    array: Callable[[Any, EvaluationBudget], list[Any]]
    array_weight: int
    required: Requirement
    select: Callable[[list[Any], Any, EvaluationBudget], list[Any]]
