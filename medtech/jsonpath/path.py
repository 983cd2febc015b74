"""JSONPath in Json.NET's dialect, compiled to closures.

A path is parsed once, when its mapping is loaded (`compile_path`), and then only run. Its tree can still be read
(`Path.steps`), so that a caller can turn paths of plain names into look-ups (`Path.names`) and let all templates
whose match is `$..[?(condition)]` share one walk of the document (`Path.deep_condition`, `walk`).

Results are in the order of the document: a token comes before its descendants, properties in the order of the text.

What an evaluation does is charged to its budget: each token that a scan visits or a filter asks, each that a step
finds, each pair that is compared. What is done for one token alone is part of the path's `weight`.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, reduce
from itertools import takewhile
from typing import Any

from medtech.dotnet.times import json_date
from medtech.evaluation_budget import UNBOUNDED, EvaluationBudget
from medtech.jsonpath.comparison import COMPARISONS, Property, is_string
from medtech.jsonpath.patterns import Pattern, PatternInvalid, compile_pattern, search
from medtech.jsonpath.syntax import (
    AnyIndex,
    AnyName,
    Combination,
    Comparison,
    Condition,
    Exists,
    Filter,
    Index,
    Indexes,
    Literal,
    Name,
    Names,
    Query,
    Slice,
    Step,
    parse_path,
    steps_text,
)
from medtech.selection import MOST_ALTERNATIVES, Requirement, Selection, Trait, both, either

Tokens = list[Any]


_FOUND_STEPS = 3
"""For each token that a step finds: it is put into a list, often into one after another."""
_CONTAINER_STEPS = 2
"""For each object and array that a scan goes into, besides one for each of its members."""
_ASKED_STEPS = 3
"""For each token that a filter asks, besides the weight of its condition."""
_COMPARED_STEPS = 8
"""For each pair of tokens that a comparison has to try."""


_Run = Callable[[Tokens, "Root"], Tokens]


class Root:
    """The root that `$` means inside conditions, for one evaluation of a path, and the budget that it is charged to.

    What a query from the root finds does not depend on the candidate; it is looked for once, when first asked for.
    """

    __slots__ = ("_found", "_token", "budget")

    def __init__(self, token: Any, budget: EvaluationBudget) -> None:
        self._token = token
        self._found: dict[_Run, Tokens] = {}
        self.budget = budget

    def tokens(self, query: _Run) -> Tokens:
        found = self._found.get(query)
        if found is None:
            found = self._found[query] = query([self._token], self)
        return found


Predicate = Callable[[Any, Root], bool]
"""Whether a condition holds for (candidate, root); raises BudgetSpent."""


class Path:
    """A compiled path.

    `names` are its property names from the root if it has only names (`$.Body.deviceId`), else None.
    `deep_condition` is its condition if it is exactly `$..[?(condition)]`, else None. `reads_further_name` says whether
    what it finds may depend on the value of the further name. `weight` is how many steps an evaluation takes at least,
    which are not charged.
    """

    __slots__ = (
        "_further_name",
        "_hides_properties",
        "_run",
        "deep_condition",
        "names",
        "reads_further_name",
        "steps",
        "weight",
    )

    def __init__(self, steps: tuple[Step, ...], further_name: str | None = None) -> None:
        self.steps = steps
        queries = list(_queries_from_root(steps))
        self.reads_further_name = further_name is not None and any(
            _may_read(further_name, query) for query in (steps, *queries)
        )
        self._further_name = further_name if self.reads_further_name else None
        names = tuple(step.name for step in steps if isinstance(step, Name) and not step.deep)
        self.names: tuple[str, ...] | None = names if len(names) == len(steps) else None
        self.deep_condition: DeepCondition | None = None
        if len(steps) == 1 and isinstance(steps[0], Filter) and steps[0].deep:
            self.deep_condition = DeepCondition(steps[0].condition)
        self._run = _compile_steps(steps)
        self._hides_properties = _may_yield_properties(steps)
        self.weight = _weight_of_steps(steps)

    def find(self, document: Any, further: Any = None, budget: EvaluationBudget = UNBOUNDED) -> Tokens:
        """The tokens that the path selects in `document`, in order; raises BudgetSpent.

        `further` is the value of the further name, if the path was compiled with one; `document` is then an object.
        """
        # Only the few outermost entries are copied; what is below them is shared.
        root = document if self._further_name is None else {**document, self._further_name: further}
        found = self._run([root], Root(root, budget))
        if self._hides_properties:
            return [token for token in found if type(token) is not Property]
        return found

    @property
    def leading_names(self) -> tuple[str, ...]:
        """The names from the root that it follows first: where they lead nowhere, it finds nothing."""
        return _leading_names(self.steps)

    def selection(self) -> Selection | None:
        """The path in two parts, if it filters the elements of arrays by what a condition requires of objects."""
        place = next((place for place, step in enumerate(self.steps) if isinstance(step, Filter)), 0)
        filtering = self.steps[place] if place else None
        required = _required(filtering.condition) if isinstance(filtering, Filter) and not filtering.deep else None
        if required is None or self._further_name is not None:
            return None
        after = _compile_steps(self.steps[place:])
        hides_properties = self._hides_properties
        names = _leading_names(self.steps)
        array = _array_of_names(names) if len(names) == place else _array_of_steps(self.steps[:place])

        def select(elements: Tokens, document: Any, budget: EvaluationBudget) -> Tokens:
            found = after([elements], Root(document, budget))
            return [token for token in found if type(token) is not Property] if hides_properties else found

        source = steps_text(self.steps[:place])
        return Selection(source, array, _weight_of_steps(self.steps[:place]), required, select)

    def __str__(self) -> str:
        return steps_text(self.steps)

    def __repr__(self) -> str:
        return f"Path({str(self)!r})"


def _array_of_names(names: tuple[str, ...]) -> Callable[[Any, EvaluationBudget], Tokens]:
    """As `_array_of_steps`, for names alone: of most filters that many templates have, in half the time."""

    def array(document: Any, budget: EvaluationBudget) -> Tokens:
        token = document
        for name in names:
            if type(token) is not dict or name not in token:
                return []
            token = token[name]
        if type(token) is not list:
            return []
        budget.charge(1 + len(token) * _ASKED_STEPS)
        return token

    return array


def _array_of_steps(steps: tuple[Step, ...]) -> Callable[[Any, EvaluationBudget], Tokens]:
    """The elements of all arrays that the steps find: (document, budget) to tokens."""
    run = _compile_steps(steps)

    def array(document: Any, budget: EvaluationBudget) -> Tokens:
        arrays = [token for token in run([document], Root(document, budget)) if type(token) is list]
        budget.charge(len(arrays) + sum(map(len, arrays)) * _ASKED_STEPS)
        return [element for each in arrays for element in each]

    return array


def compile_path(text: str, further_name: str | None = None) -> Path:
    """A path; raises PathInvalid with the position of what is wrong.

    `further_name` is a name that the root has after those of the document; each `find` is given its value.
    """
    return Path(parse_path(text), further_name)


class DeepCondition:
    """The condition of `$..[?(condition)]`, for a caller that walks the document itself.

    `holds(candidate, root)` says whether a token of `walk(document)` is selected. The root is one `Root` of the
    document for all candidates. `weight` is how many steps asking takes at least, which are not charged.
    `required`, where it is not None, is a necessary condition. `required_names` are the outermost names of its sets:
    only an object that has every name of one of them can be selected. Where `names_suffice`, such an object always is,
    and `holds` need not be asked.
    """

    __slots__ = ("holds", "names_suffice", "required", "required_names", "weight")

    def __init__(self, condition: Condition) -> None:
        self.holds = _compile_condition(condition)
        self.required = _required(condition)
        self.required_names: tuple[frozenset[str], ...] | None = None
        if self.required is not None:
            sets = (frozenset(trait.path[0] for trait in traits) for traits in self.required)
            self.required_names = tuple(dict.fromkeys(sets))
        ways = _ways(condition)
        self.names_suffice = ways is not None and ways <= MOST_ALTERNATIVES
        self.weight = _ASKED_STEPS + _weight(condition)


def walk(token: Any) -> Iterator[Any]:
    """A token and everything below it, in the order in which `..` visits them."""
    yield token
    if type(token) is not dict and type(token) is not list:
        return
    pending = [iter(token.values()) if type(token) is dict else iter(token)]
    while pending:
        for child in pending[-1]:
            yield child
            if type(child) is dict:
                pending.append(iter(child.values()))
                break
            if type(child) is list:
                pending.append(iter(child))
                break
        else:
            pending.pop()


def _objects(token: Any, budget: EvaluationBudget) -> list[dict[str, Any]]:
    """The objects of `walk`, in a third of its time. What is visited is taken from the budget, which is then asked."""
    # Recursion, one frame a level as in `_scan`: a loop takes 1.3 times as long, and of the 1,000 frames that Python
    # has, the 512 levels of the deepest document leave enough to whoever calls.
    found: list[dict[str, Any]] = []

    def collect(container: Any) -> None:
        budget.left -= _CONTAINER_STEPS + len(container)
        if type(container) is dict:
            found.append(container)
            container = container.values()
        for child in container:
            if type(child) is dict or type(child) is list:
                collect(child)

    if type(token) is dict or type(token) is list:
        collect(token)
    return found


def _walk_with_properties(token: Any) -> Iterator[Any]:
    """As `walk`, with every property as a token before its value."""
    yield token
    pending = [_children(token)]
    while pending:
        for child in pending[-1]:
            yield child
            if type(child) is dict or type(child) is list or type(child) is Property:
                pending.append(_children(child))
                break
        else:
            pending.pop()


def _children(token: Any) -> Iterator[Any]:
    if type(token) is dict:
        return map(Property, token.values())
    if type(token) is list:
        return iter(token)
    return iter((token.value,) if type(token) is Property else ())


def _below(token: Any) -> Any:
    return token.value if type(token) is Property else token


def _compile_steps(steps: tuple[Step, ...]) -> _Run:
    runs = [_compile_step(step) for step in steps]
    if not runs:
        return lambda tokens, root: tokens
    if len(runs) == 1:
        return runs[0]

    def run(tokens: Tokens, root: Root) -> Tokens:
        for step in runs:
            tokens = step(tokens, root)
            if not tokens:
                break
        return tokens

    return run


def _compile_step(step: Step) -> _Run:
    match step:
        case Name(name, deep=False):
            return _look_up(name)
        case Name(name):
            return _scan((name,))
        case Names(names, deep=False):
            return _look_up_each(names)
        case Names(names):
            return _scan(names)
        case AnyName(deep=False):
            return lambda tokens, root: [
                value for token in _charged(tokens, dict, root.budget) for value in token.values()
            ]
        case AnyName():
            return _scan_all
        case Index(index):
            return _pick((index,))
        case Indexes(indexes):
            return _pick(indexes)
        case AnyIndex():
            return lambda tokens, root: [element for token in _charged(tokens, list, root.budget) for element in token]
        case Slice(start, end, stride):
            bounds = slice(start, end, stride)
            return lambda tokens, root: [
                element for token in _charged(tokens, list, root.budget) for element in token[bounds]
            ]
        case Filter(condition, deep):
            return _compile_filter(condition, deep=deep)


def _look_up(name: str) -> _Run:
    def look_up(tokens: Tokens, root: Root) -> Tokens:
        if len(tokens) > 1:
            root.budget.charge(len(tokens))
        return [token[name] for token in tokens if type(token) is dict and name in token]

    return look_up


def _look_up_each(names: tuple[str, ...]) -> _Run:
    def look_up_each(tokens: Tokens, root: Root) -> Tokens:
        if len(tokens) > 1:
            root.budget.charge(len(tokens) * len(names) * _FOUND_STEPS)
        return [token[name] for token in tokens if type(token) is dict for name in names if name in token]

    return look_up_each


def _charged(tokens: Tokens, kind: type, budget: EvaluationBudget) -> Tokens:
    """The tokens of a kind, once what they hold is charged."""
    kept: Tokens = [token for token in tokens if type(token) is kind]
    budget.charge(len(tokens) + sum(map(len, kept)) * _FOUND_STEPS)
    return kept


def _pick(indexes: tuple[int, ...]) -> _Run:
    def pick(tokens: Tokens, root: Root) -> Tokens:
        if len(tokens) > 1:
            root.budget.charge(len(tokens) * len(indexes) * _FOUND_STEPS)
        return [
            token[index]
            for token in tokens
            if type(token) is list
            for index in indexes
            if -len(token) <= index < len(token)
        ]

    return pick


def _scan(names: tuple[str, ...]) -> _Run:
    times = Counter(names)
    most_times = max(times.values())

    def collect(token: Any, found: Tokens, budget: EvaluationBudget) -> None:
        if type(token) is dict:
            budget.left -= _CONTAINER_STEPS + len(token) * most_times
            for name, value in token.items():
                if name in times:
                    found.extend([value] * times[name])
                if type(value) is dict or type(value) is list:
                    collect(value, found, budget)
        elif type(token) is list:
            budget.left -= _CONTAINER_STEPS + len(token)
            for element in token:
                if type(element) is dict or type(element) is list:
                    collect(element, found, budget)

    def scan(tokens: Tokens, root: Root) -> Tokens:
        found: Tokens = []
        for token in tokens:
            before = len(found)
            collect(_below(token), found, root.budget)
            root.budget.charge(_CONTAINER_STEPS + (len(found) - before) * _FOUND_STEPS)
        return found

    return scan


def _scan_all(tokens: Tokens, root: Root) -> Tokens:
    found: Tokens = []
    for token in tokens:
        before = len(found)
        if type(token) is Property:
            found.append(token)
        found.extend(walk(_below(token)))
        root.budget.charge((len(found) - before) * _FOUND_STEPS)
    return found


def _compile_filter(condition: Condition, *, deep: bool) -> _Run:
    holds = _compile_condition(condition)
    steps = _ASKED_STEPS + _weight(condition)
    if deep and _required(condition) is not None:

        def select_objects(tokens: Tokens, root: Root) -> Tokens:
            found: Tokens = []
            for token in tokens:
                candidates = _objects(_below(token), root.budget)
                root.budget.charge(_CONTAINER_STEPS + len(candidates) * steps)
                found += [candidate for candidate in candidates if holds(candidate, root)]
            return found

        return select_objects
    holds_for_properties = _may_hold_for_properties(condition)
    if deep:

        def select_deep(tokens: Tokens, root: Root) -> Tokens:
            found: Tokens = []
            for token in tokens:
                candidates = list(_walk_with_properties(token) if holds_for_properties else walk(_below(token)))
                root.budget.charge(len(candidates) * steps)
                found += [candidate for candidate in candidates if holds(candidate, root)]
            return found

        return select_deep

    def select(tokens: Tokens, root: Root) -> Tokens:
        found: Tokens = []
        for token in tokens:
            if type(token) is not dict or holds_for_properties:
                root.budget.charge(1 + (len(token) if type(token) is dict or type(token) is list else 0) * steps)
                found.extend([candidate for candidate in _children(token) if holds(candidate, root)])
        return found

    return select


def _compile_condition(condition: Condition) -> Predicate:
    match condition:
        case Exists(Literal()):
            return lambda candidate, root: True
        case Exists(Query(False, (Name(name, deep=False),))):
            return lambda candidate, root: type(candidate) is dict and name in candidate
        case Exists(side):
            query = _compile_side(side)
            return lambda candidate, root: bool(query(candidate, root))
        case Comparison():
            return _compile_comparison(condition)
        case Combination(operator, conditions):
            return _combined(operator, [_compile_condition(each) for each in conditions])


def _combined(operator: str, predicates: list[Predicate]) -> Predicate:
    if operator == "&&":

        def every(candidate: Any, root: Root) -> bool:
            for holds in predicates:  # noqa: SIM110 - half the time of all() with a generator
                if not holds(candidate, root):
                    return False
            return True

        return every

    def some(candidate: Any, root: Root) -> bool:
        for holds in predicates:  # noqa: SIM110 - half the time of any() with a generator
            if holds(candidate, root):
                return True
        return False

    return some


def _compile_comparison(condition: Comparison) -> Predicate:
    left, right = condition.left, condition.right
    compares = _compile_match(right) if condition.operator == "=~" else COMPARISONS[condition.operator]
    if isinstance(right, Literal) and isinstance(left, Query):
        constant = right.value
        match left:
            case Query(False, (Name(name, deep=False),)):
                return lambda candidate, root: (
                    type(candidate) is dict and name in candidate and compares(candidate[name], constant, root.budget)
                )
    left_side, right_side = _compile_side(left), _compile_side(right)

    def compare(candidate: Any, root: Root) -> bool:
        lefts = left_side(candidate, root)
        if not lefts:
            return False
        rights = right_side(candidate, root)
        budget = root.budget
        for one in lefts:
            for place, other in enumerate(rights):
                if compares(one, other, budget):
                    budget.charge(place * _COMPARED_STEPS)
                    return True
            budget.charge(len(rights) * _COMPARED_STEPS)
        return False

    return compare


_KEPT_PATTERNS = 8
"""Patterns from messages that one comparison keeps: most often one pattern is asked of many tokens in a row."""

_LONGEST_PATTERN = 4096
"""Characters of a pattern from a message. Compiling takes 500 times its memory, and nothing can stop it."""


def _compile_match(right: Query | Literal) -> Callable[[Any, Any, EvaluationBudget], bool]:
    """`=~`: a string that holds a match of the pattern."""
    if isinstance(right, Literal) and right.pattern is not None:
        pattern = right.pattern
        return lambda token, constant, budget: is_string(token, budget) and search(pattern, token, budget)
    pattern_of = lru_cache(maxsize=_KEPT_PATTERNS)(_pattern_of_message)

    def matches(token: Any, text: Any, budget: EvaluationBudget) -> bool:
        if not is_string(token, budget) or not is_string(text, budget):
            return False
        started = time.thread_time()
        pattern = pattern_of(text)
        budget.charge_regex(time.thread_time() - started)
        return pattern is not None and search(pattern, token, budget)

    return matches


def _pattern_of_message(text: str) -> Pattern | None:
    """The pattern of `/pattern/options`; None for a text that is not one, or is refused: it matches nothing."""
    if len(text) > _LONGEST_PATTERN:
        return None
    try:
        return compile_pattern(text)
    except PatternInvalid:
        return None


def _compile_side(side: Query | Literal) -> Callable[[Any, Root], Tokens]:
    if isinstance(side, Literal):
        constant = [side.value]
        return lambda candidate, root: constant
    run = _compile_steps(side.steps)
    if side.from_root:
        return lambda candidate, root: root.tokens(run)
    return lambda candidate, root: run([candidate], root)


def _weight(condition: Condition) -> int:
    """How many steps it takes to ask a condition of one token, without what is charged."""
    match condition:
        case Exists(side):
            return _weight_of_side(side)
        case Comparison(_, left, right):
            return _COMPARED_STEPS + _weight_of_side(left) + _weight_of_side(right)
        case Combination(_, conditions):
            return sum(map(_weight, conditions))


def _weight_of_side(side: Query | Literal) -> int:
    # From the root a query is run once; what it costs from then on is a look-up.
    return _weight_of_steps(side.steps) if isinstance(side, Query) and not side.from_root else 1


def _weight_of_steps(steps: tuple[Step, ...]) -> int:
    return 1 + sum(_weight_of_step(step) for step in steps)


def _weight_of_step(step: Step) -> int:
    match step:
        case Names(names):
            return len(names) * _FOUND_STEPS
        case Indexes(indexes):
            return len(indexes) * _FOUND_STEPS
        case Filter(condition):
            return _ASKED_STEPS + _weight(condition)
    return 2


def _queries_from_root(steps: Iterable[Step]) -> Iterator[tuple[Step, ...]]:
    """The steps of every query from the root in the conditions of these steps, at any depth."""
    for step in steps:
        if isinstance(step, Filter):
            yield from _queries_of_condition(step.condition)


def _queries_of_condition(condition: Condition) -> Iterator[tuple[Step, ...]]:
    match condition:
        case Combination(_, conditions):
            for each in conditions:
                yield from _queries_of_condition(each)
            return
        case Comparison(_, left, right):
            sides: tuple[Query | Literal, ...] = (left, right)
        case Exists(side):
            sides = (side,)
    for side in sides:
        if isinstance(side, Query):
            if side.from_root:
                yield side.steps
            yield from _queries_from_root(side.steps)


def _may_read(name: str, steps: tuple[Step, ...]) -> bool:
    """Whether steps from the root may find the root itself, or its property `name` or what is below it."""
    match steps:
        case (Name(first, deep=False), *_):
            return first == name
        case (Names(names, deep=False), *_):
            return name in names
    return True


def _required(condition: Condition) -> Requirement | None:
    """None: the condition may hold for any token."""
    match condition:
        case Exists(side):
            return _required_by_side(side)
        case Comparison(operator, left, right):
            equals = _equals_constant(left, right) or _equals_constant(right, left)
            if operator in _EQUALITIES and equals is not None:
                return (frozenset((equals,)),)
            return both(_required_by_side(left), _required_by_side(right))
        case Combination("&&", conditions):
            return reduce(both, map(_required, conditions))
        case Combination(_, conditions):
            return either(map(_required, conditions))


_EQUALITIES = ("==", "===")


def _equals_constant(side: Query | Literal, other: Query | Literal) -> Trait | None:
    """The trait of `@.a.b == constant`. A date equals other texts than its own, and fractions equal by nearness."""
    if not isinstance(side, Query) or side.from_root or not isinstance(other, Literal):
        return None
    path = _leading_names(side.steps)
    constant = other.value
    if not path or len(path) < len(side.steps) or type(constant) is float:
        return None
    return None if isinstance(constant, str) and json_date(constant) is not None else Trait(path, constant)


def _leading_names(steps: Iterable[Step]) -> tuple[str, ...]:
    """The names that steps follow before they do anything else."""
    names = takewhile(lambda step: isinstance(step, Name) and not step.deep, steps)
    return tuple(step.name for step in names if isinstance(step, Name))


def _required_by_side(side: Query | Literal) -> Requirement | None:
    match side:
        case Query(False, (Name(_, deep=False), *_)):
            return (frozenset((Trait(_leading_names(side.steps)),)),)
        case Query(False, (Names(names, deep=False), *_)):
            return tuple(frozenset((Trait((name,)),)) for name in dict.fromkeys(names))
    return None


def _ways(condition: Condition) -> int | None:
    """How many sets of names make the condition true, whatever the values; None if it asks for more than names."""
    match condition:
        case Exists(Query(False, (Name(_, deep=False),))):
            return 1
        case Exists(Query(False, (Names(names, deep=False),))):
            return len(names)
        case Combination(operator, conditions):
            ways = [ways for ways in map(_ways, conditions) if ways is not None]
            if len(ways) == len(conditions):
                return math.prod(ways) if operator == "&&" else sum(ways)
    return None


def _may_hold_for_properties(condition: Condition) -> bool:
    """A property has neither properties nor elements, so most conditions on the candidate cannot hold for one."""
    match condition:
        case Exists(side):
            return _may_find_in_property(side)
        case Comparison(_, left, right):
            return _may_find_in_property(left) and _may_find_in_property(right)
        case Combination("&&", conditions):
            return all(map(_may_hold_for_properties, conditions))
        case Combination(_, conditions):
            return any(map(_may_hold_for_properties, conditions))


def _may_find_in_property(side: Query | Literal) -> bool:
    match side:
        case Query(False, (first, *_)):
            return isinstance(first, Filter) or (isinstance(first, Name | Names | AnyName) and first.deep)
    return True


def _may_yield_properties(steps: tuple[Step, ...]) -> bool:
    """Whether the last step can select properties."""
    for step in reversed(steps):
        if isinstance(step, Filter):
            return _may_hold_for_properties(step.condition)
        if not (isinstance(step, AnyName) and step.deep):
            return False
    return False
