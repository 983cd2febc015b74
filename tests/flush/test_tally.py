"""The log line of a flush."""

import logging

import pytest

from medtech.flush.tally import Tally


def _line(tally: Tally, caplog: pytest.LogCaptureFixture) -> str:
    with caplog.at_level(logging.INFO):
        tally.log(1.0)
    return caplog.text


def test_superseded_readings_are_told_by_type(caplog: pytest.LogCaptureFixture) -> None:
    tally = Tally(windows=1)
    for counts in ({"heartrate": 8}, {"steps": 4, "heartrate": 1}):
        other = Tally()
        other.superseded.update(counts)
        tally.add(other)
    assert "13 superseded (heartrate: 9, steps: 4), " in _line(tally, caplog)


def test_of_many_types_a_few_are_named(caplog: pytest.LogCaptureFixture) -> None:
    tally = Tally(windows=1)
    tally.superseded.update({f"type{n}": 100 - n for n in range(30)})
    line = _line(tally, caplog)
    assert "type4: 96, others: 2075)" in line
    assert "type5" not in line


def test_without_any_no_type_is_named(caplog: pytest.LogCaptureFixture) -> None:
    assert "0 superseded, " in _line(Tally(windows=1), caplog)
