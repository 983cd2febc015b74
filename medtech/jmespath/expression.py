"""JMESPath as the service reads it (JmesPath.Net 1.0.204), compiled to closures; function calls to source (`calls`).

An expression is parsed once, when its mapping is loaded (`compile_expression`), and then only run. JmesPath.Net carries
a projection through an expression as a value of its own kind. The rules that follow from that hold here too:

- A chain of steps (`.name`, `[0]`, `[*]`, `.{...}`) is applied from left to right. After a projection each step is
  applied to every element, and parentheses do not end the projection. A pipe, `[]`, an argument or an operand does end
  it: they see an array.
- Null ends a chain: `missing.{a: b}` is null, although `{a: b}` of null is an object.
- `[*]` and `[]` leave nulls out; slices, `*` and filters keep them, and the next step then sees the null. An element in
  which a step finds nothing is left out of the projection.
"""

from collections.abc import Callable
from typing import Any, Final

from medtech.evaluation_budget import UNBOUNDED, EvaluationBudget
from medtech.jmespath.calls import Argument, CallWriter
from medtech.jmespath.chain import (
    PROJECTING,
    WHOLE_ROOT,
    Current,
    EveryElement,
    EveryMember,
    Filter,
    Flatten,
    Index,
    Member,
    Select,
    Slice,
    Step,
    chain,
    makes_containers,
    root_names,
    weight,
    weight_of_steps,
)
from medtech.jmespath.comparison import COMPARATORS, truth
from medtech.jmespath.errors import ExpressionFailed, ExpressionInvalid
from medtech.jmespath.functions import (
    EXPRESSION,
    FUNCTIONS,
    Evaluate,
    charge_tree,
)
from medtech.jmespath.selection import Part, leading_names, split_at_filter
from medtech.jmespath.syntax import Syntax, nested_too_deep, parse
from medtech.selection import Selection


class Expression:
    """A compiled expression.

    `names` are the member names from the root when the expression is nothing but names (`Body.deviceId`), else None.
    `reads_further_name` says whether the result may depend on the value of the further name. `weight` is how many steps
    an evaluation takes at least, which are not charged: charged is what grows with the document, such as each element
    that a projection goes through and each long text that a function reads.
    """

    __slots__ = (
        "_from_further",
        "_from_root",
        "_further_name",
        "_makes_containers",
        "_tree",
        "names",
        "reads_further_name",
        "text",
        "weight",
    )

    def __init__(self, text: str, tree: Syntax, further_name: str | None = None) -> None:
        base, steps = chain(tree)
        is_names = base is None and all(isinstance(step, Member) for step in steps)
        self.text = text
        self._tree = tree
        self.names = tuple(step.name for step in steps if isinstance(step, Member)) if is_names else None
        seen = root_names(tree)
        self.reads_further_name = further_name is not None and (further_name in seen or WHOLE_ROOT in seen)
        self._further_name = further_name if self.reads_further_name else None
        self._from_root = _Compiler().raw(tree, at_root=True)
        self._makes_containers = makes_containers(tree)
        self.weight = weight(tree)
        # Nearly every value is read from the further name alone; evaluation then starts from the value of that name.
        starts_there = further_name is not None and seen == {further_name}
        self._from_further = _Compiler(further_name).raw(tree, at_root=True) if starts_there else None

    def search(self, document: Any, further: Any = None, budget: EvaluationBudget = UNBOUNDED) -> Any:
        """The result in `document`: a token, a `Projection`, or None; raises ExpressionFailed, or BudgetSpent.

        `further` is the value of the further name, if the expression was compiled with one; `document` must then be an
        object.
        """
        if self._further_name is None:
            return _evaluated(self._from_root, document, budget)
        if self._from_further is not None:
            return _evaluated(self._from_further, further, budget)
        # Only the few outermost members are copied; what they hold is shared.
        return _evaluated(self._from_root, {**document, self._further_name: further}, budget)

    def tokens(self, document: Any, further: Any = None, budget: EvaluationBudget = UNBOUNDED) -> list[Any]:
        """The selected tokens: the elements of a projection, else the one token, or none for null.

        Whoever goes through a token does finite work: all of it is charged here if it may be larger than the document.
        """
        return self._tokens(self.search(document, further, budget), budget)

    def _tokens(self, result: Any, budget: EvaluationBudget) -> list[Any]:
        if type(result) is Projection:
            found = [_settled(element) for element in result]
        else:
            found = [] if result is None else [result]
        if self._makes_containers:
            charge_tree(found, budget)
        return found

    def single(self, document: Any, further: Any = None, budget: EvaluationBudget = UNBOUNDED) -> Any:
        """The result as one token, None if there is none; raises ExpressionFailed if there are several.

        A projection becomes an array, even one of a single element.
        """
        if self._from_further is None:
            result = self.search(document, further, budget)
        else:
            # As `search`, without its calls: nearly every value of a mapping is read here.
            try:
                result = self._from_further(further, budget)
            except OverflowError:
                raise _too_large() from None
        if type(result) is not Projection:
            return result
        if len(result) > 1:
            raise ExpressionFailed(f"finds {len(result)} tokens where one is needed")
        return _settled(result)

    @property
    def leading_names(self) -> tuple[str, ...]:
        """The member names from the root that it follows first: where they lead nowhere, it is null."""
        return leading_names(self._tree)

    def selection(self) -> Selection | None:
        """The expression in two parts, if it filters an array by what a condition requires of its elements."""
        parts = split_at_filter(self._tree)
        if parts is None:
            return None
        before = _composed(parts.before, raw=False)
        after = _composed(parts.after, raw=True)

        def array(document: Any, budget: EvaluationBudget) -> list[Any]:
            found = _evaluated(before, document, budget)
            if type(found) is not list:
                return []
            budget.charge(len(found) * _ELEMENT_STEPS)
            return found

        def select(elements: list[Any] | None, document: Any, budget: EvaluationBudget) -> list[Any]:
            return self._tokens(_evaluated(after, elements, budget), budget)

        try:
            finds_something_in_nothing = select([], None, UNBOUNDED) or select(None, None, UNBOUNDED)
        except ExpressionFailed:
            return None
        if finds_something_in_nothing:
            return None
        return Selection(parts.source, array, parts.weight, parts.required, select)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"


