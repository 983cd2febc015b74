"""What is taken back from an Observation's history, and what of it stays past."""

from typing import Any

import pytest

from medtech.persist.history import absorb
from medtech.transform.identifier import SYSTEM

HOUR = {"start": "2025-10-09T09:00:00.0000000Z", "end": "2025-10-09T09:03:59.9999999Z"}


def observation(period: dict[str, str] = HOUR, **content: Any) -> dict[str, Any]:
    return {"resourceType": "Observation", "id": "o", "status": "final", "effectivePeriod": period, **content}


def sampled(data: str, unit: str = "/min", period: int = 60_000) -> dict[str, Any]:
    return {"origin": {"value": 0, "unit": unit}, "period": period, "dimensions": 1, "data": data}


def component(name: str, **value: Any) -> dict[str, Any]:
    return {"code": {"coding": [{"system": SYSTEM, "code": name}]}, **value}


def minutes(start: int, end: int) -> dict[str, str]:
    return {"start": f"2025-10-09T09:0{start}:00.0000000Z", "end": f"2025-10-09T09:0{end}:00.0000000Z"}


@pytest.mark.parametrize(
    ("current", "earlier", "together"),
    [
        pytest.param(sampled("1 E E 4"), sampled("E 2 E 9"), sampled("1 2 E 4"), id="missing points"),
        pytest.param(sampled("1 E E 4"), sampled("E E E 9"), sampled("1 E E 4"), id="nothing new"),
        pytest.param(sampled("U E"), sampled("1 L"), sampled("U L E E"), id="out of range is a point too"),
        pytest.param(sampled("1 E"), sampled("E 2", unit="Hz"), sampled("1 E"), id="another unit"),
        pytest.param(
            sampled("1 E E 4"),
            sampled("E E 2 E 5 E E E", period=30_000),
            sampled("1 2 5 4"),
            id="another period",
        ),
    ],
)
def test_series(current: dict[str, Any], earlier: dict[str, Any], together: dict[str, Any]) -> None:
    absorbed = absorb(observation(valueSampledData=current), [observation(valueSampledData=earlier)])
    assert absorbed == observation(valueSampledData=together)


def test_nothing_to_take_back_gives_the_current_one_itself() -> None:
    current = observation(valueSampledData=sampled("1 2 3 4"), component=[component("a", valueString="x")])
    assert absorb(current, [observation(valueSampledData=sampled("1 E 9 E"))]) is current
    assert absorb(current, []) is current


def test_single_values_keep_what_is_current() -> None:
    current = observation(valueQuantity={"value": 2})
    assert absorb(current, [observation(valueQuantity={"value": 1})]) is current


def test_a_missing_value_comes_back() -> None:
    current = observation(dataAbsentReason={"text": "none"}, component=[component("a", valueString="x")])
    absorbed = absorb(current, [observation(valueQuantity={"value": 1})])
    assert absorbed == observation(valueQuantity={"value": 1}, component=[component("a", valueString="x")])


def test_components_are_told_by_the_services_code() -> None:
    current = observation(component=[component("a", valueSampledData=sampled("1 E"))])
    earlier = observation(component=[component("b", valueString="x"), component("a", valueSampledData=sampled("E 2"))])
    assert absorb(current, [earlier])["component"] == [
        component("a", valueSampledData=sampled("1 2 E E")),
        component("b", valueString="x"),
    ]


@pytest.mark.parametrize(
    ("mine", "theirs", "period", "data"),
    [
        ((minutes(2, 3), "2 3"), (minutes(0, 0), "0"), minutes(0, 3), "0 E 2 3"),
        ((minutes(0, 0), "0"), (minutes(2, 3), "2 3"), minutes(0, 3), "0 E 2 3"),
        ((minutes(1, 2), "1 E"), (minutes(0, 3), "9 9 2 3"), minutes(0, 3), "9 1 2 3"),
    ],
)
def test_correlation_periods_are_united(mine: Any, theirs: Any, period: dict[str, str], data: str) -> None:
    def both_kinds(period: dict[str, str], points: str) -> dict[str, Any]:
        components = [component("a", valueSampledData=sampled(points))]
        return observation(period, valueSampledData=sampled(points), component=components)

    assert absorb(both_kinds(*mine), [both_kinds(*theirs)]) == both_kinds(period, data)


