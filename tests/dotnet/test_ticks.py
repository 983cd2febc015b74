from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medtech.dotnet.ticks import MAX_TICKS, floor, format_compact, format_iso, from_datetime

MOMENTS = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59))


@given(MOMENTS, st.integers(0, 9))
def test_times_are_written_with_seven_digits(moment: datetime, tenths: int) -> None:
    ticks = from_datetime(moment) + tenths
    assert format_iso(ticks) == f"{moment.replace(tzinfo=None).isoformat('T', 'microseconds')}{tenths}Z"
    assert format_compact(ticks) == moment.isoformat("T", "seconds").translate({ord(mark): None for mark in "-:T"})


@pytest.mark.parametrize(
    ("ticks", "iso"), [(0, "0001-01-01T00:00:00.0000000Z"), (MAX_TICKS, "9999-12-31T23:59:59.9999999Z")]
)
def test_the_first_and_the_last_tick(ticks: int, iso: str) -> None:
    assert format_iso(ticks) == iso
    assert format_compact(ticks) == iso[:19].translate({ord(mark): None for mark in "-:T"})


def test_a_time_without_a_zone_is_utc() -> None:
    assert from_datetime(datetime(2024, 2, 29)) == from_datetime(datetime(2024, 2, 29, tzinfo=UTC))


def test_floor_counts_from_the_year_1() -> None:
    assert floor(25, 10) == 20
