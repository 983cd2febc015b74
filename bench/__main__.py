"""`python -m bench`: every workload in one interleaved run, one line each."""

import importlib
import pkgutil

import bench
from bench.frame import Workload, measure, report


def collect() -> list[Workload]:
    """The workloads of every module in this folder that has a `collect`."""
    found: list[Workload] = []
    for module in sorted(pkgutil.iter_modules(bench.__path__), key=lambda module: module.name):
        if module.name != "__main__":
            add = getattr(importlib.import_module(f"bench.{module.name}"), "collect", None)
            found += add() if add else []
    return found


if __name__ == "__main__":
    report(measure(collect()))
