"""The workloads measure what they claim: every message gives its measurements, and none fails."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bench import workloads
from bench.frame import REFERENCE, Result, Workload, measure
from bench.normalize import collect, events, load


@pytest.mark.parametrize(
    ("mapping", "messages", "each"),
    [
        ("single", workloads.single, 1),
        ("seventeen", workloads.seventeen, 1),
        ("batch", workloads.batch, 50),
        ("jmespath", workloads.batch, 50),
    ],
)
def test_every_message_gives_its_measurements(mapping: str, messages: Callable[[], Iterator[Any]], each: int) -> None:
    normalize = load(mapping).normalize
    for event in events(messages()):
        measurements, failures = normalize(event)
        assert not failures, failures[0].error.message
        assert len(measurements) == each


def test_messages_are_those_of_the_reference() -> None:
    (first, *_) = events(workloads.single())
    assert json.loads(first.body)["heartRate"] == "60"
    assert {workload.name for workload in collect()} == {
        "normalize single",
        "normalize seventeen",
        "normalize batch",
        "normalize jmespath over batch",
    }
    assert [workload.reference_rate for workload in collect()] == [
        REFERENCE["normalize_messages_per_second"][name]
        for name in ("single", "seventeen", "batch", "jmespath (jmespath.device.json over batch)")
    ]


def test_ratio_is_in_units_of_both_calibrations() -> None:
    workload = Workload("w", "units", lambda: 1, reference_rate=100.0, reference_calibration=50.0, mark=1.0)
    assert Result(workload, rate=600.0, calibration=100.0).ratio == 3.0


def test_passes_are_counted_in_their_units() -> None:
    passes = []

    def run() -> int:
        passes.append(1)
        return 7

    (result,) = measure([Workload("w", "units", run, 1.0, 1.0, 1.0)], rounds=1)
    assert passes
    assert result.rate > 0
    assert result.calibration > 0
