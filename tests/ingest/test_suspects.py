"""How deaths close in on a message, without a process that dies: each trial that holds poison is a death."""

from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medtech.dotnet import ticks
from medtech.ingest.suspects import CHANCES, Suspect, Suspects
from medtech.model import DeviceEvent

_NOON = 637_826_832_000_000_000

Borders = Callable[[int], tuple[int, int]]
"""First and last sequence number of a delivery, from its number."""


def _events(first: int, last: int, later: int = 0) -> list[DeviceEvent]:
    return [
        DeviceEvent(b"", {}, {}, _NOON + later + number, "0a1b2c3d", "3", number) for number in range(first, last + 1)
    ]


class Partition:
    """Deliveries until one ends without a death; `recorded` is what the row says in between."""

    def __init__(self, poison: Iterable[int]) -> None:
        self.poison = frozenset(poison)
        self.recorded = Suspects()
        self.deaths = 0
        self.stored: set[int] = set()
        self.buried: list[int] = []

    def deliver(self, events: list[DeviceEvent]) -> bool:
        """One process with the batch; False if it dies."""
        suspects = self.recorded.of_batch(events)
        while (trial := suspects.next_trial(events)) is not None:
            numbers = {event.sequence_number for event in trial.events}
            if trial.hopeless:
                self.buried += numbers
            elif numbers & self.poison:
                self.deaths += 1
                self.recorded = Suspects.from_json(suspects.to_json()).after_death(*trial.borders)
                return False
            else:
                self.stored |= numbers
            suspects = suspects.after_storing(*trial.borders)
        self.recorded = suspects.after_batch(events)
        return True

    def deliver_until_it_goes_through(self, borders: Borders) -> None:
        delivery = 0
        while not self.deliver(_events(*borders(delivery))):
            delivery += 1
            assert self.deaths < 1000


@pytest.mark.parametrize("position", [0, 1, 15, 16, 17, 250, 498, 499])
def test_one_of_500_is_found_after_five_deaths(position: int) -> None:
    partition = Partition({position})
    partition.deliver_until_it_goes_through(lambda _: (0, 499))
    assert (partition.buried, len(partition.stored)) == ([position], 499)
    assert partition.deaths == CHANCES + 2
    assert partition.recorded.ranges == ()


def test_four_of_500_wherever_they_are_take_at_most_eleven_deaths() -> None:
    partition = Partition({0, 123, 124, 499})
    partition.deliver_until_it_goes_through(lambda _: (0, 499))
    assert sorted(partition.buried) == [0, 123, 124, 499]
    assert partition.deaths <= 11


@given(st.data())
def test_whatever_the_borders_only_poison_is_given_up_and_all_else_is_stored(data: st.DataObject) -> None:
    poison = data.draw(st.sets(st.integers(10, 90), max_size=3))
    partition = Partition(poison)
    ends = data.draw(st.lists(st.integers(91, 140), min_size=1, max_size=8))
    starts = data.draw(st.lists(st.integers(0, 10), min_size=1, max_size=8))
    partition.deliver_until_it_goes_through(lambda n: (starts[n % len(starts)], ends[n % len(ends)]))
    assert set(partition.buried) == poison
    assert partition.stored >= set(range(10, 91)) - poison
    assert partition.deaths <= CHANCES + 3 * len(poison)


@given(st.data())
def test_batches_that_end_before_the_poison_do_not_make_it_start_over(data: st.DataObject) -> None:
    partition = Partition({70})
    ends = data.draw(st.lists(st.integers(0, 140), min_size=1, max_size=30))
    checkpoint = -1
    for end in [*ends, *[140] * 30]:
        if end > checkpoint and partition.deliver(_events(checkpoint + 1, end)):
            checkpoint = end
    assert (checkpoint, partition.buried, partition.stored) == (140, [70], set(range(141)) - {70})
    assert partition.deaths <= 11


def test_deployments_that_end_the_process_give_up_nothing() -> None:
    """Whatever is tried when the process ends; in between, the next process gets a little further."""
    recorded, buried = Suspects(), 0
    events = _events(0, 499)
    for trials_until_the_end in [1, 1, 1, 2, 3, 5, 1, 8]:
        suspects = recorded.of_batch(events)
        for _ in range(trials_until_the_end):
            trial = suspects.next_trial(events)
            assert trial is not None
            buried += trial.hopeless
            recorded = suspects.after_death(*trial.borders)
            suspects = suspects.after_storing(*trial.borders)
    assert buried == 0


def test_the_least_suspected_go_first() -> None:
    suspects = Suspects((Suspect(10, 19, _NOON + 500, deaths=4, chances=1),)).of_batch(_events(0, 29))
    trial = suspects.next_trial(_events(0, 29))
    assert trial is not None and trial.borders == (0, 9) and trial.deaths == 0


def test_ranges_behind_the_checkpoint_are_forgotten() -> None:
    suspects = Suspects((Suspect(10, 10, _NOON + 500, deaths=6, chances=0),)).of_batch(_events(11, 20))
    assert suspects.ranges == Suspects().of_batch(_events(11, 20)).ranges


def test_a_recreated_hub_inherits_no_suspicion() -> None:
    old = Suspects((Suspect(10, 10, _NOON + 10, deaths=6, chances=0), Suspect(400, 499, _NOON + 499, deaths=3)))
    again = _events(0, 20, later=ticks.TICKS_PER_DAY)
    suspects = old.of_batch(again)
    trial = suspects.next_trial(again)
    assert trial is not None and (trial.borders, trial.deaths) == ((0, 20), 0)
    later = _events(390, 420, later=ticks.TICKS_PER_DAY)
    beyond = suspects.after_storing(0, 20).after_batch(again).of_batch(later)
    assert beyond.ranges == Suspects().of_batch(later).ranges


def test_what_is_stored_is_not_tried_again() -> None:
    events = _events(0, 99)
    suspects = Suspects((Suspect(0, 99, _NOON + 99, deaths=3, chances=1),)).after_storing(0, 49).of_batch(events)
    trial = suspects.next_trial(events)
    assert trial is not None and trial.borders == (50, 99)


def test_the_row_stays_small_whatever_the_borders() -> None:
    suspects = Suspects().of_batch(_events(0, 499))
    for _ in range(CHANCES):
        suspects = suspects.after_death(0, 499)
    for end in range(0, 400, 7):
        suspects = suspects.after_storing(0, end)
    assert len(suspects.to_json()) < 4_000