def compile_expression(text: str, further_name: str | None = None) -> Expression:
    """Compiles an expression; raises ExpressionInvalid with the position of what is wrong.

    `further_name` names a member that the root has besides those of the document; each evaluation gives its value.
    """
    try:
        return Expression(text, parse(text), further_name)
    except RecursionError:
        raise nested_too_deep() from None


class Projection(list[Any]):
    """An array that further steps apply to element by element."""

    __slots__ = ()


NOTHING: Final = object()
"""What a step returns to leave an element out of a projection."""


def _settled(value: Any) -> Any:
    """The value as a token: projections become arrays."""
    if type(value) is Projection:
        return [_settled(element) for element in value]
    return value


def _evaluated(evaluate: Evaluate, value: Any, budget: EvaluationBudget) -> Any:
    try:
        return evaluate(value, budget)
    except OverflowError:
        raise _too_large() from None


def _too_large() -> ExpressionFailed:
    return ExpressionFailed("fails: an integer is too large to be converted to a fraction")


def _composed(parts: list[Part], *, raw: bool) -> Evaluate:
    """Parts of an expression as one closure: each is evaluated on what the one before it gives."""
    compiler = _Compiler()
    *first, last = parts
    composed = compiler.part(last, raw=raw)
    for part in reversed(first):
        composed = _then(compiler.part(part, raw=False), composed)
    return composed


def _then(first: Evaluate, second: Evaluate) -> Evaluate:
    return lambda value, budget: second(first(value, budget), budget)


