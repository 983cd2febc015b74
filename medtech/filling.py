"""What is sent together: as many things as one request takes, by their number and by their size."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def filled(
    items: Iterable[Item], size_of: Callable[[Item], int], *, most: int, most_bytes: int
) -> Iterator[list[Item]]:
    """The items, in order, in lists of up to `most` that take up to `most_bytes` in all; a larger one goes alone."""
    together: list[Item] = []
    taken = 0
    for item in items:
        size = size_of(item)
        if together and (len(together) == most or taken + size > most_bytes):
            yield together
            together, taken = [], 0
        together.append(item)
        taken += size
    if together:
        yield together