def test_a_series_of_one_version_alone_is_laid_out_from_the_common_start() -> None:
    mine = observation(minutes(2, 2), component=[component("a", valueSampledData=sampled("2"))])
    theirs = observation(minutes(1, 1), component=[component("b", valueSampledData=sampled("1"))])
    expected = [component("a", valueSampledData=sampled("E 2")), component("b", valueSampledData=sampled("1"))]
    assert absorb(mine, [theirs])["component"] == expected
    assert absorb(theirs, [mine])["component"] == [
        component("b", valueSampledData=sampled("1")),
        component("a", valueSampledData=sampled("E 2")),
    ]


@pytest.mark.parametrize("status", ["entered-in-error", "cancelled"])
def test_a_withdrawn_version_gives_nothing(status: str) -> None:
    current = observation(valueSampledData=sampled("1 E"))
    assert absorb(current, [observation(valueSampledData=sampled("E 2")) | {"status": status}]) is current


def test_several_versions_back_to_the_creation() -> None:
    versions = [observation(valueSampledData=sampled(data)) for data in ("E E 3 E", "E 2 9 E", "1 9 9 E")]
    assert absorb(versions[0], versions[1:]) == observation(valueSampledData=sampled("1 2 3 E"))


def test_what_others_wrote_into_the_current_version_stays() -> None:
    current = observation(valueSampledData=sampled("1 E E E"), note=[{"text": "n"}])
    assert absorb(current, [observation(valueSampledData=sampled("E 2 E E"))])["note"] == [{"text": "n"}]


def at(second: str, **content: Any) -> dict[str, Any]:
    """An Observation of a single reading, as OBSERVATION_EFFECTIVE=dateTime writes it."""
    effective = {"effectiveDateTime": f"2025-10-09T09:00:{second}00000Z"}
    return {"resourceType": "Observation", "id": "o", "status": "final", **effective, **content}


@pytest.mark.parametrize(("mine", "theirs", "later"), [("00.50", "00.70", "00.70"), ("00.50", "00.30", "00.50")])
def test_one_time_is_that_of_the_later_reading(mine: str, theirs: str, later: str) -> None:
    absorbed = absorb(at(mine, valueString="x"), [at(theirs, component=[component("a", valueString="y")])])
    assert absorbed == at(later, valueString="x", component=[component("a", valueString="y")])


def test_one_time_without_anything_to_take_back_gives_the_current_one_itself() -> None:
    current = at("00.50", valueQuantity={"value": 2}, component=[component("a", valueSampledData=sampled("1"))])
    assert absorb(current, [at("00.50", valueQuantity={"value": 1})]) is current


@pytest.mark.parametrize(("mine", "theirs"), [("00.50", "00.30"), ("00.30", "00.50")])
def test_samples_at_several_times_need_a_period(mine: str, theirs: str) -> None:
    def sampled_at(second: str) -> dict[str, Any]:
        return at(second, valueSampledData=sampled(second[-2], period=100), _effectiveDateTime={"id": "t"})

    absorbed = absorb(sampled_at(mine), [sampled_at(theirs)])
    period = {"start": "2025-10-09T09:00:00.3000000Z", "end": "2025-10-09T09:00:00.5000000Z"}
    assert absorbed == observation(period, valueSampledData=sampled("3 E 5", period=100))


def test_versions_of_both_forms_keep_the_current_one() -> None:
    time, period = at("00.50", valueString="x"), observation(minutes(0, 1), valueString="x")
    assert absorb(time, [period]) == at("00.50", valueString="x") | {
        "effectiveDateTime": period["effectivePeriod"]["end"]
    }
    assert absorb(period, [time]) is period
