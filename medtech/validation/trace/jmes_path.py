"""A JMESPath expression with the value of each of its parts, and the places of those values in the document.

The values are those of the compiled expressions themselves. A place follows from how a part comes to its value: by a
name or an index from a value with a place, by selecting elements, or as an object or an array that is the document's
own. Whatever else an expression makes has none.
"""

from typing import Any, Final, NamedTuple

from medtech.evaluation_budget import EvaluationBudget
from medtech.jmespath.comparison import truth
from medtech.jmespath.errors import ExpressionFailed
from medtech.jmespath.expression import Expression, Projection, compile_expression
from medtech.validation.trace.expression_parts import ROOT_PART, Origin, Part, parts_of
from medtech.validation.trace.place import Given, Place

_CHARACTER_STEPS: Final = 20
"""For each character of a part that is compiled."""
_ELEMENT_STEPS: Final = 10
"""For each element whose place is looked for."""


class Found(NamedTuple):
    """What a part gives: a token, or a Projection of several; its place, or those of the elements of an array that the
    expression made. `error` is why it fails."""

    value: Any
    place: Place | None = None
    places: list[Place | None] | None = None
    error: str | None = None


class LocatedExpression:
    """The compiled parts of an expression. Each `find` gives what each of them gives."""

    def __init__(self, text: str, further_name: str | None, budget: EvaluationBudget) -> None:
        self.parts = parts_of(text)
        budget.charge(sum(len(part.expression) for part in self.parts) * _CHARACTER_STEPS)
        self._compiled = [compile_expression(part.expression, further_name) for part in self.parts]
        self._steps = [
            compile_expression(part.text_of_step) if part.origin is Origin.SELECTION else None for part in self.parts
        ]

    def find(self, given: Given, budget: EvaluationBudget) -> list[Found]:
        """What each part gives, the last one being the whole; raises BudgetSpent."""
        finder = _Finder(given, budget)
        for part, expression, step in zip(self.parts, self._compiled, self._steps, strict=True):
            finder.add(part, expression, step)
        return finder.found


class _Finder:
    def __init__(self, given: Given, budget: EvaluationBudget) -> None:
        self._given = given
        self._budget = budget
        self.found: list[Found] = []

    def add(self, part: Part, expression: Expression, step: Expression | None) -> None:
        given, budget = self._given, self._budget
        budget.charge(expression.weight)
        try:
            value = expression.search(given.document, given.token, budget)
        except ExpressionFailed as error:
            self.found.append(Found(None, error=str(error)))
            return
        place: Place | None = None
        places: list[Place | None] | None = None
        match part.origin:
            case Origin.SOURCE:
                _, place, places, _ = self._source(part.source, part.settled)
            case Origin.LEFT_IF_TRUE | Origin.LEFT_IF_FALSE:
                left = self._source(part.source, False)
                is_left = truth(left.value) is (part.origin is Origin.LEFT_IF_TRUE)
                _, place, places, _ = left if is_left else self._source(part.other, False)
            case Origin.CHILD:
                place, places = self._child(self._source(part.source, part.settled), part.key)
            case Origin.SELECTION if step is not None:
                places = self._selected(self._source(part.source, part.settled), part.text_of_step, step)
        self.found.append(self._with_own(Found(value, place, places)))

    def _source(self, number: int, settled: bool) -> Found:
        given = self._given
        found = Found(given.root, given.root_place) if number == ROOT_PART else self.found[number]
        return found._replace(value=list(found.value)) if settled and type(found.value) is Projection else found

    def _child(self, source: Found, key: str | int) -> tuple[Place | None, list[Place | None] | None]:
        holder = source.value
        if type(holder) is not Projection:
            return self._under(holder, source.place, source.places, key), None
        if any(type(element) is Projection for element in holder):
            return None, None
        self._budget.charge(len(holder) * _ELEMENT_STEPS)
        places = source.places or [None] * len(holder)
        return None, [
            self._under(element, place, None, key)
            for element, place in zip(holder, places, strict=True)
            if _has(element, key)
        ]

    def _under(
        self, holder: Any, place: Place | None, places: list[Place | None] | None, key: str | int
    ) -> Place | None:
        """The place of what stands under a key."""
        if not _has(holder, key):
            return None
        if isinstance(key, int):
            key %= len(holder)
            if places is not None:
                return places[key]
        return self._given.child(place, key, holder[key])

    def _selected(self, source: Found, text: str, step: Expression) -> list[Place | None] | None:
        """The places of selected elements: the step, which does not look at them, selects among their places."""
        holder = source.value
        if type(holder) is Projection and text != "[]":
            return None  # it goes into each element
        if type(holder) is dict:
            self._budget.charge(len(holder) * _ELEMENT_STEPS)
            members = {name: _Stand(self._given.child(source.place, name, value)) for name, value in holder.items()}
            return _places(step.search(members, None, self._budget))
        if not isinstance(holder, list):
            return None
        self._budget.charge(len(holder) * _ELEMENT_STEPS)
        elements: list[Any] = []
        for index, element in enumerate(holder):
            place = self._under(holder, source.place, source.places, index)
            if element is None:
                elements.append(None)
            elif text == "[]" and isinstance(element, list):
                self._budget.charge(len(element) * _ELEMENT_STEPS)
                elements.append(
                    [
                        None if inner is None else _Stand(self._given.child(place, number, inner))
                        for number, inner in enumerate(element)
                    ]
                )
            else:
                elements.append(_Stand(place))
        return _places(step.search(elements, None, self._budget))

    def _with_own(self, found: Found) -> Found:
        """With the places that follow from what the values are."""
        value, place, places, _ = found
        if type(value) is not Projection and type(value) is not list:
            return Found(value, place or self._given.place_of(value))
        if place is None and type(value) is list:
            place = self._given.place_of(value)
        if place is not None:
            return Found(value, place)
        self._budget.charge(len(value) * _ELEMENT_STEPS)
        if places is None or len(places) != len(value):
            places = [None] * len(value)
        return Found(
            value,
            None,
            [known or self._given.place_of(element) for known, element in zip(places, value, strict=True)],
        )


class _Stand:
    """Stands for an element while elements are selected."""

    __slots__ = ("place",)

    def __init__(self, place: Place | None) -> None:
        self.place = place


def _places(selected: Any) -> list[Place | None] | None:
    if not isinstance(selected, list):
        return None
    return [each.place if isinstance(each, _Stand) else None for each in selected]


def _has(holder: Any, key: str | int) -> bool:
    if isinstance(key, str):
        return type(holder) is dict and key in holder
    return isinstance(holder, list) and -len(holder) <= key < len(holder)