class _Compiler:
    """Makes closures of two arguments, the current node and the budget.

    A *settled* closure returns a token. A *raw* one may also return a Projection, which the following steps go through.
    `dropped_name`, where an expression starts with it at the root, is dropped: the closure is then called with the
    value of that name.
    """

    def __init__(self, dropped_name: str | None = None) -> None:
        self._dropped_name = dropped_name

    def raw(self, node: Syntax, *, at_root: bool = False) -> Evaluate:
        return self._compile(node, at_root, raw=True)

    def settled(self, node: Syntax, *, at_root: bool = False) -> Evaluate:
        return self._compile(node, at_root, raw=False)

    def part(self, part: Part, *, raw: bool) -> Evaluate:
        return self._steps(part, False, raw) if isinstance(part, list) else self._compile(part, False, raw=raw)

    def _compile(self, node: Syntax, at_root: bool, *, raw: bool) -> Evaluate:
        base, steps = chain(node)
        if base is not None:
            start = getattr(self, f"_{base['type']}")(base, at_root, raw or bool(steps))
            return self._steps_after(start, steps, raw) if steps else start
        if at_root and self._dropped_name is not None and steps and steps[0] == Member(self._dropped_name):
            rest = steps[1:]
            if rest and isinstance(rest[0], Select):
                rest.insert(0, Current())  # of the steps, only a selection does not end the chain on null by itself
            return self._steps(rest, False, raw)
        return self._steps(steps, at_root, raw)

    # Steps

    def _steps(self, steps: list[Step], at_root: bool, raw: bool) -> Evaluate:
        """The steps from the current node on; a flattening takes everything found before it."""
        for place in range(len(steps) - 1, -1, -1):
            if isinstance(steps[place], Flatten):
                source = self._steps(steps[:place], at_root, False)
                rest = steps[place + 1 :]
                mapped = self._step(rest, mapped=True, raw=raw)
                return _project(_flattening(source), mapped, raw, None, weight_of_steps(rest))
        return self._step(steps, mapped=False, raw=raw, at_root=at_root) or _identity

    def _steps_after(self, start: Evaluate, steps: list[Step], raw: bool) -> Evaluate:
        """The steps after an operator in parentheses, which may return a projection."""
        flattened = next((place for place, step in enumerate(steps) if isinstance(step, Flatten)), len(steps))
        straight = self._steps(steps[:flattened], False, True)
        mapped = self._step(steps[:flattened], mapped=True, raw=True)
        element_steps = weight_of_steps(steps[:flattened])

        def evaluate(value: Any, budget: EvaluationBudget) -> Any:
            found = start(value, budget)
            if type(found) is Projection:
                return found if mapped is None else _mapped_deep(found, mapped, budget, element_steps)
            return None if found is None else straight(found, budget)

        if flattened == len(steps):
            return evaluate if raw else lambda value, budget: _settled(evaluate(value, budget))
        rest = self._steps(steps[flattened:], False, raw)
        return lambda value, budget: rest(_settled(evaluate(value, budget)), budget)

    def _step(self, steps: list[Step], *, mapped: bool, raw: bool, at_root: bool = False) -> Evaluate | None:
        """The first step and, through it, all the others; None for no steps.

        `mapped`: for an element of a projection, which a step leaves out by returning NOTHING.
        """
        if not steps:
            return None
        step = steps[0]
        end = NOTHING if mapped else None
        rest = self._step(steps[1:], mapped=mapped or isinstance(step, PROJECTING), raw=raw)
        if isinstance(step, Member):
            return _member(step.name, rest, end)
        if isinstance(step, Index):
            return _index(step.position, rest, end)
        if isinstance(step, Current):
            return lambda value, budget: None if value is None or rest is None else rest(value, budget)
        if isinstance(step, Select):
            return _selection(getattr(self, f"_{step.node['type']}")(step.node, at_root, raw), rest, end)
        return _project(self._projected(step), rest, raw, end, weight_of_steps(steps[1:]))

    def _projected(self, step: Step) -> Evaluate:
        """The elements that a step projects, None where it does not apply."""
        if isinstance(step, EveryMember):
            return _projecting(dict, lambda members, budget: list(members.values()), _ELEMENT_STEPS)
        if isinstance(step, EveryElement):
            return _projecting(
                list, lambda array, budget: [element for element in array if element is not None], _ELEMENT_STEPS
            )
        if isinstance(step, Slice):
            sliced = step.of
            return _projecting(list, lambda array, budget: sliced(array), _ELEMENT_STEPS)
        assert isinstance(step, Filter)
        holds = self.condition(step.condition)
        return _projecting(
            list,
            lambda array, budget: [element for element in array if holds(element, budget)],
            _ELEMENT_STEPS + weight(step.condition),
        )

    # What a chain may start from, or select

    def _literal(self, node: Syntax, at_root: bool, raw: bool) -> Evaluate:
        return _constant(node["value"])

    def _pipe(self, node: Syntax, at_root: bool, raw: bool) -> Evaluate:
        left = self.settled(node["children"][0], at_root=at_root)
        right = self._compile(node["children"][1], False, raw=raw)
        return lambda value, budget: right(left(value, budget), budget)

    def _or_expression(self, node: Syntax, at_root: bool, raw: bool) -> Evaluate:
        left, right = (self._compile(child, at_root, raw=raw) for child in node["children"])

        def either(value: Any, budget: EvaluationBudget) -> Any:
            found = left(value, budget)
            return found if truth(found) else right(value, budget)

        return either

    def _and_expression(self, node: Syntax, at_root: bool, raw: bool) -> Evaluate:
        left, right = (self._compile(child, at_root, raw=raw) for child in node["children"])

        def both(value: Any, budget: EvaluationBudget) -> Any:
            found = left(value, budget)
            return right(value, budget) if truth(found) else found

        return both

    def _not_expression(self, node: Syntax, at_root: bool, raw: bool) -> Evaluate:
        holds = self.condition(node["children"][0], at_root=at_root)
        return lambda value, budget: not holds(value, budget)

    def _comparator(self, node: Syntax, at_root: bool, raw: bool) -> Evaluate:
        left, right = (self.settled(child, at_root=at_root) for child in node["children"])
        compare = COMPARATORS[node["value"]]
        return lambda value, budget: compare(left(value, budget), right(value, budget), budget)

    def _multi_select_list(self, node: Syntax, at_root: bool, raw: bool) -> Evaluate:
        elements = [self.settled(child, at_root=at_root) for child in node["children"]]
        return lambda value, budget: [element(value, budget) for element in elements]

    def _multi_select_dict(self, node: Syntax, at_root: bool, raw: bool) -> Evaluate:
        members = [(child["value"], self.settled(child["children"][0], at_root=at_root)) for child in node["children"]]
        return lambda value, budget: {name: member(value, budget) for name, member in members}

    def _function_expression(self, node: Syntax, at_root: bool, raw: bool) -> Evaluate:
        writer = CallWriter()
        return writer.function(self._written_call(node, at_root, writer))

    def _written_call(self, node: Syntax, at_root: bool, writer: CallWriter) -> Argument:
        name, arguments = node["value"], node["children"]
        function = FUNCTIONS.get(name)
        if function is None:
            raise ExpressionInvalid(f"there is no function '{name}'", node["start"])
        wanted = len(function.parameters)
        if len(arguments) < wanted or (len(arguments) > wanted and not function.variadic):
            least = "at least " if function.variadic else ""
            raise ExpressionInvalid(
                f"{name}() takes {least}{wanted} argument{'s' if wanted > 1 else ''}, not {len(arguments)}",
                node["start"],
            )
        written = []
        for place, argument in enumerate(arguments):
            parameter = function.parameters[min(place, wanted - 1)]
            if (parameter is EXPRESSION) != (argument["type"] == "expref"):
                needed = (
                    "must be an expression (&...)" if parameter is EXPRESSION else "must not be an expression (&...)"
                )
                raise ExpressionInvalid(f"argument {place + 1} of {name}() {needed}", node["start"])
            if parameter is EXPRESSION:
                expression = argument["children"][0]
                of_element = _for_each_element(self.settled(expression), weight(expression))
                written.append(writer.evaluated(of_element))
            else:
                written.append(self._written(argument, at_root, writer))
        return writer.call(function, written)

    def _written(self, node: Syntax, at_root: bool, writer: CallWriter) -> Argument:
        """An argument: calls, names and literals as statements, all else by its closure."""
        base, steps = chain(node)
        if base is not None and base["type"] == "literal" and not steps:
            return writer.literal(base["value"])
        if base is None:
            if len(steps) == 1 and isinstance(steps[0], Select) and steps[0].node["type"] == "function_expression":
                return self._written_call(steps[0].node, at_root, writer)
            names = [step.name for step in steps if isinstance(step, Member)]
            if len(names) == len(steps):
                starts_dropped = at_root and self._dropped_name is not None and names[:1] == [self._dropped_name]
                return writer.member(names[1:] if starts_dropped else names)
        return writer.evaluated(self.settled(node, at_root=at_root))

    def condition(self, node: Syntax, *, at_root: bool = False) -> Evaluate:
        """The truth of a node; its value is not made where only the truth is needed."""
        kind = node["type"]
        if kind == "and_expression" or kind == "or_expression":
            left, right = (self.condition(child, at_root=at_root) for child in node["children"])
            if kind == "and_expression":
                return lambda value, budget: left(value, budget) and right(value, budget)
            return lambda value, budget: left(value, budget) or right(value, budget)
        evaluate = self.settled(node, at_root=at_root)
        if kind == "not_expression" or kind == "comparator":
            return evaluate
        return lambda value, budget: truth(evaluate(value, budget))


