"""The workloads of `make bench`, with their ratios and marks."""

from typing import Any


def run(*, rounds: int) -> dict[str, Any]:
    from bench.__main__ import collect
    from bench.frame import measure

    results = measure(collect(), rounds)
    return {result.workload.name: {"ratio": result.ratio, "mark": result.workload.mark} for result in results}
