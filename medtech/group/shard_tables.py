"""The tables that the buffer is spread over: one in each storage account that the connection names.

New rows of a shard go to one account, by its number. Rows are looked for in all of them, since the list of accounts may
have changed after they were written, or an instance of the old deployment may still go by another list: where a row is
decides nothing but where it is deleted. The same batch, stored under two lists, is two rows with one key in two
accounts; a flush drops what it finds twice, as it does with redeliveries of other borders.

A further account that is away holds up its own shards, and no others. If rows of another shard wait in it, from a time
of another list, they are flushed when it is back, as a batch that comes late.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from heapq import merge
from itertools import chain, groupby, islice
from typing import TypeVar

from medtech import deadline
from medtech.deadline import Deadline, within
from medtech.errors import OutOfTime, StorageUnavailable
from medtech.storage.connection import Storage
from medtech.storage.further import SETTING
from medtech.storage.table import Table

Found = TypeVar("Found")
Asked = TypeVar("Asked")

ASKED_SECONDS = 10.0
"""What an account may take, for all that is asked of it at a time, that has nothing to say in all likelihood. A tick of
the fan-out has a minute, and asks all accounts at once."""

PROMPT_SECONDS = 0.5
"""So much of each answer does not count: an account that is well may hold hundreds of shards or, from a time of another
list, rows by the hundred thousand."""

AWAY_SECONDS = 25.0
"""An account that was away is not asked again before: it would be for each shard and each window. Less than a tick, so
that the next one finds it back."""


class ShardTables:
    """The first account's table is number 0."""

    def __init__(self, storage: Storage, name: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Raises SettingInvalid if the further accounts are misnamed."""
        further = storage.further()
        self._tables = (storage.table(name), *(account.storage.table(name) for account in further))
        self._homes = (0, *(number for number, account in enumerate(further, start=1) if not account.retired))
        self._places = ("", *(account.place for account in further))
        self._monotonic = monotonic
        self._away: dict[int, tuple[float, str]] = {}

    def __getitem__(self, number: int) -> Table:
        return self._tables[number]

    def __iter__(self) -> Iterator[Table]:
        return iter(self._tables)

    def home(self, shard: int) -> int:
        """The number of the table that new rows of a shard go to."""
        return self._homes[shard % len(self._homes)]

    def is_away(self, number: int) -> bool:
        """Whether the account of a table did not answer when it was last asked, however long ago."""
        return number in self._away

    def _lately_wrong(self, number: int) -> str | None:
        since, wrong = self._away.get(number, (-math.inf, None))
        return wrong if self._monotonic() - since < AWAY_SECONDS else None

    def away(self) -> list[StorageUnavailable]:
        """What is wrong with the accounts that did not answer when they were last asked, however long ago."""
        return [self._unavailable(number, wrong) for number, (_, wrong) in sorted(self._away.items())]

    def answering(self) -> list[Table]:
        """The tables but for those of the accounts that `away` tells."""
        return [table for number, table in enumerate(self._tables) if number not in self._away]

    def in_order(self, found_in: Callable[[Table], Iterator[int]]) -> Iterator[int]:
        """What is found in any of the tables, each once; `found_in` gives it in rising order, and is asked on as far
        as the result is."""
        return _each_once(map(found_in, self._tables))

    def within_reach(
        self, found_in: Callable[[int, Table], Iterator[Found]], shard: int | None = None
    ) -> list[Iterator[Found]]:
        """What is found in each table. One of a further account that is away has nothing; if `shard` is at home there,
        it raises StorageUnavailable.

        All are asked at once for what comes first: of several accounts that hang, the first would otherwise be asked
        again before the last has been given up.
        """
        searches = self._searches(found_in, shard)
        firsts = _side_by_side(searches, lambda found: list(islice(found, 1)))
        return [chain(first, found) for first, found in zip(firsts, searches, strict=True)]

    def all_within_reach(self, found_in: Callable[[int, Table], Iterator[Found]]) -> list[Found]:
        """All that is found in the tables that `within_reach` has, in no order. It takes as long as one account."""
        return list(chain.from_iterable(_side_by_side(self._searches(found_in, None), list)))

    def _searches(self, found_in: Callable[[int, Table], Iterator[Found]], shard: int | None) -> list[Iterator[Found]]:
        home = 0 if shard is None else self.home(shard)
        return [
            found_in(number, table)
            if number == 0
            else self._asked(number, found_in(number, table), is_home=number == home)
            for number, table in enumerate(self._tables)
        ]

    def in_order_within_reach(self, found_in: Callable[[Table], Iterator[int]], shard: int) -> Iterator[int]:
        """As `in_order`, of the tables that `within_reach` has."""
        return _each_once(self.within_reach(lambda _, table: found_in(table), shard))

    def _asked(self, number: int, found: Iterator[Found], *, is_home: bool) -> Iterator[Found]:
        seconds = math.inf if is_home else ASKED_SECONDS
        while True:
            if (wrong := self._lately_wrong(number)) is not None:
                if is_home:
                    raise self._unavailable(number, wrong)
                return
            began = self._monotonic()
            try:
                # A generator is run in the context of who asks it, so that this holds for the next element alone.
                with within(Deadline(min(seconds, deadline.seconds_left()), self._monotonic)):
                    each = next(found)
            except StopIteration:
                self._away.pop(number, None)
                return
            except (StorageUnavailable, OutOfTime) as error:
                if not deadline.seconds_left():
                    raise
                wrong = "No answer in time." if isinstance(error, OutOfTime) else error.message
                self._away[number] = self._monotonic(), wrong
                if is_home:
                    raise self._unavailable(number, wrong) from None
                return
            self._away.pop(number, None)
            # What the consumer does with it, such as to flush a window, is not the account's time.
            seconds -= max(0.0, self._monotonic() - began - PROMPT_SECONDS)
            yield each

    def _unavailable(self, number: int, wrong: str) -> StorageUnavailable:
        place = self._places[number]
        return StorageUnavailable(
            f"Account {place} of {SETTING}: {wrong} Its shards wait, the others go on.", account=place
        )


def _each_once(found: Iterable[Iterator[int]]) -> Iterator[int]:
    return (each for each, _ in groupby(merge(*found)))


def _side_by_side(searches: Sequence[Iterator[Found]], ask: Callable[[Iterator[Found]], Asked]) -> list[Asked]:
    if len(searches) == 1:
        return [ask(searches[0])]
    with ThreadPoolExecutor(len(searches), thread_name_prefix="accounts") as pool:
        # Each in a copy of this context: it holds the deadline, and what is counted.
        answers = [pool.submit(copy_context().run, ask, found) for found in searches]
        return [answer.result() for answer in answers]