_ELEMENT_STEPS: Final = 3
"""For each element that a projection goes through: it is put into a list, and what is made of it into another."""


def _constant(constant: Any) -> Evaluate:
    return lambda value, budget: constant


def _for_each_element(expression: Evaluate, steps: int) -> Evaluate:
    """The argument `&expression`: a function of an element."""

    def bound(value: Any, budget: EvaluationBudget) -> Callable[[Any], Any]:
        def of_element(element: Any) -> Any:
            budget.charge(steps)
            return expression(element, budget)

        return of_element

    return bound


def _projecting(kind: type[list[Any]] | type[dict[str, Any]], elements: Evaluate, steps: int) -> Evaluate:
    """The elements of a container of this kind, with so many steps charged for each; None for any other value."""

    def projecting(value: Any, budget: EvaluationBudget) -> Any:
        if type(value) is not kind:
            return None
        budget.charge(len(value) * steps)
        return elements(value, budget)

    return projecting


def _identity(value: Any, budget: EvaluationBudget) -> Any:
    return value


# Each of these returns `end` where the step finds nothing, and the chain ends there. `end` is NOTHING for an element of
# a projection, else null; then a null that the step finds ends the chain as well.


def _member(name: str, rest: Evaluate | None, end: Any) -> Evaluate:
    if rest is None:
        return lambda value, budget: value.get(name, end) if type(value) is dict else end

    def member(value: Any, budget: EvaluationBudget) -> Any:
        found = value.get(name, end) if type(value) is dict else end
        return end if found is end else rest(found, budget)

    return member


