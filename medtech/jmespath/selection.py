"""What of an expression can be told without evaluating it: where it filters an array, and what its condition requires.

An element may be passed over only where its condition is surely false, and is known to be so without a function being
called: a call may fail, and then the whole expression does.
"""

from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from medtech.dotnet.tokens import is_date
from medtech.jmespath.chain import (
    PROJECTING,
    Filter,
    Flatten,
    Member,
    Select,
    Step,
    chain,
    weight,
    weight_of_steps,
)
from medtech.jmespath.syntax import Syntax
from medtech.selection import ANYTHING, Requirement, Trait, both, either

Part = Syntax | list[Step]
"""An expression, or steps from the current node on."""


@dataclass(frozen=True, slots=True)
class SplitExpression:
    """The parts before a filter, and those from the filter on; each is evaluated on what the one before it gives.

    `source` is a text that parts with the same meaning have in common.
    """

    source: str
    weight: int
    before: list[Part]
    after: list[Part]
    required: Requirement


def split_at_filter(tree: Syntax) -> SplitExpression | None:
    """The parts around a filter that requires something of objects; None if there is none.

    Of several that pipes join, the last that compares with a constant is taken, else the last: expressions that differ
    only from there on have most in common.
    """
    segments = _segments(tree)
    found: SplitExpression | None = None
    for number, segment in reversed(list(enumerate(segments))):
        base, steps = chain(segment)
        place = next((place for place, step in enumerate(steps) if isinstance(step, (*PROJECTING, Flatten))), None)
        filtering = steps[place] if base is None and place is not None else None
        required = requirement(filtering.condition) if isinstance(filtering, Filter) else None
        if required is None:
            continue
        before: list[Part] = [*segments[:number], steps[:place]]
        steps_before = sum(map(weight, segments[:number])) + weight_of_steps(steps[:place])
        after: list[Part] = [steps[place:], *segments[number + 1 :]]
        split = SplitExpression(" | ".join(map(_described, before)), steps_before, before, after, required)
        if any(trait.constant is not ANYTHING for traits in required for trait in traits):
            return split
        found = found or split
    return found


def leading_names(tree: Syntax) -> tuple[str, ...]:
    """The member names that a chain follows before it does anything else: null where they lead nowhere."""
    base, steps = chain(tree)
    names = takewhile(lambda step: isinstance(step, Member), steps)
    return () if base is not None else tuple(step.name for step in names if isinstance(step, Member))


def requirement(condition: Syntax) -> Requirement | None:
    """None: the condition may hold for any element, or fail on it."""
    kind, children = condition["type"], condition["children"]
    if kind == "and_expression":
        left, right = children
        # The right side is evaluated only where the left one holds.
        return both(requirement(left), requirement(right) if _never_fails(left) else None)
    if kind == "or_expression":
        return either(map(requirement, children))
    if kind == "comparator":
        return _required_by_comparison(condition) if _never_fails(condition) else None
    names = leading_names(condition)
    return (frozenset((Trait(names),)),) if names else None


def _required_by_comparison(comparison: Syntax) -> Requirement | None:
    """Of `name == constant`, or of an order between a name and a number: null is neither."""
    for side, other in (comparison["children"], reversed(comparison["children"])):
        names = leading_names(side)
        if not names or other["type"] != "literal":
            continue
        constant = other["value"]
        if comparison["value"] == "eq" and _is_plain(side, names) and _is_indexed(constant):
            return (frozenset((Trait(names, constant),)),)
        if type(constant) is int or type(constant) is float:
            return None if comparison["value"] == "ne" else (frozenset((Trait(names),)),)
    return None


def _is_plain(node: Syntax, names: tuple[str, ...]) -> bool:
    """Whether a chain is nothing but these names."""
    return len(chain(node)[1]) == len(names)


def _is_indexed(constant: Any) -> bool:
    """Whether only one token equals it. Null equals what is not there, and a date every date of its time."""
    kind = type(constant)
    return kind is int or kind is bool or (isinstance(constant, str) and not is_date(constant))


def _never_fails(node: Syntax) -> bool:
    """Only functions fail."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        if node["type"] == "function_expression":
            return False
        waiting += [child for child in node["children"] if isinstance(child, dict)]
    return True


def _segments(tree: Syntax) -> list[Syntax]:
    """What pipes join."""
    segments: list[Syntax] = []
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if node["type"] == "pipe":
            waiting += reversed(node["children"])
        else:
            segments.append(node)
    return segments


def _described(part: Part) -> str:
    """A text that tells apart what has different meanings: `'x'` and `"x"`, which may be a date, too."""
    if isinstance(part, list):
        return ".".join(_described(step.node) if isinstance(step, Select) else repr(step) for step in part)
    children = [_described(child) if isinstance(child, dict) else repr(child) for child in part["children"]]
    value = part.get("value")
    return f"{part['type']} {type(value).__name__} {value!r}({', '.join(children)})"
