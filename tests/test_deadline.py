"""The deadline that everything below a flush asks."""

import math
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import pytest

from medtech import deadline
from medtech.deadline import Deadline, within
from medtech.errors import OutOfTime


def test_what_is_called_inside_sees_how_much_time_is_left() -> None:
    seconds = [100.0]
    with within(Deadline(30, lambda: seconds[-1])):
        assert deadline.seconds_left() == 30
        seconds.append(110)
        assert (deadline.seconds_left(), deadline.ask("it was done")) == (20, 20)


def test_without_one_there_is_time_without_end() -> None:
    assert deadline.seconds_left() == math.inf
    with within(Deadline(30)):
        pass
    assert deadline.ask("it was done") == math.inf


def test_the_inner_one_holds_even_if_it_is_later() -> None:
    whole = Deadline(30, lambda: 0.0)
    with within(whole.earlier(20)):
        with within(whole):
            assert deadline.seconds_left() == 30
        assert deadline.seconds_left() == 10


def test_when_it_is_over_nothing_is_begun() -> None:
    seconds = [0.0]
    only = Deadline(30, lambda: seconds[-1])
    seconds.append(31)
    assert (only.over, only.seconds_left()) == (True, 0)
    with within(only), pytest.raises(OutOfTime, match="before it was done"):
        deadline.ask("it was done")


def test_a_task_of_a_pool_has_it_by_a_copy_of_the_context() -> None:
    with ThreadPoolExecutor(1) as pool, within(Deadline(30, lambda: 0.0)):
        assert pool.submit(copy_context().run, deadline.seconds_left).result() == 30
        assert pool.submit(deadline.seconds_left).result() == math.inf
