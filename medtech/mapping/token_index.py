"""Which of many conditions may hold for an object: looked up by what the object has, not by going through them."""

from collections import Counter
from collections.abc import Iterable
from typing import Any, Generic, TypeVar

from medtech.selection import ANYTHING, Requirement, Trait

Entry = TypeVar("Entry")

_LONGEST_PATH = 8
"""Names of a path that are looked at: a look-up takes one call for each."""

Wanted = tuple[Entry, frozenset[str]]
"""An entry, and the names that the object must have besides what was looked up."""


class TokenIndex(Generic[Entry]):
    """Entries by what they require of an object.

    Each alternative of an entry is filed under the one of its traits that the fewest others ask for. An object then
    leads to the entries filed under its names, or under the constants that it holds there.
    """

    def __init__(self, entries: Iterable[tuple[Requirement, Entry]]) -> None:
        filed = [(alternative, entry) for required, entry in entries for alternative in required]
        asked = Counter(trait for alternative, _ in filed for trait in alternative)
        self.top = Node[Entry]()
        for alternative, entry in filed:
            rarest = min(alternative, key=lambda trait: (asked[trait], *_preference(trait)))
            names = frozenset(trait.path[0] for trait in alternative) - {rarest.path[0]}
            self.top.file(rarest, (entry, names))

    def wanted(self, token: Any) -> list[Wanted[Entry]]:
        """The entries that may hold for a token, in no order of theirs; one may come twice."""
        return self.top.below(token) if type(token) is dict else []


def _preference(trait: Trait) -> tuple[bool, int, tuple[str, ...], str]:
    """Of traits that are asked for equally often: a constant before a name, a longer path before a shorter one."""
    return trait.constant is ANYTHING, -len(trait.path), trait.path, repr(trait.constant)


class Node(Generic[Entry]):
    """What is filed under one path of names: entries that ask no more, entries by constant, and longer paths."""

    __slots__ = ("by_constant", "names", "of_integers", "present")

    def __init__(self) -> None:
        self.names: dict[str, Node[Entry]] = {}
        self.present: list[Wanted[Entry]] = []
        self.by_constant: dict[Any, list[Wanted[Entry]]] = {}
        self.of_integers: list[Wanted[Entry]] = []

    def file(self, trait: Trait, entry: Wanted[Entry]) -> None:
        node = self
        for name in trait.path[:_LONGEST_PATH]:
            node = node.names.setdefault(name, Node())
        if trait.constant is ANYTHING or len(trait.path) > _LONGEST_PATH:
            node.present.append(entry)
            return
        node.by_constant.setdefault(trait.constant, []).append(entry)
        if type(trait.constant) is int:
            node.of_integers.append(entry)

    @property
    def is_leaf(self) -> bool:
        """Whether only the presence of the path is asked."""
        return not self.names and not self.by_constant

    def wanting(self, token: Any) -> list[Wanted[Entry]]:
        """The entries for a token at the end of the path."""
        kind = type(token)
        if kind is dict:
            return self.present + self.below(token) if self.names else self.present
        if not self.by_constant or kind is list:
            return self.present
        # A fraction equals integers that are near enough: what that means is not for this index to say.
        found = self.of_integers if kind is float else self.by_constant.get(token)
        return self.present + found if found else self.present

    def below(self, token: dict[str, Any]) -> list[Wanted[Entry]]:
        found: list[Wanted[Entry]] = []
        names = self.names
        for name in token:
            if name in names:
                found += names[name].wanting(token[name])
        return found
