"""Which tokens of a message each template takes.

Most type match expressions are `$..[?(...)]`: they ask every token of the document. Those whose condition can only be
true of an object with certain properties share one walk, and each is asked only of objects with those properties. Any
other expression is evaluated by itself.

Every message pays for the walk, so it is one function, put together when the mapping is loaded from the fragments
below, with names and conditions bound as constants.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from medtech.evaluation_budget import BudgetSpent, EvaluationBudget
from medtech.jsonpath.path import Path, Predicate, Root
from medtech.mapping.expression import FAILED, EvaluationFailed

Matches = dict[int, list[Any] | EvaluationFailed]
"""By template: the tokens found, in the order of the document, or why its type match expression fails on the message.

A template that finds nothing is left out.
"""

_MOST_IN_A_ROW = 8
"""Up to this number, sets of names are tried one by one; more are looked up by the properties that an object has."""


_ASKED_STEPS = 3
"""For each template that is tried on an object because of one name. What a few templates ask is part of the walk."""


class MatchTooCostly(Exception):
    """The budget was spent (`cause`) while the matches of `template` were looked for."""

    def __init__(self, template: int, cause: BudgetSpent) -> None:
        super().__init__(str(cause))
        self.template = template
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Scan:
    """`$..[?(condition)]` where the condition is false of all but objects with every name of one of `required`.

    `condition` is None where that is all that it asks; asking it takes `weight` steps besides those that it charges.
    """

    template: int
    required: tuple[frozenset[str], ...]
    condition: Predicate | None
    weight: int


@dataclass(frozen=True, slots=True)
class Search:
    """Any other type match expression: (document, None, budget) to tokens. Raises what FAILED names, or BudgetSpent."""

    template: int
    find: Callable[[Any, None, EvaluationBudget], list[Any]]
    weight: int


def finder_of(template: int, path: Path) -> Scan | Search:
    """What finds the matches of a template whose type match expression is a JSONPath."""
    condition = path.deep_condition
    if condition is None or condition.required_names is None:
        return Search(template, path.find, path.weight)
    holds = None if condition.names_suffice else condition.holds
    return Scan(template, condition.required_names, holds, condition.weight)


_Find = Callable[[dict[str, Any], EvaluationBudget], Matches]


class Matcher:
    """All type match expressions of a mapping.

    `find(document, budget)` returns the Matches of a message, or raises MatchTooCostly. `evaluates` says whether it
    does more than look at the names of objects. `reads_metadata` says whether the document must have Properties and
    SystemProperties, because an expression looks at values or may match the document itself.
    """

    def __init__(self, finders: Iterable[Scan | Search]) -> None:
        finders = tuple(finders)
        scans = [finder for finder in finders if isinstance(finder, Scan)]
        self._searches = [finder for finder in finders if isinstance(finder, Search)]
        self._names = frozenset(name for scan in scans for names in scan.required for name in names)
        self._walk = _compile_walk(scans, self._names)
        self.find: _Find = self._find_all if self._searches else self._walk
        self.evaluates = bool(self._searches or any(scan.condition is not None for scan in scans))
        self.reads_metadata = self.evaluates or not self._names.isdisjoint(_DOCUMENT_NAMES)

    def may_take(self, properties: Mapping[str, Any]) -> bool:
        """Whether this metadata, or an object inside it, may be a match. Only asked where it is not read otherwise."""
        if not self._names.isdisjoint(properties):
            return True
        for value in properties.values():  # noqa: SIM110 - any() with a generator takes twice as long
            if type(value) is dict or type(value) is list:
                return True
        return False

    def _find_all(self, document: dict[str, Any], budget: EvaluationBudget) -> Matches:
        matches = self._walk(document, budget) if self._names else {}
        for search in self._searches:
            try:
                budget.charge(search.weight)
                tokens = search.find(document, None, budget)
            except FAILED as error:
                matches[search.template] = error
            except BudgetSpent as spent:
                raise MatchTooCostly(search.template, spent) from None
            else:
                if tokens:
                    matches[search.template] = tokens
        return matches


_DOCUMENT_NAMES = ("Body", "Properties", "SystemProperties")

# Every object of the document, parents before what is below them. Metadata is mostly empty, and then not visited.
_WALK = """
def walk(document, budget):
    matches = {{}}
    root = {root}
{prepare}
    container = document
{ask_document}
    waiting = []
    take = waiting.pop
    put = waiting.append
    if document["SystemProperties"]:
        put(document["SystemProperties"])
    if document["Properties"]:
        put(document["Properties"])
    body = document["Body"]
    if type(body) is dict or type(body) is list:
        put(body)
    while waiting:
        container = take()
        if type(container) is dict:
{ask}
            container = container.values()
        for child in reversed(container):
            kind = type(child)
            if kind is dict or kind is list:
                put(child)
{finish}
    return matches
