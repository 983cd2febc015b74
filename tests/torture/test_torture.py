"""The short form of `make torture`: the strongest scenarios, each once, with their twins."""

import multiprocessing
import random
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path

import pytest

from tests.torture.oracle import Event, readings_of
from tests.torture.scenario import Outcome, run
from tests.torture.scenarios import SCENARIOS
from tests.torture.traffic import Traffic

SEED = 1
SHORT = [each.name for each in SCENARIOS.values() if each.short]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Outcome]]]:
    """Two are played at once, since most of a run is waiting."""
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        yield {name: pool.submit(_run, name, tmp_path_factory.mktemp(name) / "site") for name in SHORT}


def _run(name: str, folder: Path) -> Outcome:
    return run(SCENARIOS[name], SEED, folder)


@pytest.mark.parametrize("name", SHORT)
def test_nothing_is_lost_doubled_stuck_or_leaked_and_the_checker_would_see_it(
    outcomes: dict[str, Future[Outcome]], name: str
) -> None:
    outcome = outcomes[name].result()
    verdict = outcome.verdict
    assert (verdict.lost, verdict.doubled, verdict.stuck, verdict.leaked, outcome.blind) == ([], [], [], [], [])
    assert verdict.readings > 0


def test_a_seed_gives_the_same_messages() -> None:
    first, second = (Traffic(random.Random("1/name")).messages(200) for _ in range(2))
    assert first == second


def test_no_two_messages_share_a_slot() -> None:
    messages = Traffic(random.Random(SEED), bad_share=0.3).messages(2000)
    events = (Event(message.partition, number, message.body) for number, message in enumerate(messages))
    facts = [fact for event in events for reading in readings_of(event, strangers=False) for fact in reading.facts]
    assert len({fact[:-1] for fact in facts}) == len(facts)
