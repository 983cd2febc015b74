"""The checker sees what is lost, doubled, stuck and leaked, each by itself, in states that are written here."""

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.torture.checker import Letter, State, judge
from tests.torture.oracle import Event, Json


def event(number: int, *readings: Json, device: str = "device-1") -> Event:
    return Event("0", number, json.dumps({"device": device, "readings": readings}).encode())


def pulse(value: Any, at: str = "2026-03-02T08:00:00Z") -> Json:
    return {"at": at, "pulse": value}


def steps(value: int, minute: int) -> Json:
    return {"at": f"2026-03-02T08:{minute:02d}:00Z", "steps": value}


def observation(type_name: str, **more: Any) -> Json:
    return {
        "resourceType": "Observation",
        "code": {"text": type_name},
        "device": {"reference": "Device/device-1"},
        "effectivePeriod": {"start": "2026-03-02T08:00:00.0000000Z", "end": "2026-03-02T08:59:59.9999999Z"},
        **more,
    }


def quantity(value: int) -> Json:
    return observation("pulse", valueQuantity={"value": value})


def series(samples: str) -> Json:
    return observation("steps", valueSampledData={"data": samples, "period": 60000})


GOOD = State(
    events=[
        event(0, pulse(1), pulse(2), steps(3, 0)),
        event(1, steps(4, 2), pulse("5 or so")),
        event(2, pulse(6), device="stranger-1"),
        Event("0", 3, b"no JSON"),
    ],
    checkpoints={"0": 3},
    versions={"p": [quantity(1)], "s": [series("3 E E"), series("3 E 4")]},
    devices=[("device-1", "device-1")],
    letters=[
        Letter("0", 1, ("5 or so",), "InvalidValue"),
        Letter("0", 2, ("6",), "DeviceNotFound"),
        Letter("0", 3, None, "NotSupported"),
    ],
    buffered={},
)
"""Two pulses of one second, of which the first stands; steps in two flushes; and three kinds of letters."""


def counts(state: State, **options: bool) -> tuple[int, int, int]:
    verdict = judge(state, **options)
    return len(verdict.lost), len(verdict.doubled), len(verdict.stuck)


def without_letter(number: int) -> State:
    return replace(GOOD, letters=[letter for letter in GOOD.letters if letter.sequence_number != number])


def test_a_good_run_has_no_findings() -> None:
    verdict = judge(GOOD)
    assert (verdict.readings, verdict.good) == (7, True)


def test_a_run_without_readings_is_not_good() -> None:
    assert not judge(State([], {}, {}, [], [], {})).good


@pytest.mark.parametrize(
    "state",
    [
        replace(GOOD, versions=GOOD.versions | {"s": [series("3 E 4"), series("3 E E")]}),
        replace(GOOD, versions=GOOD.versions | {"s": [series("E E 4")]}),
        replace(GOOD, versions={"s": GOOD.versions["s"]}),
        without_letter(1),
        without_letter(2),
        without_letter(3),
    ],
    ids=["only in the history", "sample", "Observation", "value's letter", "stranger's letter", "message's letter"],
)
def test_one_lost_reading_is_seen(state: State) -> None:
    assert counts(state) == (1, 0, 0)


@pytest.mark.parametrize(
    "state",
    [
        replace(GOOD, versions=GOOD.versions | {"again": [quantity(1)]}),
        replace(GOOD, versions=GOOD.versions | {"p": [quantity(2), quantity(1)]}),
        replace(GOOD, versions=GOOD.versions | {"p": [quantity(1), quantity(1)]}),
        replace(GOOD, versions=GOOD.versions | {"s": [series("3 4 4")]}),
        replace(GOOD, versions=GOOD.versions | {"x": [observation("pulse", valueQuantity={"value": 99})]}),
        replace(GOOD, devices=[*GOOD.devices, ("device-2", "device-1")]),
        replace(GOOD, letters=[*GOOD.letters, Letter("0", 0, ("1",), "Refused")]),
        replace(GOOD, letters=[*GOOD.letters, GOOD.letters[0]]),
        replace(GOOD, letters=[*GOOD.letters, Letter("0", 0, None, "Refused")]),
    ],
    ids=[
        "two Observations",
        "another value before",
        "a version for nothing",
        "a slot that is not its own",
        "a value that was never sent",
        "two Devices",
        "in FHIR and a letter",
        "two letters",
        "the letter of a good message",
    ],
)
def test_one_doubled_reading_is_seen(state: State) -> None:
    assert counts(state) == (0, 1, 0)


def test_a_superseded_reading_in_place_of_the_one_that_stands_is_seen() -> None:
    lost, doubled, _ = counts(replace(GOOD, versions=GOOD.versions | {"p": [quantity(2)]}))
    assert lost == 1
    assert doubled > 0


def test_versions_that_the_network_wrote_twice_are_allowed_where_it_may() -> None:
    assert counts(replace(GOOD, versions=GOOD.versions | {"p": [quantity(1), quantity(1)]}), repeats=True) == (0, 0, 0)


def test_a_partition_that_stands_is_stuck_and_its_readings_are_not_lost() -> None:
    state = replace(without_letter(3), checkpoints={"0": 2})
    assert counts(state) == (0, 0, 1)


def test_a_shard_with_rows_is_stuck_and_their_readings_are_not_lost() -> None:
    state = replace(GOOD, versions={"s": GOOD.versions["s"]}, buffered={2: [("1",)]})
    assert counts(state) == (0, 0, 1)


def test_what_leaked_is_told() -> None:
    leaking = replace(GOOD, leaks=["host.log:7: the value 730194825 is wrong"])
    verdict = judge(leaking)
    assert (verdict.leaked, verdict.good) == (["host.log:7: the value 730194825 is wrong"], False)
    assert counts(leaking) == (0, 0, 0)


def test_where_the_app_makes_devices_no_device_is_a_stranger() -> None:
    made = observation("pulse", valueQuantity={"value": 6}) | {"device": {"reference": "Device/made"}}
    state = replace(
        without_letter(2),
        versions=GOOD.versions | {"made": [made]},
        devices=[*GOOD.devices, ("made", "stranger-1")],
    )
    assert counts(state, strangers=False) == (0, 0, 0)
