"""Which tokens of a message each template takes.

Most type match expressions are `$..[?(...)]`: they ask every token of the document. Those whose condition can only be
true of an object with certain properties share one walk, and each is asked only of objects with those properties. Any
other expression is evaluated by itself.

Every message pays for the walk, so it is one function, put together when the mapping is loaded from the fragments
below, with names and conditions bound as constants.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from medtech.evaluation_budget import BudgetSpent, EvaluationBudget
from medtech.jmespath.expression import Expression
from medtech.jsonpath.path import Path, Predicate, Root
from medtech.mapping.expression import FAILED, EvaluationFailed
from medtech.mapping.token_index import TokenIndex
from medtech.selection import Requirement, Selection, Trait

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
    """`$..[?(condition)]` where the condition is false of all but objects that meet what is `required`.

    `names` are the outermost names of that; `condition` is None where an object that has them meets it. Asking the
    condition takes `weight` steps besides those that it charges.
    """

    template: int
    required: Requirement
    names: tuple[frozenset[str], ...]
    condition: Predicate | None
    weight: int

    @property
    def certain_names(self) -> frozenset[str]:
        """The names that every match has."""
        return frozenset.intersection(*self.names)


@dataclass(frozen=True, slots=True)
class Search:
    """Any other type match expression: (document, None, budget) to tokens. Raises what FAILED names, or BudgetSpent.

    It finds nothing where its `leading_names` lead nowhere from the document. If it has a `selection`, that finds the
    same in two parts, of which others may share the first; `language` is its language.
    """

    template: int
    find: Callable[[Any, None, EvaluationBudget], list[Any]]
    weight: int
    leading_names: tuple[str, ...] = ()
    selection: Selection | None = None
    language: str = ""

    def add(
        self,
        document: dict[str, Any],
        matches: Matches,
        budget: EvaluationBudget,
        elements: list[Any] | None = None,
    ) -> None:
        """Adds what it finds to the matches, in the `elements` of its selection if they are given.

        Raises MatchTooCostly.
        """
        selection = self.selection
        try:
            budget.charge(self.weight)
            if elements is None or selection is None:
                tokens = self.find(document, None, budget)
            else:
                tokens = selection.select(elements, document, budget)
        except FAILED as error:
            matches[self.template] = error
        except BudgetSpent as spent:
            raise MatchTooCostly(self.template, spent) from None
        else:
            if tokens:
                matches[self.template] = tokens


def finder_of(template: int, expression: Path | Expression) -> Scan | Search:
    """What finds the matches of a template with this type match expression."""
    if isinstance(expression, Expression):
        find: Callable[[Any, None, EvaluationBudget], list[Any]] = expression.tokens
    else:
        find = expression.find
        condition = expression.deep_condition
        if condition is not None and condition.required is not None and condition.required_names is not None:
            holds = None if condition.names_suffice else condition.holds
            return Scan(template, condition.required, condition.required_names, holds, condition.weight)
    language = type(expression).__name__
    return Search(template, find, expression.weight, expression.leading_names, expression.selection(), language)


class _Find(Protocol):
    def __call__(self, document: dict[str, Any], budget: EvaluationBudget, openings: int = 0) -> Matches: ...


class Matcher:
    """All type match expressions of a mapping.

    `find(document, budget, openings)` returns the Matches of a message, or raises MatchTooCostly. `openings` is what
    `parse_counted` says of the body, 0 if it was not asked. `evaluates` says whether it
    does more than look at the names of objects. `reads_metadata` says whether the document must have Properties and
    SystemProperties, because an expression looks at values or may match the document itself.
    """

    def __init__(self, finders: Iterable[Scan | Search]) -> None:
        finders = tuple(finders)
        scans = [finder for finder in finders if isinstance(finder, Scan)]
        self._searches = _Searches([finder for finder in finders if isinstance(finder, Search)])
        self._names = frozenset(name for scan in scans for names in scan.names for name in names)
        self._walk = _compile_walk(scans, self._names)
        self.find: _Find = self._find_all if self._searches.any else self._walk
        self.evaluates = bool(self._searches.any or any(scan.condition is not None for scan in scans))
        self.reads_metadata = self.evaluates or not self._names.isdisjoint(_DOCUMENT_NAMES)

    def may_take(self, properties: Mapping[str, Any]) -> bool:
        """Whether this metadata, or an object inside it, may be a match. Only asked where it is not read otherwise."""
        names = self._names
        for name, value in properties.items():
            kind = type(value)
            if (kind is not str and (kind is dict or kind is list)) or name in names:
                return True
        return False

    def _find_all(self, document: dict[str, Any], budget: EvaluationBudget, openings: int = 0) -> Matches:
        matches = self._walk(document, budget, openings) if self._names else {}
        self._searches.find(document, matches, budget)
        return matches


class _Searches:
    """The type match expressions that are evaluated by themselves, or together with those that filter the same array.

    Only those are evaluated whose leading names lead somewhere in the document.
    """

    def __init__(self, searches: list[Search]) -> None:
        self.any = bool(searches)
        of_source: dict[tuple[str, str], list[tuple[Search, Selection]]] = {}
        finders: list[Search | _SharedArray] = []
        for search in searches:
            if search.selection is None:
                finders.append(search)
            else:
                of_source.setdefault((search.language, search.selection.source), []).append((search, search.selection))
        for sharing in of_source.values():
            pairs = zip(*sharing, strict=True)
            finders.append(sharing[0][0] if len(sharing) == 1 else _SharedArray(*map(list, pairs)))
        self._always = [each for each in finders if not each.leading_names]
        following = [each for each in finders if each.leading_names]
        self._index = TokenIndex(((frozenset((Trait(each.leading_names),)),), each) for each in following)

    def find(self, document: dict[str, Any], matches: Matches, budget: EvaluationBudget) -> None:
        """Adds what they find to the matches; raises MatchTooCostly."""
        for each in self._always:
            each.add(document, matches, budget)
        for each, _ in self._index.wanted(document):
            each.add(document, matches, budget)


class _SharedArray:
    """Searches that filter one array: it is looked for once, and each gets the elements that it may select."""

    def __init__(self, searches: list[Search], selections: list[Selection]) -> None:
        self.leading_names = searches[0].leading_names
        self._searches = searches
        self._source = selections[0]
        self._index = TokenIndex((selection.required, place) for place, selection in enumerate(selections))

    def add(self, document: dict[str, Any], matches: Matches, budget: EvaluationBudget) -> None:
        """Adds what they find to the matches; raises MatchTooCostly."""
        try:
            budget.charge(self._source.array_weight)
            elements = self._source.array(document, budget)
            wanted = self._wanted(elements, budget)
        except FAILED as error:
            matches |= dict.fromkeys((search.template for search in self._searches), error)
            return
        except BudgetSpent as spent:
            raise MatchTooCostly(self._searches[0].template, spent) from None
        for place in sorted(wanted) if len(wanted) > 1 else wanted:
            self._searches[place].add(document, matches, budget, wanted[place])

    def _wanted(self, elements: list[Any], budget: EvaluationBudget) -> dict[int, list[Any]]:
        """By the place of a search among these, the elements that it may select, in order."""
        wanted: dict[int, list[Any]] = {}
        below = self._index.top.below
        for element in elements:
            if type(element) is not dict or not (found := below(element)):
                continue
            if len(found) > _MOST_IN_A_ROW:
                budget.charge(len(found) * _ASKED_STEPS)
            # A search may want an element for several of its properties.
            for place in {place for place, names in found if not names or names <= element.keys()}:
                if place in wanted:
                    wanted[place].append(element)
                else:
                    wanted[place] = [element]
        return wanted


_DOCUMENT_NAMES = ("Body", "Properties", "SystemProperties")

# Every object of the document, parents before what is below them. Metadata is mostly empty, and then not visited. The
# body has at most as many objects and arrays as its text has opening brackets: once so many have been seen, there are
# none below those that wait, and their members need not be gone through, which is most of the time of a walk.
_WALK = """
def walk(document, budget, openings=0):
    matches = {{}}
    root = {root}
{prepare}
    container = document
{ask_document}
    body = document["Body"]
    properties = document["Properties"]
    system_properties = document["SystemProperties"]
    if openings == 1 and type(body) is dict and not properties and not system_properties:
        container = body
{ask_only}
{finish_only}
        return matches
    later = [metadata for metadata in (system_properties, properties) if metadata]
    waiting = [body] if type(body) is dict or type(body) is list else []
    take = waiting.pop
    put = waiting.append
    taken = 0
    while waiting or later:
        if not waiting:
            put(later.pop())
            openings = 0
        if taken + len(waiting) == openings:
            for container in reversed(waiting):
                if type(container) is dict:
{ask_last}
            waiting.clear()
            continue
        taken += 1
        container = take()
        if type(container) is dict:
{ask}
            container = container.values()
        for child in reversed(container):
            kind = type(child)
            if kind is not str and (kind is dict or kind is list):
                put(child)
{finish}
    return matches
