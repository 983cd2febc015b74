"""The traffics that docs/scale.md tells of, and the setup that is chosen for each."""

import math
from collections.abc import Iterable

from bench.scale.figures import Figures
from bench.scale.plan import Plan, Traffic, plan
from bench.scale.trigger import EACH_AS_IT_COMES, Sizes

PARTITIONS = (32, 64, 100, 128, 256)
RATES = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)


def single(messages_a_second: float) -> Traffic:
    """Each message is a new Observation."""
    return Traffic(messages_a_second=messages_a_second, kind="single")


def series(messages_a_second: float) -> Traffic:
    """A device sends every ten seconds, and its Observation of the hour gets another sample with each message."""
    return Traffic(messages_a_second=messages_a_second, kind="series")


def best(
    traffic: Traffic,
    figures: Figures,
    *,
    fhir_entries_a_second: float = math.inf,
    partitions: Iterable[int] = PARTITIONS,
    sizes: Sizes = EACH_AS_IT_COMES,
) -> Plan:
    """The cheapest that holds; the one that comes nearest if none does."""
    plans = [
        plan(traffic, each, figures, fhir_entries_a_second=fhir_entries_a_second, sizes=sizes) for each in partitions
    ]
    holding = [each for each in plans if each.holds]
    if holding:
        return min(holding, key=lambda each: each.bill.total)
    return min(plans, key=lambda each: each.first_to_break.share)
