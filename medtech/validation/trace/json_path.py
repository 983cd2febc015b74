"""A JSONPath with the place of each token that it finds, step by step.

The compiled path of `medtech.jsonpath` gives tokens alone, since that is what every message needs. This one finds the
same tokens in the same order, which the tests hold it to on every vector, and asks the same compiled conditions.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from medtech.evaluation_budget import EvaluationBudget
from medtech.jsonpath.comparison import Property
from medtech.jsonpath.path import DeepCondition, Root
from medtech.jsonpath.syntax import AnyIndex, AnyName, Filter, Index, Indexes, Name, Names, Slice, Step
from medtech.validation.trace.place import Given, Place

_TOKEN_STEPS: Final = 15
"""For each token that is looked at: it passes through generators, in a tuple with its place."""


class Located(NamedTuple):
    """A token, the key that it stands under in what holds it, and its place; None if it is not in the document.

    A `Property` has the place of its value.
    """

    token: Any
    key: str | int | None
    place: Place | None


class LocatedPath:
    """The steps of a path. Each `find` gives what is found after each of them."""

    def __init__(self, steps: tuple[Step, ...]) -> None:
        self._finders = [_finder(step) for step in steps]

    def find(self, given: Given, budget: EvaluationBudget) -> list[list[Located]]:
        """The tokens found after each step, in the order of the path; raises BudgetSpent."""
        walker = _Walker(given, budget)
        root = Root(given.root, budget)
        found = [Located(given.root, None, given.root_place)]
        after: list[list[Located]] = []
        for find in self._finders:
            budget.charge(_TOKEN_STEPS * len(found))
            found = [below for located in found for below in find(walker, located, root)]
            after.append(found)
        return [[each for each in tokens if type(each.token) is not Property] for tokens in after]


class _Walker:
    """Goes from tokens to those below them, in the order of the document; raises BudgetSpent."""

    def __init__(self, given: Given, budget: EvaluationBudget) -> None:
        self._given = given
        self._budget = budget

    def children(self, located: Located, *, properties: bool = False) -> Iterator[Located]:
        """The members and elements; with `properties` each member as a Property, which then has the value as child."""
        token, _, place = located
        if type(token) is dict:
            self._budget.charge(len(token) * _TOKEN_STEPS)
            for name, value in token.items():
                below = self._given.child(place, name, value)
                yield Located(Property(value) if properties else value, name, below)
        elif type(token) is list:
            self._budget.charge(len(token) * _TOKEN_STEPS)
            for index, element in enumerate(token):
                yield Located(element, index, self._given.child(place, index, element))
        elif type(token) is Property:
            yield Located(token.value, located.key, place)

    def walk(self, located: Located, *, properties: bool = False) -> Iterator[Located]:
        """A token and everything below it, as `..` visits them."""
        pending = [iter((located,))]
        while pending:
            for each in pending[-1]:
                yield each
                pending.append(self.children(each, properties=properties))
                break
            else:
                pending.pop()

    def child(self, located: Located, key: str | int, token: Any) -> Located:
        return Located(token, key, self._given.child(located.place, key, token))

    def holds(self, condition: DeepCondition, candidates: Iterator[Located], root: Root) -> Iterator[Located]:
        for candidate in candidates:
            self._budget.charge(condition.weight)
            if condition.holds(candidate.token, root):
                yield candidate


_Find = Callable[[_Walker, Located, Root], Iterator[Located]]


def _finder(step: Step) -> _Find:
    """What a step finds from one token."""
    match step:
        case Name(name, deep=False):
            return lambda walker, located, root: _named(walker, located, (name,))
        case Names(names, deep=False):
            return lambda walker, located, root: _named(walker, located, names)
        case Name(name):
            return lambda walker, located, root: _named_below(walker, located, (name,))
        case Names(names):
            return lambda walker, located, root: _named_below(walker, located, names)
        case AnyName(deep=False):
            return lambda walker, located, root: _children_of(walker, located, dict)
        case AnyName():
            return lambda walker, located, root: _everything(walker, located)
        case AnyIndex():
            return lambda walker, located, root: _children_of(walker, located, list)
        case Index(index):
            return lambda walker, located, root: _elements(walker, located, (index,))
        case Indexes(indexes):
            return lambda walker, located, root: _elements(walker, located, indexes)
        case Slice(start, end, stride):
            bounds = slice(start, end, stride)
            return lambda walker, located, root: _sliced(walker, located, bounds)
        case Filter(condition, deep):
            # Properties are always asked: of one, a condition that cannot hold for properties is false.
            deep_condition = DeepCondition(condition)
            if deep:
                return lambda walker, located, root: walker.holds(
                    deep_condition, walker.walk(located, properties=True), root
                )
            return lambda walker, located, root: walker.holds(
                deep_condition, walker.children(located, properties=True), root
            )


def _named(walker: _Walker, located: Located, names: tuple[str, ...]) -> Iterator[Located]:
    token = located.token
    if type(token) is dict:
        for name in names:
            if name in token:
                yield walker.child(located, name, token[name])


def _named_below(walker: _Walker, located: Located, names: tuple[str, ...]) -> Iterator[Located]:
    times = Counter(names)
    for each in walker.walk(_without_property(located)._replace(key=None)):
        if type(each.key) is str:
            for _ in range(times[each.key]):
                yield each


def _everything(walker: _Walker, located: Located) -> Iterator[Located]:
    if type(located.token) is Property:
        yield located
    yield from walker.walk(_without_property(located))


def _children_of(walker: _Walker, located: Located, kind: type) -> Iterator[Located]:
    if type(located.token) is kind:
        yield from walker.children(located)


def _elements(walker: _Walker, located: Located, indexes: tuple[int, ...]) -> Iterator[Located]:
    array = located.token
    if type(array) is list:
        for index in indexes:
            if -len(array) <= index < len(array):
                yield walker.child(located, index % len(array), array[index])


def _sliced(walker: _Walker, located: Located, bounds: slice) -> Iterator[Located]:
    array = located.token
    if type(array) is list:
        for index in range(*bounds.indices(len(array))):
            yield walker.child(located, index, array[index])


def _without_property(located: Located) -> Located:
    return located._replace(token=located.token.value) if type(located.token) is Property else located
