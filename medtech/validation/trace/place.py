"""Where a token lies in the document of a message, and what an expression of a mapping is given.

A place is known by how it was reached, never by its value: equal values stand in many places. Objects and arrays of a
document are each another Python object, so they have a place by identity; texts, numbers and the like do not.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from medtech.dotnet.text import well_formed
from medtech.evaluation_budget import EvaluationBudget
from medtech.mapping.expression import MATCHED_TOKEN

_CONTAINER_STEPS: Final = 10
"""For each object and array that is given its place."""

_LONGEST_POINTER: Final = 2000
"""Characters. A key may be as long as a message, and stands in the pointers to all that is below it."""


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """A step from an outer place, by the name of a property or the number of an element.

    Not a text: of a message with long names, the pointers to all its tokens would take hundreds of times its size.
    """

    outer: "Place | None"
    key: str | int

    def pointer(self) -> str | None:
        """The JSON pointer (RFC 6901); None if it is too long to be given."""
        keys: list[str] = []
        place = self
        length = 0
        while place.outer is not None:
            key = str(place.key)
            length += len(key) + 1
            if length > _LONGEST_POINTER:
                return None
            keys.append(key)
            place = place.outer
        return "".join(f"/{well_formed(key).replace('~', '~0').replace('/', '~1')}" for key in reversed(keys))


ROOT: Final = Place(None, "")
"""The document itself."""


class DocumentPlaces:
    """The places of the objects and arrays of a document."""

    def __init__(self, document: dict[str, Any], budget: EvaluationBudget) -> None:
        self.document = document
        self._budget = budget

    def of(self, token: Any) -> Place | None:
        """The place of an object or an array; None for one that an expression made, and for any other token.

        Raises BudgetSpent, the first time.
        """
        return self._containers.get(id(token)) if type(token) is dict or type(token) is list else None

    @cached_property
    def _containers(self) -> dict[int, Place]:
        places = {id(self.document): ROOT}
        waiting: list[tuple[Any, Place]] = [(self.document, ROOT)]
        while waiting:
            container, place = waiting.pop()
            self._budget.charge(_CONTAINER_STEPS + len(container))
            for key, child in _entries(container):
                if type(child) is dict or type(child) is list:
                    places[id(child)] = below = Place(place, key)
                    waiting.append((child, below))
        return places


def _entries(container: Any) -> Iterator[tuple[str | int, Any]]:
    return iter(container.items()) if type(container) is dict else enumerate(container)


class Given:
    """What an expression is evaluated on: `root`, which lies at `root_place`.

    `document`, and `token` as the further name, are what the languages take to make the root of.
    """

    def __init__(self, places: DocumentPlaces, document: Any, token: Any, matched: Place | None) -> None:
        self._places = places
        self._matched = matched
        self.document = document
        self.token = token
        self.root = document
        self.root_place: Place | None = ROOT

    @classmethod
    def whole(cls, places: DocumentPlaces) -> "Given":
        """The document alone, as type match expressions have it."""
        return cls(places, places.document, None, None)

    @classmethod
    def beside(cls, places: DocumentPlaces, token: Any, matched: Place | None) -> "Given":
        """The document with the matched token beside it, as the expressions of CalculatedContent have it."""
        given = cls(places, places.document, token, matched)
        given.root = {**places.document, MATCHED_TOKEN: token}
        return given

    @classmethod
    def match(cls, places: DocumentPlaces, token: Any, matched: Place | None) -> "Given":
        """The matched token alone, as the expressions of the other kinds have it."""
        given = cls(places, token, None, None)
        given.root_place = matched
        return given

    def child(self, place: Place | None, key: str | int, token: Any) -> Place | None:
        """The place of a token that stands under this key in what lies at `place`."""
        if place is None:
            # Whatever holds it was made by an expression, but may be made of parts of the document.
            return self._places.of(token)
        if place is ROOT and key == MATCHED_TOKEN:
            return self._matched
        return Place(place, key)

    def place_of(self, token: Any) -> Place | None:
        """The place of an object or an array of the document; None for any other token."""
        return self.root_place if token is self.root else self._places.of(token)
