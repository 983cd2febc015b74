"""What a flush does for rows that were dead letters.

The letter of such a row goes when its readings are settled: written to the FHIR server, or kept in letters that go on
from its count. The order is FHIR server, newer letters, letter, row, so that whatever is cut short is done again.
"""

from collections.abc import Iterable, Sequence

from medtech.dead_letter.letter import Keys, Letter
from medtech.dead_letter.marks import Marks, Release
from medtech.group.buffer import Buffer
from medtech.group.reading import Row
from medtech.group.replayed import Replayed
from medtech.group.windows import row_name

_ROWS_AT_ONCE = 1000
"""When the time ends between letters and rows, that many rows are flushed once more."""


def relabels_unit(rows: Iterable[Row]) -> bool:
    """Whether what these rows hold may be merged into a series under another unit.

    One of them is enough. Its readings make the stored unit the mapping's, so that the readings of the others, which
    are in the mapping's unit as well, would fit a moment later: as dead letters they would only have to be replayed.
    """
    return any(row.replayed is not None and row.replayed.relabel_unit for row in rows)


def counted(letter: Letter, rows: Iterable[Row], counts: dict[Keys, int]) -> Letter:
    """The letter of a measurement that these rows hold; `counts` gets what it goes on counting from, if it had failed
    before."""
    for row in rows:
        if row.replayed is not None:
            counts[letter.keys] = max(counts.get(letter.keys, 0), row.replayed.letter_count)
    return letter


def delete_settled(buffer: Buffer, marks: Marks, rows: Sequence[Row]) -> None:
    """Deletes rows that are done, those of letters once the letters are settled. Raises StorageUnavailable."""
    buffer.delete(row for row in rows if row.replayed is None)
    of_letters = [row for row in rows if row.replayed is not None]
    for start in range(0, len(of_letters), _ROWS_AT_ONCE):
        part = of_letters[start : start + _ROWS_AT_ONCE]
        marks.release(_release(row, row.replayed) for row in part if row.replayed is not None)
        buffer.delete(part)


def _release(row: Row, replayed: Replayed) -> Release:
    name = row_name(row.partition_key, row.row_key)
    return Release(Keys(replayed.letter_partition, replayed.letter_row), replayed.job, frozenset([name]))
