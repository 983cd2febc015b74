"""The collector during a flush: less often, and given back as it was."""

import gc
from collections.abc import Iterator

import pytest

from medtech.flush.garbage import rarely_collected
from medtech.persist.settle import SavedAs
from tests.flush.samples import Run, known, measured
from tests.persist.samples import Server

_USUAL = (700, 10, 10)


@pytest.fixture(autouse=True)
def _usual() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(*_USUAL)
    yield
    gc.enable()
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


def test_what_a_flush_leaves_in_cycles_does_not_grow_with_its_readings(run: Run, server: Server) -> None:
    """Else all that it makes would take memory until the collector looks."""
    of = known(server)
    left: list[int] = []
    for minutes in (range(1), range(1, 11), range(11, 511)):
        run.store([measured(of, minute, type_name="spot") for minute in minutes])
        gc.collect()
        gc.disable()
        tally = run.run()
        left.append(gc.collect())
        gc.enable()
        assert tally.observations == {SavedAs.CREATED: len(minutes)}
    _, few, many = left
    assert many < few + 50
