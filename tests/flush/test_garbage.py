"""The collector during a flush: less often, and given back as it was."""

import gc
from collections.abc import Iterator

import pytest

from medtech.flush.garbage import rarely_collected

_USUAL = (700, 10, 10)


@pytest.fixture(autouse=True)
def _usual() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(*_USUAL)
    yield
    gc.set_threshold(*before)


def test_it_is_as_before_when_the_last_of_several_ends() -> None:
    with rarely_collected():
        with rarely_collected():
            inside, frozen = gc.get_threshold(), gc.get_freeze_count()
        assert gc.get_threshold() == inside
    assert inside[0] > _USUAL[0] and inside[1:] == _USUAL[1:]
    assert frozen
    assert gc.get_threshold() == _USUAL
    assert gc.get_freeze_count() == 0


def test_it_is_as_before_after_a_failure() -> None:
    with pytest.raises(ZeroDivisionError), rarely_collected():
        raise ZeroDivisionError
    assert gc.get_threshold() == _USUAL
    assert gc.get_freeze_count() == 0


def test_a_collector_that_is_off_stays_off() -> None:
    gc.set_threshold(0)
    with rarely_collected():
        assert gc.get_threshold()[0] == 0


def test_what_becomes_garbage_meanwhile_is_collected_after_it() -> None:
    cycle: list[object] = []
    cycle.append(cycle)
    with rarely_collected():
        del cycle
    assert gc.collect() >= 1
