"""Rows of the buffer that hold what was a dead letter."""

from typing import Any, NamedTuple, Self

from medtech.storage.table import Entity


class Replayed(NamedTuple):
    """The letter that a row was made of, by its keys and the `count` that it had; `job` put it through.

    `relabel_unit`: a stored series in another unit is taken to be in the mapping's when these readings are merged.
    """

    letter_partition: str
    letter_row: str
    letter_count: int
    job: str
    relabel_unit: bool

    def properties(self) -> Entity:
        """As the row holds them."""
        return self._asdict()

    @classmethod
    def read(cls, entity: Entity) -> Self | None:
        """Of a row's entity; None if it was not made of a letter."""
        values: list[Any] = [entity.get(name) for name in cls._fields]
        if [type(value) for value in values] != [str, str, int, str, bool]:
            return None
        return cls(*values)
