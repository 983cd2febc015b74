from typing import Any

import pytest

from medtech.dotnet.ticks import format_iso
from medtech.errors import ConversionError
from medtech.transform.effective import read_effective

WHOLE = ("2022-03-12T10:00:00.0000000Z", "2022-03-12T10:00:59.9999999Z", "2022-03-12T10:00:59.9999999Z")


@pytest.mark.parametrize(
    ("observation", "expected"),
    [
        ({"effectivePeriod": {"start": WHOLE[0], "end": WHOLE[1]}}, WHOLE),
        (
            {"effectivePeriod": {"start": "2022-03-12T11:00:00+01:00", "end": "2022-03-12T09:00:59.999-01:00"}},
            (WHOLE[0], "2022-03-12T10:00:59.9990000Z", WHOLE[2]),
        ),
        ({"effectivePeriod": {"start": WHOLE[0]}}, (WHOLE[0], None, None)),
        ({"effectivePeriod": {"end": WHOLE[1]}}, (None, WHOLE[1], WHOLE[1])),
        ({"effectiveInstant": WHOLE[1]}, (WHOLE[1],) * 3),
        (
            {"effectiveDateTime": "2022-03-12T10:00:00Z"},
            (WHOLE[0], WHOLE[0], "2022-03-12T10:00:00.9999999Z"),
        ),
        (
            {"effectiveDateTime": "2024-02"},
            ("2024-02-01T00:00:00.0000000Z", "2024-02-29T23:59:59.9999999Z", "2024-02-29T23:59:59.9999999Z"),
        ),
        (
            {"effectiveDateTime": "9999"},
            ("9999-01-01T00:00:00.0000000Z", "9999-12-31T23:59:59.9999999Z", "9999-12-31T23:59:59.9999999Z"),
        ),
        (
            {"effectiveDateTime": "9999-12"},
            ("9999-12-01T00:00:00.0000000Z", "9999-12-31T23:59:59.9999999Z", "9999-12-31T23:59:59.9999999Z"),
        ),
        (
            {"effectiveDateTime": "2016-12-31T23:59:60Z"},
            ("2017-01-01T00:00:00.0000000Z",) * 2 + ("2017-01-01T00:00:00.9999999Z",),
        ),
        (
            {"effectivePeriod": {"start": "0001-01-01T00:00:00+01:00", "end": "9999-12-31T23:59:59-01:00"}},
            ("0001-01-01T00:00:00.0000000Z",) + ("9999-12-31T23:59:59.9999999Z",) * 2,
        ),
        ({"effectiveInstant": "9999-12-31T23:59:60Z"}, ("9999-12-31T23:59:59.9999999Z",) * 3),
        ({}, (None, None, None)),
        ({"effectivePeriod": {}}, (None, None, None)),
    ],
)
def test_period(observation: dict[str, Any], expected: tuple[str | None, ...]) -> None:
    assert (
        tuple(None if tick is None else format_iso(tick) for tick in read_effective(observation, "Observation/1"))
        == expected
    )


@pytest.mark.parametrize(
    "observation",
    [
        {"effectiveTiming": {"event": ["2022-03-12"]}},
        {"effectiveDateTime": "yesterday"},
        {"effectiveDateTime": 5},
        {"effectiveDateTime": "2022-02-30"},
        {"effectiveDateTime": "2022-03-12T24:00:00Z"},
        {"effectiveDateTime": "0000-01-01"},
        {"effectiveDateTime": "2022-03-12T10:00:00ZZ"},
        {"effectivePeriod": {"start": "2022-03-12", "end": ["2022-03-12"]}},
    ],
)
def test_what_is_not_a_period_is_an_error_that_names_the_observation(observation: dict[str, Any]) -> None:
    with pytest.raises(ConversionError, match="Observation/1"):
        read_effective(observation, "Observation/1")
