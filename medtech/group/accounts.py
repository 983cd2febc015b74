"""Which storage accounts the buffer has been written to, so that one which is taken off the list too early is told.

Rows of the first account's table `buffer`, behind all of its shards:

    PartitionKey  `~accounts`   RowKey  the place of a further account's tables   `written`  ticks, as text

A row is there before the buffer's first row goes to its account, and is renewed while an instance writes there. It goes
once a retired account is found empty and no instance has written to it for a while. With one account there are none.
"""

import time
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import NamedTuple

from medtech.dotnet import ticks
from medtech.errors import StorageUnavailable
from medtech.storage.connection import Storage
from medtech.storage.further import SETTING
from medtech.storage.table import Entity, Operation, quoted

TABLE = "buffer"

PARTITION_KEY = "~accounts"
"""Behind `~`, up to which rows are looked for: no version takes it for one of the buffer's own partitions."""

RENEW_SECONDS = 300.0

QUIET_SECONDS = 900
"""Instances of the deployment before, which go by a list on which the account is not retired, are gone by then; if not,
they have renewed its row."""

_ALL = f"PartitionKey eq {quoted(PARTITION_KEY)}"


class Standing(StrEnum):
    IN_USE = "in use"
    EMPTYING = "emptying"
    EMPTIED = "emptied"
    LEFT_OUT = "left out"
    WAS_FIRST = "was first"


class Account(NamedTuple):
    """A further account by its place, and how it stands."""

    place: str
    standing: Standing

    @property
    def advice(self) -> str:
        """What to do; empty if nothing is."""
        return {
            Standing.IN_USE: "",
            Standing.EMPTYING: f"Storage account {self.place} is being emptied: leave it on {SETTING} until then.",
            Standing.EMPTIED: f"Storage account {self.place} is empty: take it off {SETTING}.",
            Standing.LEFT_OUT: f"Readings may wait in storage account {self.place}, which {SETTING} does not name any "
            "more. Add it again, with - before it, until it is empty.",
            Standing.WAS_FIRST: f"Storage account {self.place} has been the first one: dead letters, jobs, mappings "
            "in force and watches stay there unseen. Make it the first one again.",
        }[self.standing]


class Accounts:
    """The further accounts of a connection. Whatever asks storage raises StorageUnavailable."""

    def __init__(self, storage: Storage, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._further = storage.further()
        self._register = storage.table(TABLE)
        self._monotonic = monotonic
        self._noted: dict[int, float] = {}

    def note(self, number: int) -> None:
        """Before a row goes to the table of the further account `number`, from 1 on; 0 is the first account's."""
        if number == 0:
            return
        now, noted = self._monotonic(), self._noted.get(number)
        if noted is not None and now - noted < RENEW_SECONDS:
            return
        # Without a lock: rows are written side by side, and each would wait for all before it where nothing answers.
        self._register.upsert({**_keys(self._further[number - 1].place), "written": str(ticks.now())})
        self._noted[number] = now

    def look(self) -> list[Account]:
        """Every account that is named or still known. Each named one is asked."""
        known = self._known()
        found = []
        for account in self._further:
            try:
                was_first = account.storage.table(TABLE).first(_ALL, select=["RowKey"]) is not None
            except StorageUnavailable as error:
                raise StorageUnavailable(f"Account {account.place} of {SETTING}: {error.message}") from None
            standing = Standing.IN_USE
            if was_first:
                standing = Standing.WAS_FIRST
            elif account.retired:
                standing = Standing.EMPTYING if account.place in known else Standing.EMPTIED
            found.append(Account(account.place, standing))
        return found + self._left_out(known)

    def left_out(self) -> list[Account]:
        """Accounts that rows went to and that are not named any more."""
        return self._left_out(self._known())

    def _left_out(self, known: Iterable[str]) -> list[Account]:
        named = {account.place for account in self._further}
        return [Account(place, Standing.LEFT_OUT) for place in sorted(set(known) - named)]

    def forget_emptied(self, now: int) -> None:
        """Retired accounts that have no rows and were not written to for QUIET_SECONDS before `now` (ticks)."""
        if not any(account.retired for account in self._further):
            return
        known = self._known()
        for account in self._further:
            row = known.get(account.place)
            if not account.retired or row is None:
                continue
            if now - _written(row) < QUIET_SECONDS * ticks.TICKS_PER_SECOND:
                continue
            if account.storage.table(TABLE).first("PartitionKey ne ''", select=["PartitionKey"]) is None:
                # By its etag: an instance may just have renewed it.
                self._register.change([Operation("delete", _keys(account.place), row["etag"])])

    def _known(self) -> dict[str, Entity]:
        """The rows of accounts, by their places."""
        return {_place(row): row for row in self._register.query(_ALL, select=["PartitionKey", "RowKey", "written"])}


def _keys(place: str) -> Entity:
    # A key has no slash.
    return {"PartitionKey": PARTITION_KEY, "RowKey": place.replace("/", "|")}


def _written(row: Entity) -> int:
    text = str(row.get("written"))
    return int(text) if text.isdecimal() else 0


def _place(row: Entity) -> str:
    key: str = row["RowKey"]
    return key.replace("|", "/")
