"""A scenario: what is done to a site while traffic runs, and the run that judges it.

    @scenario("killed-worker", short=True)
    def killed_worker(site: Site) -> None: ...

`run` plays it, lets the site settle, and judges. Then it breaks what it has just judged, once for each of lost,
doubled, leaked and stuck, and judges again: a checker that does not see that has proved nothing.
"""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tests.torture import twins
from tests.torture.checker import Verdict, judge
from tests.torture.site import Site


@dataclass(frozen=True, slots=True)
class Scenario:
    """`options` are those of Site. `short`: it is part of `make test`. `long`: it takes minutes. `repeats`: as in
    `checker.judge`.

    `name` is a word or two, with the server's profile where there are several of a kind.
    """

    name: str
    play: Callable[[Site], None]
    options: Mapping[str, Any] = field(default_factory=dict)
    short: bool = False
    long: bool = False
    repeats: bool = False


SCENARIOS: dict[str, Scenario] = {}


def scenario(
    name: str, *, short: bool = False, long: bool = False, repeats: bool = False, **options: Any
) -> Callable[[Callable[[Site], None]], Callable[[Site], None]]:
    """Enters a function into the registry; it may be entered under several names."""

    def enter(play: Callable[[Site], None]) -> Callable[[Site], None]:
        assert name not in SCENARIOS, f"two scenarios are named {name}"
        SCENARIOS[name] = Scenario(name, play, options, short, long, repeats)
        return play

    return enter


class Outcome(NamedTuple):
    """`blind` names the twins that the checker did not see; `held_up` is Site's."""

    name: str
    seed: int
    verdict: Verdict
    blind: list[str]
    seconds: float
    held_up: Mapping[str, float]

    @property
    def good(self) -> bool:
        return self.verdict.good and not self.blind

    @property
    def line(self) -> str:
        blind = f", the checker does not see: {', '.join(self.blind)}" if self.blind else ""
        timed = "".join(f"\n    {what}: {seconds:.1f} s" for what, seconds in self.held_up.items())
        return f"{self.name}  seed {self.seed}  {self.verdict}{blind}  ({self.seconds:.0f} s){timed}"


def run(chosen: Scenario, seed: int, folder: Path) -> Outcome:
    """Plays a scenario in an empty folder. Raises whatever the scenario itself does, as when a host never starts."""
    started = time.monotonic()
    chance = random.Random(f"{seed}/{chosen.name}")
    with Site(folder, chance, **chosen.options) as site:
        chosen.play(site)
        site.settle()
        site.wait_for_telemetry()
        state = site.state()
        verdict = judge(state, strangers=site.strangers, repeats=chosen.repeats)
        blind = twins.unseen(site, state, repeats=chosen.repeats) if verdict.good else []
    return Outcome(chosen.name, seed, verdict, blind, time.monotonic() - started, site.held_up)
