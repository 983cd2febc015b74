"""Where suites and vectors are found, and how one suite is run."""

import importlib
import json
import pkgutil
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from tests.conformance import suites

VECTORS = Path(__file__).parent.parent / "vectors"

Vector = dict[str, Any]


class Suite(NamedTuple):
    name: str
    check: Callable[[Vector], str | None]
    not_compared: frozenset[str]
    not_ordered: frozenset[str]
    json_texts: frozenset[str]


class Failure(NamedTuple):
    id: str
    difference: str


def find_suites(only: list[str] | None = None) -> list[Suite]:
    """The modules of `suites`, by name, or `only` those named. Raises LookupError for a name that is not a suite's."""
    names = sorted(module.name for module in pkgutil.iter_modules(suites.__path__))
    if unknown := set(only or ()) - set(names):
        raise LookupError(f"no suite {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    return [_load(name) for name in names if not only or name in only]


def _load(name: str) -> Suite:
    module = importlib.import_module(f"{suites.__name__}.{name}")
    rules = (getattr(module, rule, frozenset()) for rule in ("NOT_COMPARED", "NOT_ORDERED", "JSON_TEXTS"))
    return Suite(name, module.check, *rules)


def read(suite: str, folder: Path = VECTORS) -> Iterator[Vector]:
    """The vectors of `<suite>*.jsonl`, files by name, lines in order."""
    for file in sorted(folder.glob(f"{suite}*.jsonl")):
        with file.open(encoding="utf-8") as lines:
            for line in lines:
                if line.strip():
                    yield json.loads(line, parse_float=Decimal)


def check(suite: Suite, vector: Vector) -> str | None:
    """What differs, or None. A check that raises is a fault like any other: only its own vector fails."""
    try:
        return suite.check(vector)
    except Exception as error:  # noqa: BLE001
        return f"raised {type(error).__name__}: {error}"


def run(suite: Suite, folder: Path = VECTORS) -> tuple[int, list[Failure]]:
    """How many vectors there are, and those that fail."""
    total, failures = 0, []
    for vector in read(suite.name, folder):
        total += 1
        if found := check(suite, vector):
            failures.append(Failure(vector["id"], found))
    return total, failures
