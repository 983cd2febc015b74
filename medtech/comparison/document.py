"""What a comparison found as JSON: of `GET /api/comparison` and `compare --json`.

    {compared, same, absent, different,
     types: [{type, compared, same, absent, different, firstWindow, lastWindow}],
     differences: [{id, type, outcome, elements, error, observation, time}],
     truncated}

Differences are examples: the first ones of each type and outcome; `truncated` says that there are more. `error` is the
name of what keeps the readings from being merged, or null. One difference has also `ours` and `stored`, two resources
(null: not there, or not kept), which are health data.
"""

from collections import Counter
from typing import Any

import orjson

from medtech.comparison.store import OUTCOMES, Comparisons, Found, Sides, TypeCounts
from medtech.dotnet import ticks

Document = dict[str, Any]

EXAMPLES = 20
"""Of each type and outcome, in a document."""

_MOST_READ = 20_000
"""Differences that are read to find examples."""


def of_comparison(
    comparisons: Comparisons, since: int | None = None, type_name: str | None = None, examples: int = EXAMPLES
) -> Document:
    """Of windows that began at `since` (ticks) or later. Raises StorageUnavailable."""
    types = comparisons.types(since, type_name)
    listed: list[Found] = []
    number: Counter[tuple[str, str]] = Counter()
    truncated = False
    for read, found in enumerate(comparisons.differences(since, type_name)):
        if read == _MOST_READ:
            truncated = True
            break
        number[found.type, found.outcome] += 1
        if number[found.type, found.outcome] <= examples:
            listed.append(found)
    told = sum(sum(counts.outcomes[outcome] for counts in types) for outcome in OUTCOMES[1:])
    return {
        "compared": sum(counts.compared for counts in types),
        **{outcome: sum(counts.outcomes[outcome] for counts in types) for outcome in OUTCOMES},
        "types": list(map(_of_type, types)),
        "differences": list(map(of_found, listed)),
        "truncated": truncated or told > len(listed),
    }


def of_found(found: Found) -> Document:
    """A difference without its sides."""
    return {
        "id": found.id,
        "type": found.type,
        "outcome": found.outcome,
        "elements": list(found.elements),
        "error": found.error or None,
        "observation": found.observation,
        "time": found.time,
    }


def of_difference(found: Found, sides: Sides) -> Document:
    """A difference with both sides, for `orjson.dumps`: their numbers keep every digit."""
    return of_found(found) | {
        name: None if side is None else orjson.Fragment(side) for name, side in sides._asdict().items()
    }


def _of_type(counts: TypeCounts) -> Document:
    return {
        "type": counts.type,
        "compared": counts.compared,
        **{outcome: counts.outcomes[outcome] for outcome in OUTCOMES},
        "firstWindow": ticks.format_iso(counts.first_window),
        "lastWindow": ticks.format_iso(counts.last_window),
    }