"""


def _compile_walk(scans: list[Scan], names: frozenset[str]) -> _Find:
    """One walk for all `scans`, which ask for `names`."""
    constants: dict[str, Any] = {}
    if sum(len(scan.names) for scan in scans) <= _MOST_IN_A_ROW:
        prepare, ask, finish = _ask_in_a_row(scans, constants)
    else:
        constants |= _asker(scans)
        prepare, finish = [], []
        ask = [
            "for name in container:",
            "    if name in asked:",
            "        ask(asked[name], name, container, root, matches, budget)",
        ]
    constants["Root"] = Root
    source = _WALK.format(
        root="Root(document, budget)" if any(scan.condition is not None for scan in scans) else "None",
        prepare=_indented(prepare, 1),
        ask_document="" if names.isdisjoint(_DOCUMENT_NAMES) else _indented(ask, 1),
        ask_only=_indented(ask, 2) if ask else "        pass",
        finish_only=_indented(finish, 2),
        ask_last=_indented(ask, 5) if ask else "                    pass",
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
        for required in scan.names:
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


def _asker(scans: list[Scan]) -> dict[str, Any]:
    """`asked`, what is wanted by each name, and `ask`, which asks those scans of an object that has the name."""
    nodes = TokenIndex((scan.required, (scan.template, _holds(scan))) for scan in scans).top.names
    # Of most names nothing but presence is asked: then it takes no call to know who wants them.
    asked = {name: node.present if node.is_leaf else node for name, node in nodes.items()}

    def ask(
        wanted: Any,
        name: str,
        candidate: dict[str, Any],
        root: Root,
        matches: dict[int, list[Any]],
        budget: EvaluationBudget,
    ) -> None:
        wanting = wanted if type(wanted) is list else wanted.wanting(candidate[name])
        if len(wanting) > _MOST_IN_A_ROW:
            try:
                budget.charge(len(wanting) * _ASKED_STEPS)
            except BudgetSpent as spent:
                raise MatchTooCostly(wanting[0][0][0], spent) from None
        for (template, holds), others in wanting:
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

    return {"asked": asked, "ask": ask}
