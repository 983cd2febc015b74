"""Which texts are schedules."""

import pytest

from medtech.setup.schedule import fault_in


@pytest.mark.parametrize(
    "schedule",
    [
        "*/30 * * * * *",
        "0 0 0 1 1 *",
        "0 5,10-20/2,*/15 8-18 * Jan-Mar Mon-friday",
        "59 59 23 31 12 6",
        "  0  0 12 * * SUN ",
        "*/5 * * * *",
        "0 9-17 * Ja M",
        "00:00:30",
        "1.12:00:00",
        "00:05",
        "1",
        "%OFTEN%",
        "0 */%MINUTES% * * * *",
    ],
)
def test_a_schedule(schedule: str) -> None:
    assert fault_in(schedule) is None


@pytest.mark.parametrize(
    ("schedule", "told"),
    [
        ("", "0 fields"),
        ("* * * *", "4 fields"),
        ("* 24 * * *", "`hour`"),
        ("0 0 0 * * * 2026", "7 fields"),
        ("00:05:00:00", "1 fields"),
        ("00-05-00", "1 fields"),
        ("60 * * * * *", "`second`"),
        ("* 0-60 * * * *", "`minute`"),
        ("* * 24 * * *", "`hour`"),
        ("* * * 0 * *", "`day`"),
        ("* * * ? * *", "`day`"),
        ("* * * L * *", "`day`"),
        ("* * * * 13 *", "`month`"),
        ("* * * * jam *", "`month`"),
        ("* * * * * 7", "`weekday`"),
        ("* * * * * January", "`weekday`"),
        ("*/x * * * * *", "`second`"),
        ("1, * * * * *", "`second`"),
        ("-5 * * * * *", "`second`"),
        ("٣ * * * * *", "`second`"),
    ],
)
def test_what_the_timer_cannot_read(schedule: str, told: str) -> None:
    fault = fault_in(schedule)
    assert fault is not None
    assert told in fault
