"""Which tokens of a message each template takes.

Most type match expressions are `$..[?(...)]`: they ask every token of the document. All whose condition can only be
true of an object with certain properties share one walk, and each is asked only where those properties are. What
remains is evaluated by itself, template by template.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from medtech.mapping.expression import EvaluationFailed

Matches = dict[int, list[Any]]
"""The tokens found, by template, in the order of the document; a template that found none is left out."""

Failed = dict[int, EvaluationFailed]
"""Templates whose type match expression fails on the message."""

Condition = Callable[[Any, Any], bool]
"""(candidate, document): whether the filter takes it; raises EvaluationFailed."""


@dataclass(frozen=True, slots=True)
class Scan:
    """`$..[?(condition)]` where the condition is false of all but objects with every name of one of `required`.

    `condition` is None where that is all it asks.
    """

    template: int
    required: tuple[frozenset[str], ...]
    condition: Condition | None


@dataclass(frozen=True, slots=True)
class Search:
    """Any other type match expression: document to tokens. Raises EvaluationFailed."""

    template: int
    find: Callable[[Any], list[Any]]


class Matcher:
    """All type match expressions of a mapping."""

    def __init__(self, finders: Iterable[Scan | Search]) -> None:
        self._searches: list[Search] = []
        self._asked: dict[str, list[tuple[int, tuple[str, ...], Condition | None]]] = {}
        self.reads_values = False
        for scan in finders:
            if isinstance(scan, Search):
                self._searches.append(scan)
                self.reads_values = True
                continue
            self.reads_values |= scan.condition is not None
            for required in scan.required:
                first, *others = sorted(required)
                self._asked.setdefault(first, []).append((scan.template, tuple(others), scan.condition))
        self._names = frozenset(self._asked)

    def may_take(self, properties: Mapping[str, Any]) -> bool:
        """May this object, or one inside of it, be a match? Only asked where values are not read."""
        if not self._names.isdisjoint(properties):
            return True
        for value in properties.values():  # noqa: SIM110 - any() with a generator takes twice as long
            if type(value) is dict or type(value) is list:
                return True
        return False

    def find(self, document: dict[str, Any], failed: Failed) -> Matches:
        """The matches of one message. Templates whose expression fails on it are put into `failed`; they match none."""
        matches: Matches = {}
        if self._names:
            self._walk(document, matches, failed)
        for search in self._searches:
            try:
                tokens = search.find(document)
            except EvaluationFailed as error:
                failed[search.template] = error
            else:
                if tokens:
                    matches[search.template] = tokens
        for template in failed:
            matches.pop(template, None)
        return matches

    def _walk(self, document: dict[str, Any], matches: Matches, failed: Failed) -> None:
        """Every object of the document, parents before what is below them."""
        has_none_of = self._names.isdisjoint
        if not has_none_of(document):
            self._ask(document, document, matches, failed)
        waiting = [part for part in reversed(document.values()) if part and (type(part) is dict or type(part) is list)]
        take, put = waiting.pop, waiting.append
        while waiting:
            container = take()
            if type(container) is dict:
                if not has_none_of(container):
                    self._ask(container, document, matches, failed)
                container = container.values()
            for child in reversed(container):
                if type(child) is dict or type(child) is list:
                    put(child)

    def _ask(self, candidate: dict[str, Any], document: dict[str, Any], matches: Matches, failed: Failed) -> None:
        asked = self._asked
        for name in asked if len(asked) <= len(candidate) else candidate:
            if name not in asked or name not in candidate:
                continue
            for template, others, condition in asked[name]:
                if others and not all(map(candidate.__contains__, others)):
                    continue
                tokens = matches.get(template)
                if tokens is not None and tokens[-1] is candidate:
                    continue  # taken already, by another of its properties
                if condition is not None:
                    if template in failed:
                        continue
                    try:
                        if not condition(candidate, document):
                            continue
                    except EvaluationFailed as error:
                        failed[template] = error
                        continue
                if tokens is None:
                    matches[template] = [candidate]
                else:
                    tokens.append(candidate)