def _index(position: int, rest: Evaluate | None, end: Any) -> Evaluate:
    def index(value: Any, budget: EvaluationBudget) -> Any:
        if type(value) is not list or not -len(value) <= position < len(value):
            return end
        found = value[position]
        return found if rest is None or found is end else rest(found, budget)

    return index


def _selection(select: Evaluate, rest: Evaluate | None, end: Any) -> Evaluate:
    if rest is None and end is None:
        return select

    def selection(value: Any, budget: EvaluationBudget) -> Any:
        found = select(value, budget)
        if found is None:
            return end
        return found if rest is None else rest(found, budget)

    return selection


def _project(elements: Evaluate, rest: Evaluate | None, raw: bool, end: Any, steps: int) -> Evaluate:
    """The projection of `elements`, each through `rest`, which takes so many steps; an array unless `raw`."""

    def project(value: Any, budget: EvaluationBudget) -> Any:
        found = elements(value, budget)
        if found is None:
            return end
        if rest is not None:
            budget.charge(len(found) * steps)
            found = [result for element in found if (result := rest(element, budget)) is not NOTHING]
        return Projection(found) if raw else found

    return project


def _mapped_deep(projection: Projection, rest: Evaluate, budget: EvaluationBudget, steps: int) -> Projection:
    budget.charge(len(projection) * steps)
    return Projection(
        result
        for element in projection
        if (
            result := _mapped_deep(element, rest, budget, steps)
            if type(element) is Projection
            else rest(element, budget)
        )
        is not NOTHING
    )


def _flattening(source: Evaluate) -> Evaluate:
    def flatten(value: Any, budget: EvaluationBudget) -> Any:
        found = source(value, budget)
        if type(found) is not list:
            return None
        flat: list[Any] = []
        budget.charge(len(found) * _ELEMENT_STEPS)
        for element in found:
            if type(element) is list:
                budget.charge(len(element) * _ELEMENT_STEPS)
                flat += [inner for inner in element if inner is not None]
            elif element is not None:
                flat.append(element)
        return flat

    return flatten