"""


def _compile_walk(scans: list[Scan], names: frozenset[str]) -> _Find:
    """One walk for all `scans`, which ask for `names`."""
    constants: dict[str, Any] = {}
    if sum(len(scan.required) for scan in scans) <= _MOST_IN_A_ROW:
        prepare, ask, finish = _ask_in_a_row(scans, constants)
    else:
        constants |= {"ask": _asker(scans), "names": names}
        prepare = ["has_none = names.isdisjoint"]
        ask = ["if not has_none(container):", "    ask(container, root, matches, budget)"]
        finish = []
    constants["Root"] = Root
    source = _WALK.format(
        root="Root(document, budget)" if any(scan.condition is not None for scan in scans) else "None",
        prepare=_indented(prepare, 1),
        ask_document="" if names.isdisjoint(_DOCUMENT_NAMES) else _indented(ask, 1),
        ask=_indented(ask, 3),
        finish=_indented(finish, 1),
    )
    exec(compile(source, "<walk of the device mapping>", "exec"), constants)
    return constants["walk"]  # type: ignore[no-any-return]


def _indented(lines: list[str], depth: int) -> str:
    return "\n".join("    " * depth + line for line in lines)


def _ask_in_a_row(scans: list[Scan], constants: dict[str, Any]) -> tuple[list[str], list[str], list[str]]:
    """Fragments for before the walk, for each object, and for after it: every scan is asked of every object."""
    prepare, ask, finish = [], [], []
    for number, scan in enumerate(scans):
        constants[f"TEMPLATE_{number}"] = scan.template
        alternatives = []
        for required in scan.required:
            names = {f"NAME_{len(constants) + place}": name for place, name in enumerate(sorted(required))}
            constants |= names
            alternatives.append(" and ".join(f"{constant} in container" for constant in names))
        test = " or ".join(f"({each})" for each in alternatives)
        found = f"found_{number}"
        if scan.condition is not None:
            constants[f"holds_{number}"] = _holds(scan)
            test = f"({test}) and holds_{number}(container, root)"
        prepare.append(f"found_{number} = []")
        ask += [f"if {test}:", f"    found_{number}.append(container)"]
        finish += [f"if {found}:", f"    matches[TEMPLATE_{number}] = found_{number}"]
    return prepare, ask, finish


_Holds = Callable[[Any, Root], bool]


def _holds(scan: Scan) -> _Holds | None:
    """The condition, which charges what asking it takes."""
    condition, template, weight = scan.condition, scan.template, scan.weight
    if condition is None:
        return None

    def holds(candidate: Any, root: Root) -> bool:
        try:
            root.budget.charge(weight)
            return condition(candidate, root)
        except BudgetSpent as spent:
            raise MatchTooCostly(template, spent) from None

    return holds


def _asker(scans: list[Scan]) -> Callable[[dict[str, Any], Root, dict[int, list[Any]], EvaluationBudget], None]:
    """Asks only the scans that want one of the object's properties."""
    asked: dict[str, list[tuple[int, frozenset[str], _Holds | None]]] = {}
    for scan in scans:
        holds = _holds(scan)
        for required in scan.required:
            first = min(required)
            asked.setdefault(first, []).append((scan.template, required - {first}, holds))

    def ask(candidate: dict[str, Any], root: Root, matches: dict[int, list[Any]], budget: EvaluationBudget) -> None:
        for name in candidate:
            if name not in asked:
                continue
            wanting = asked[name]
            if len(wanting) > _MOST_IN_A_ROW:
                try:
                    budget.charge(len(wanting) * _ASKED_STEPS)
                except BudgetSpent as spent:
                    raise MatchTooCostly(wanting[0][0], spent) from None
            for template, others, holds in wanting:
                if others and not others <= candidate.keys():
                    continue
                found = matches.get(template)
                if found is not None and found[-1] is candidate:
                    continue  # taken already because of another of its properties
                if holds is not None and not holds(candidate, root):
                    continue
                if found is None:
                    matches[template] = [candidate]
                else:
                    found.append(candidate)

    return ask
