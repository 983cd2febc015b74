"""The tables that the buffer is spread over: one in each storage account that the connection names.

New rows of a shard go to one account, by its number. Rows are looked for in all of them, since the list of accounts may
have changed after they were written, or an instance of the old deployment may still go by another list: where a row is
decides nothing but where it is deleted. The same batch, stored under two lists, is two rows with one key in two
accounts; a flush drops what it finds twice, as it does with redeliveries of other borders.
"""

from collections.abc import Callable, Iterator
from heapq import merge
from itertools import groupby

from medtech.storage.connection import Storage
from medtech.storage.table import Table


class ShardTables:
    """The first account's table is number 0."""

    def __init__(self, storage: Storage, name: str) -> None:
        """Raises SettingInvalid if the further accounts are misnamed."""
        further = storage.further()
        self._tables = (storage.table(name), *(account.storage.table(name) for account in further))
        self._homes = (0, *(number for number, account in enumerate(further, start=1) if not account.retired))

    def __getitem__(self, number: int) -> Table:
        return self._tables[number]

    def __iter__(self) -> Iterator[Table]:
        return iter(self._tables)

    def home(self, shard: int) -> int:
        """The number of the table that new rows of a shard go to."""
        return self._homes[shard % len(self._homes)]

    def in_order(self, found_in: Callable[[Table], Iterator[int]]) -> Iterator[int]:
        """What is found in any of the tables, each once; `found_in` gives it in rising order, and is asked on as far
        as the result is."""
        return (found for found, _ in groupby(merge(*map(found_in, self._tables))))
