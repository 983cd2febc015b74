"""The tables of a comparison, in a real Azurite: what is counted once, kept, found again, and deleted."""

import re
from hashlib import sha256

import pytest

from medtech.comparison import store
from medtech.comparison.store import (
    COUNTS_TABLE,
    DIFFERENCES_TABLE,
    MOST_KEPT,
    ComparedElsewhere,
    Comparisons,
    Judged,
    Sides,
)
from medtech.dotnet import ticks
from medtech.storage.connection import Storage

NOON = 637_826_832_000_000_000  # 2022-03-12T12:00:00Z
DAY = ticks.TICKS_PER_DAY


def judged(number: int, outcome: str = "absent", type_name: str = "hr") -> Judged:
    sides = (
        None if outcome == "same" else (b'{"n":%d,"value":98.60}' % number, b"{}" if outcome == "different" else None)
    )
    return Judged(sha256(b"%d" % number).hexdigest(), type_name, outcome, ("value",), sides=sides)


@pytest.fixture
def comparisons(storage: Storage) -> Comparisons:
    return Comparisons(storage)


def counts(comparisons: Comparisons, since: int | None = None) -> dict[str, dict[str, int]]:
    return {each.type: dict(each.outcomes) for each in comparisons.types(since)}


def test_counts_of_windows_and_shards_are_summed_by_type(comparisons: Comparisons) -> None:
    comparisons.of(0, NOON).add([judged(1, "same"), judged(2), judged(3, "different", "spo2")], NOON)
    comparisons.of(1, NOON).add([judged(4, "same")], NOON)
    comparisons.of(0, NOON + DAY).add([judged(1, "same")], NOON)
    assert counts(comparisons) == {"hr": {"same": 3, "absent": 1}, "spo2": {"different": 1}}
    [hr, _] = comparisons.types()
    assert (hr.compared, hr.first_window, hr.last_window) == (4, NOON, NOON + DAY)
    assert counts(comparisons, since=NOON + DAY) == {"hr": {"same": 1}}
    assert [each.type for each in comparisons.types(type_name="spo2")] == ["spo2"]


def test_an_observation_counts_once_for_a_window_whoever_counts_it_again(comparisons: Comparisons) -> None:
    record = comparisons.of(0, NOON)
    assert record.add([judged(1), judged(2)], NOON) == [judged(1), judged(2)]
    assert record.add([judged(2), judged(3)], NOON) == [judged(3)]
    # As after a kill: what is known is in the table alone.
    assert comparisons.of(0, NOON).add([judged(1, "same"), judged(3), judged(4)], NOON) == [judged(4)]
    assert counts(comparisons) == {"hr": {"absent": 4}}


def test_many_observations_go_over_several_rows(comparisons: Comparisons, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_OBSERVATIONS_PER_ROW", 3)
    for _ in range(2):
        record = comparisons.of(0, NOON)
        for start in range(0, 10, 5):
            record.add([judged(number, "same") for number in range(start, start + 5)], NOON)
    assert counts(comparisons) == {"hr": {"same": 10}}
    assert comparisons.of(0, NOON).add([judged(number, "same") for number in range(11)], NOON) == [judged(10, "same")]


def test_two_instances_do_not_count_over_each_other(comparisons: Comparisons) -> None:
    one, other = comparisons.of(0, NOON), comparisons.of(0, NOON)
    one.add([judged(1)], NOON)
    other.add([judged(2)], NOON)
    with pytest.raises(ComparedElsewhere):
        one.add([judged(3)], NOON)
    assert counts(comparisons) == {"hr": {"absent": 2}}


def test_a_difference_is_found_again_with_both_sides(comparisons: Comparisons) -> None:
    comparisons.of(2, NOON).add([judged(1, "different"), judged(2), judged(3, "same")], NOON)
    found = {each.outcome: each for each in comparisons.differences()}
    assert set(found) == {"different", "absent"}
    assert re.fullmatch(r"20220312120000-002-[0-9a-f]{16}", found["absent"].id)
    assert comparisons.find(found["different"].id) == (found["different"], Sides(b'{"n":1,"value":98.60}', b"{}"))
    assert comparisons.find(found["absent"].id) == (found["absent"], Sides(b'{"n":2,"value":98.60}', None))
    assert comparisons.find("20220312120000-002-" + 16 * "0") is None
    for nonsense in ("", "x", "20220312120000-002-' or '1", found["absent"].id + "0"):
        with pytest.raises(ValueError, match="not the ID"):
            comparisons.find(nonsense)


def test_of_many_alike_the_first_are_kept_and_all_counted(comparisons: Comparisons) -> None:
    comparisons.of(0, NOON).add([judged(number) for number in range(MOST_KEPT - 10)], NOON)
    comparisons.of(0, NOON).add([judged(number) for number in range(MOST_KEPT + 50)], NOON)
    assert counts(comparisons) == {"hr": {"absent": MOST_KEPT + 50}}
    assert len(list(comparisons.differences())) == MOST_KEPT


def test_sides_that_no_row_holds_are_left_out(comparisons: Comparisons, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "ROW_BYTES", 10)
    comparisons.of(0, NOON).add([judged(1)], NOON)
    [found] = comparisons.differences()
    assert comparisons.find(found.id) == (found, Sides(None, None))


def test_what_is_too_old_goes_from_both_tables(comparisons: Comparisons, storage: Storage) -> None:
    for days in (31, 29):
        comparisons.of(0, NOON - days * DAY).add([judged(1), judged(2, "same")], NOON - days * DAY)
    # Events of long ago, which are compared today.
    comparisons.of(1, NOON - 40 * DAY).add([judged(3, "same")], NOON)
    assert comparisons.expire(NOON, 30) == 1
    assert counts(comparisons) == {"hr": {"absent": 1, "same": 2}}
    assert comparisons.clear() == 1
    for table in (COUNTS_TABLE, DIFFERENCES_TABLE):
        assert storage.table(table).first("PartitionKey ne ''") is None


def test_no_row_of_the_counts_holds_a_value(comparisons: Comparisons, storage: Storage) -> None:
    comparisons.of(0, NOON).add([judged(1)], NOON)
    assert "98.60" not in repr(list(storage.table(COUNTS_TABLE).query("PartitionKey ne ''")))
