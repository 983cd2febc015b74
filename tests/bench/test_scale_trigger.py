"""The trigger, batch by batch: nothing vanishes, and batches are what arrived meanwhile."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.scale.trigger import Pace, Sizes, simulate


def _run(partitions: int = 1, rate: float = 100, *, a_batch: float = 0.1, wait: float = 0.0, **options: object) -> Pace:
    sizes = Sizes(**options)  # type: ignore[arg-type]
    return simulate(partitions, rate, sizes, lambda _: a_batch, wait, seconds=100)


@given(
    partitions=st.integers(1, 8),
    rate=st.floats(0.1, 300),
    a_message=st.floats(0.0001, 0.1),
    wait=st.floats(0, 1),
    most=st.integers(1, 50),
    least=st.integers(1, 50),
)
def test_every_message_is_done_in_hand_or_waiting(
    partitions: int, rate: float, a_message: float, wait: float, most: int, least: int
) -> None:
    sizes = Sizes(most=most, least=min(least, most), longest_wait_seconds=5)
    pace = simulate(partitions, rate, sizes, lambda size: a_message * size, wait, seconds=20)
    assert pace.arrived == pace.done + pace.in_hand + pace.waiting
    assert pace.arrived == pytest.approx(partitions * rate * 20, abs=partitions + 1)
    assert min(pace.done, pace.in_hand, pace.waiting) >= 0
    assert pace.batch <= most
    assert pace.core_seconds <= 20 * 1.000001
    assert pace.billed_seconds <= 20 * 1.000001


def test_a_batch_is_what_arrived_while_the_last_one_was_worked_on() -> None:
    assert _run(rate=100, a_batch=0.1).batch == pytest.approx(10, rel=0.05)


def test_what_a_batch_waits_for_makes_the_next_one_larger_too() -> None:
    assert _run(rate=100, a_batch=0.1, wait=0.1).batch == pytest.approx(20, rel=0.05)


def test_a_message_that_comes_alone_is_a_batch() -> None:
    pace = _run(rate=1, a_batch=0.1)
    assert (pace.batch, pace.load) == (1, pytest.approx(0.1, rel=0.05))


def test_more_than_the_largest_batch_waits_in_the_hub() -> None:
    pace = _run(rate=100, a_batch=0.1, most=5)
    assert pace.batch == pytest.approx(5, rel=0.01)
    assert pace.waiting == pytest.approx(100 * 100 / 2, rel=0.05)


def test_partitions_share_the_core() -> None:
    pace = _run(partitions=4, rate=100, a_batch=0.1)
    assert pace.load == pytest.approx(1, rel=0.05)
    assert pace.batch == pytest.approx(40, rel=0.05)


def test_a_least_batch_is_waited_for() -> None:
    pace = _run(rate=10, a_batch=0.001, least=50)
    assert pace.batch == 50
    assert pace.batches == pytest.approx(20, abs=1)


def test_a_quiet_partition_waits_no_longer_than_it_may() -> None:
    pace = _run(rate=0.5, a_batch=0.001, least=50, longest_wait_seconds=10)
    assert pace.batch == pytest.approx(6, abs=1)


def test_at_least_a_second_is_billed() -> None:
    assert _run(rate=0.1, a_batch=0.001).billed_seconds == pytest.approx(10, abs=1)


def test_an_instance_that_always_works_is_billed_all_the_time() -> None:
    assert _run(partitions=4, rate=100, a_batch=0.1).billed_seconds == pytest.approx(100, rel=0.02)
