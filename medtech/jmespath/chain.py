"""A JMESPath syntax tree as chains of steps.

The jmespath package nests a projection around the steps that follow it, and drops parentheses. JmesPath.Net applies
steps from left to right, whatever comes before them; so the chain is read off the tree in that order.
"""

from dataclasses import dataclass
from typing import Any, Final

from medtech.jmespath.syntax import Syntax


@dataclass(frozen=True, slots=True)
class Member:
    """`name`"""

    name: str


@dataclass(frozen=True, slots=True)
class Index:
    """`[position]`"""

    position: int


@dataclass(frozen=True, slots=True)
class Current:
    """`@` before a selection, where it is a step of its own: one that ends the chain on null."""


@dataclass(frozen=True, slots=True)
class Select:
    """A function, `[a, b]` or `{a: b}`: evaluated on the element, whatever that is."""

    node: Syntax


@dataclass(frozen=True, slots=True)
class EveryElement:
    """`[*]`"""


@dataclass(frozen=True, slots=True)
class EveryMember:
    """`*`"""


@dataclass(frozen=True, slots=True)
class Slice:
    """`[start:stop:step]`"""

    start: int | None
    stop: int | None
    step: int | None

    def of(self, array: list[Any]) -> list[Any]:
        """The elements at start, start + step, ... that the array has.

        Unlike Python, this does not move a start outside the array to its end: steps are counted from where it is.
        """
        step = self.step or 1
        start, stop, _ = slice(self.start, self.stop, step).indices(len(array))
        if self.start is not None:
            written = self.start if self.start >= 0 else self.start + len(array)
            start += (written - start) % step
        return array[start:stop:step] if step > 0 else [array[position] for position in range(start, stop, step)]


@dataclass(frozen=True, slots=True)
class Filter:
    """`[?condition]`"""

    condition: Syntax


@dataclass(frozen=True, slots=True)
class Flatten:
    """`[]`"""


Step = Member | Index | Current | Select | EveryElement | EveryMember | Slice | Filter | Flatten

PROJECTING = (EveryElement, EveryMember, Slice, Filter)
_SELECTORS = ("function_expression", "multi_select_list", "multi_select_dict")


def chain(node: Syntax) -> tuple[Syntax | None, list[Step]]:
    """What a chain starts from (None: the current node) and its steps from left to right."""
    kind, children = node["type"], node["children"]
    if kind in ("current", "identity"):
        return None, []
    if kind == "field":
        return None, [Member(node["value"])]
    if kind in _SELECTORS:
        return None, [Select(node)]
    if kind in ("subexpression", "index_expression"):
        base, steps = chain(children[0])
        further = [step for child in children[1:] for step in _bracket_or_chain(child)]
        if children[0]["type"] == "current" and isinstance(further[0], Select):
            steps = [Current()]
        return base, steps + further
    if kind == "flatten":
        base, steps = chain(children[0])
        return base, [*steps, Flatten()]
    if kind in ("projection", "value_projection", "filter_projection"):
        base, steps = chain(children[0])
        if kind == "value_projection":
            steps = [*steps, EveryMember()]
        elif kind == "filter_projection":
            steps = [*steps, Filter(children[2])]
        elif not _projects_itself(children[0]):
            steps = [*steps, EveryElement()]
        return base, steps + chain(children[1])[1]
    return node, []


def _bracket_or_chain(node: Syntax) -> list[Step]:
    if node["type"] == "index":
        return [Index(node["value"])]
    return [Slice(*node["children"])] if node["type"] == "slice" else chain(node)[1]


def _projects_itself(left: Syntax) -> bool:
    """The parser puts `[]` and slices to the left of a projection node; `[*]` is the node itself."""
    if left["type"] == "flatten":
        return True
    return bool(left["type"] == "index_expression" and left["children"][-1]["type"] == "slice")


_OBJECT_STEPS = 8
"""For each array or object that a selection makes."""


def weight(node: Syntax) -> int:
    """How many steps it takes to evaluate an expression once, without what is charged."""
    steps = 0
    waiting = [node]
    while waiting:
        node = waiting.pop()
        steps += 2 + _OBJECT_STEPS * node["type"].startswith("multi_select")
        waiting += [child for child in node["children"] if isinstance(child, dict)]
    return steps


def weight_of_steps(steps: list[Step]) -> int:
    return 1 + sum(
        weight(step.node) if isinstance(step, Select) else weight(step.condition) if isinstance(step, Filter) else 1
        for step in steps
    )


def makes_containers(node: Syntax) -> bool:
    """Whether the result may hold one container in several places; it may then be larger than what it is made of."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        if node["type"].startswith("multi_select") or node.get("value") == "merge":
            return True
        waiting += [child for child in node["children"] if isinstance(child, dict)]
    return False


WHOLE_ROOT: Final = "@"
"""Stands for the root itself among the names of its members; a member of this name counts as the whole root too."""


def root_names(node: Syntax) -> frozenset[str]:
    """The members of the root that the expression reads; WHOLE_ROOT if it needs the root itself."""
    base, steps = chain(node)
    if base is not None:
        if base["type"] == "pipe":
            return root_names(base["children"][0])
        return frozenset[str]().union(*map(root_names, base["children"]))
    first = steps[0] if steps else None
    if isinstance(first, Select):
        children = [
            child["children"][0] if child["type"] == "key_val_pair" else child for child in first.node["children"]
        ]
        return frozenset[str]().union(*(root_names(child) for child in children if child["type"] != "expref"))
    if isinstance(first, Member) and first.name != WHOLE_ROOT:
        return frozenset({first.name})
    return frozenset({WHOLE_ROOT})
