"""Which letters replay jobs have in their hands: they are marked, waited for, and deleted when nothing holds them.

Everything is by ETag, and can be repeated: whoever comes a second time, after a crash, finds itself off the list or the
letter gone, and nothing happens.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from medtech.dead_letter.holders import UNMARKED, pack_holders, read_holders
from medtech.dead_letter.letter import Keys
from medtech.dead_letter.store import TABLE, delete_letter
from medtech.errors import StorageUnavailable
from medtech.storage.connection import Storage
from medtech.storage.table import TRANSACTION_OPERATIONS, Entity, Operation, quoted

_TRIES = 10


class Claim(NamedTuple):
    """A letter as it was read (`etag`), and what it is to wait for."""

    keys: Keys
    etag: str
    holders: Sequence[str]


class Release(NamedTuple):
    """Holders of a letter that are done, on behalf of the job that marked it with them."""

    keys: Keys
    job: str
    holders: frozenset[str]


class Marks:
    """The marks in the table of letters. Whatever asks storage raises StorageUnavailable when it is away."""

    def __init__(self, storage: Storage) -> None:
        self._table = storage.table(TABLE)

    def claim(self, job: str, claims: Sequence[Claim]) -> set[Keys]:
        """Marks letters, and returns those that had not changed since they were read: only they are the job's."""
        claimed: set[Keys] = set()
        for _, group in groupby(sorted(claims), key=lambda claim: claim.keys.partition_key):
            partition = list(group)
            marks = [
                Operation("merge", _keys(each.keys) | {"job": job, "holders": pack_holders(each.holders)}, each.etag)
                for each in partition
            ]
            results = self._table.change(marks)
            claimed.update(each.keys for each, result in zip(partition, results, strict=True) if result.status == 204)
        return claimed

    def give_back(self, claim: Claim) -> None:
        """Takes the mark off a letter that nothing is put through of, unless it changed since it was read."""
        self._table.change([Operation("merge", _keys(claim.keys) | UNMARKED, claim.etag)])

    def release(self, releases: Iterable[Release]) -> None:
        """Takes holders off their letters, and deletes each letter that has none left.

        Letters that are gone, written again, or in the hands of another job are left alone.
        """
        by_keys: dict[tuple[Keys, str], Release] = {}
        for each in releases:
            known = by_keys.setdefault((each.keys, each.job), each)
            by_keys[each.keys, each.job] = each._replace(holders=known.holders | each.holders)
        for _, group in groupby(sorted(by_keys.values()), key=lambda release: release.keys.partition_key):
            partition = list(group)
            for start in range(0, len(partition), TRANSACTION_OPERATIONS):
                self._release(partition[start : start + TRANSACTION_OPERATIONS])

    def holders(self, keys: Iterable[Keys]) -> dict[Keys, tuple[str, ...]]:
        """The holders of those of the letters that are marked, by whichever job."""
        found: dict[Keys, tuple[str, ...]] = {}
        for partition_key, group in groupby(sorted(keys), key=lambda each: each.partition_key):
            row_keys = [each.row_key for each in group]
            for row in self._marked(partition_key, row_keys[0], row_keys[-1]):
                found[Keys(partition_key, row["RowKey"])] = read_holders(row)
        return found

    def _release(self, chunk: list[Release]) -> None:
        """`chunk` is of one partition, in order."""
        first, last = chunk[0].keys, chunk[-1].keys
        for _ in range(_TRIES):
            stored = {row["RowKey"]: row for row in self._marked(first.partition_key, first.row_key, last.row_key)}
            changes: list[Operation] = []
            contested = False
            for keys, job, done in chunk:
                row = stored.get(keys.row_key)
                if row is None or row["job"] != job:
                    continue
                holders = read_holders(row)
                left = [holder for holder in holders if holder not in done]
                if len(left) == len(holders):
                    continue
                if left:
                    changes.append(Operation("merge", _keys(keys) | {"holders": pack_holders(left)}, row["etag"]))
                elif row["entities"] <= 1:
                    changes.append(Operation("delete", _keys(keys), row["etag"]))
                else:
                    contested |= not delete_letter(self._table, row)
            results = self._table.change(changes)
            if not contested and all(result.status in (204, 404) for result in results):
                return
        raise StorageUnavailable(
            "Table `deadletters`: other instances kept changing the same letters. They are tried again at the next "
            "flush or delivery."
        )

    def _marked(self, partition_key: str, first: str, last: str) -> Iterator[Entity]:
        condition = (
            f"PartitionKey eq {quoted(partition_key)} and RowKey ge {quoted(first)} and RowKey le {quoted(last)} "
            "and job gt ''"
        )
        return self._table.query(condition, select=["PartitionKey", "RowKey", "job", "holders", "entities"])

    def count(self, job: str, first: str, last: str) -> int:
        """How many letters of the partitions from `first` to `last` are in the hands of a job."""
        condition = f"PartitionKey ge {quoted(first)} and PartitionKey le {quoted(last)} and job eq {quoted(job)}"
        return sum(1 for _ in self._table.query(condition, select=["RowKey"]))


def _keys(keys: Keys) -> Entity:
    return {"PartitionKey": keys.partition_key, "RowKey": keys.row_key}
