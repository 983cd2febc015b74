"""All scenarios, in the order in which they are played."""

from tests.torture.scenario import SCENARIOS
from tests.torture.scenarios import (
    chaos,
    compare,
    deaths,
    deliveries,
    hosts,
    late,
    load,
    networks,
    poison,
    queues,
    replay,
    rows,
    settings,
)

__all__ = [
    "SCENARIOS",
    "chaos",
    "compare",
    "deaths",
    "deliveries",
    "hosts",
    "late",
    "load",
    "networks",
    "poison",
    "queues",
    "replay",
    "rows",
    "settings",
]
