"""The short form of `make torture`: the strongest scenarios, each once, with their twins."""

import random
from pathlib import Path

import pytest

from tests.torture.oracle import Event, readings_of
from tests.torture.scenario import Scenario, run
from tests.torture.scenarios import SCENARIOS
from tests.torture.traffic import Traffic

SEED = 1


@pytest.mark.parametrize("chosen", [each for each in SCENARIOS.values() if each.short], ids=lambda each: each.name)
def test_nothing_is_lost_doubled_or_stuck_and_the_checker_would_see_it(chosen: Scenario, tmp_path: Path) -> None:
    outcome = run(chosen, SEED, tmp_path / "site")
    verdict = outcome.verdict
    assert (verdict.lost, verdict.doubled, verdict.stuck, outcome.blind) == ([], [], [], [])
    assert verdict.readings > 0


def test_a_seed_gives_the_same_messages() -> None:
    first, second = (Traffic(random.Random("1/name")).messages(200) for _ in range(2))
    assert first == second


def test_no_two_messages_share_a_slot() -> None:
    messages = Traffic(random.Random(SEED), bad_share=0.3).messages(2000)
    events = (Event(message.partition, number, message.body) for number, message in enumerate(messages))
    facts = [fact for event in events for reading in readings_of(event, strangers=False) for fact in reading.facts]
    assert len({fact[:-1] for fact in facts}) == len(facts)
