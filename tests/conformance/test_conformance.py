"""The product against the vectors, and the comparison against expectations that were changed."""

import copy
import json
import random
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.__main__ import main
from tests.conformance.compare import difference, parse_exact
from tests.conformance.vectors import VECTORS, Suite, Vector, check, find_suites, read, run

SUITES = find_suites()

_PROOFS = 60
"""How many vectors of a suite have their expectation changed, evenly spread: enough for every kind of vector."""


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_product_does_what_the_vectors_expect(suite: Suite) -> None:
    total, failures = run(suite)
    assert total > 0
    assert not failures, f"{len(failures)} of {total}:\n" + "\n".join(f"{id}: {text}" for id, text in failures[:20])


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_one_change_in_an_expectation_is_reported_as_a_difference(suite: Suite) -> None:
    """Only a difference counts: a check that raises has compared nothing, and fails this test."""
    vectors = [vector for vector in read(suite.name) if next(_changes(suite, vector), None)]
    proofs = 0
    for vector in vectors[:: max(1, len(vectors) // _PROOFS)]:
        if check(suite, vector):
            continue  # the test above reports it; a vector that fails anyway proves nothing
        change = random.Random(vector["id"]).choice(list(_changes(suite, vector)))
        path, changed = _with_change(vector, change)
        assert suite.check(changed) is not None, f"{vector['id']}: {path} was changed and no difference reported"
        proofs += 1
    assert proofs > 0


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        (Decimal("98.60"), Decimal("98.6")),
        (Decimal("1"), 1),
        (1, True),
        (Decimal("0.5"), 0.5),
        (None, False),
        ("1", 1),
        ([1, 2], [2, 1]),
        ([1], [1, 2]),
        ({"a": None}, {}),
        ({}, {"a": None}),
        ({"resourceType": "Observation", "status": "final"}, {"resourceType": "Observation", "status": "amended"}),
        ({"resourceType": "Patient", "issued": "1"}, {"resourceType": "Patient", "issued": "2"}),
        (parse_exact("1.0"), parse_exact("1.00")),
        (parse_exact("1E5"), parse_exact("1e5")),
        (parse_exact("1"), parse_exact('"1"')),
    ],
)
def test_comparison_is_strict(expected: Any, actual: Any) -> None:
    assert difference(expected, actual) is not None
    assert difference(expected, expected) is None


def test_comparison_names_the_place() -> None:
    assert difference({"a": [{"b": 1}]}, {"a": [{"b": 2}]}) == "$.a[0].b: expected 1, got 2"


def test_issued_of_an_observation_is_not_compared() -> None:
    assert difference({"resourceType": "Observation", "issued": "1"}, {"resourceType": "Observation"}) is None


def test_runner_counts_and_lists_what_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (VECTORS / "token.jsonl").read_text(encoding="utf-8").splitlines()
    good = json.loads(lines[0])
    bad = {**good, "id": "token-bad", "expected": {**good["expected"], "string": "something else"}}
    (tmp_path / "token-more.jsonl").write_text("\n".join([lines[0], json.dumps(bad), *[json.dumps(bad)] * 30]))
    monkeypatch.setattr("sys.argv", ["conformance", str(tmp_path), "--suite", "token"])
    assert main() == 1
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "token 1/32"
    assert len(printed) == 33
    assert all(line.startswith("  token-bad: $") for line in printed[1:-1])
    assert printed[-1] == "1 passed, 31 failed"


def test_runner_fails_where_there_is_nothing_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["conformance", str(tmp_path)])
    assert main() == 2


# One change at a time: a digit, a letter, a flag, an element or an order somewhere in `expected`.

_SEQUENCES = {"measurements", "properties", "tokens", "observations", "steps"}
"""Lists whose length and order the rules hold us to."""

Change = tuple[tuple[str | int, ...], Callable[[Any], Any]]


def _changes(suite: Suite, vector: Vector) -> Iterator[Change]:
    yield from _changes_in(vector["expected"], ("expected",), suite)


def _changes_in(value: Any, path: tuple[str | int, ...], suite: Suite) -> Iterator[Change]:
    if isinstance(value, dict):
        for name, member in value.items():
            if name not in suite.not_compared and name != "issued":
                yield from _changes_in(member, (*path, name), suite)
    elif isinstance(value, list):
        for index, element in enumerate(value):
            yield from _changes_in(element, (*path, index), suite)
        if path[-1] in _SEQUENCES and value:
            yield path, lambda elements: elements[:-1]
        if path[-1] in _SEQUENCES - suite.not_ordered and value != value[::-1]:
            yield path, lambda elements: elements[::-1]
    elif not suite.json_texts.isdisjoint(path):
        yield path, _with_other_json
    elif value is None:
        yield path, lambda _: "x"
    elif isinstance(value, bool):
        yield path, lambda flag: not flag
    elif isinstance(value, int):
        yield path, lambda number: number + 1
    elif isinstance(value, Decimal):
        yield path, lambda number: Decimal(f"{number}0") if "E" not in str(number) else number + 1
    elif any(character.isalnum() and character.isascii() for character in value):
        yield path, _with_other_character


def _with_other_character(text: str) -> str:
    """One digit replaced by its neighbour, or a letter where there is no digit."""
    places = [place for place, character in enumerate(text) if character.isdigit() and character.isascii()]
    places = places or [place for place, character in enumerate(text) if character.isalpha() and character.isascii()]
    place = random.Random(text).choice(places)
    other = chr(ord(text[place]) + (-1 if text[place] in "9zZ" else 1))
    return f"{text[:place]}{other}{text[place + 1 :]}"


def _with_other_json(text: str | None) -> str:
    """Another JSON text; None stands for null."""
    text = text or "null"
    if any(character.isalnum() and character.isascii() for character in text):
        changed = _with_other_character(text)
        try:
            if parse_exact(changed) != parse_exact(text):
                return changed
        except json.JSONDecodeError:
            pass
    return f"[{text}]"


def _with_change(vector: Vector, change: Change) -> tuple[str, Vector]:
    path, mutate = change
    changed = copy.deepcopy(vector)
    holder = changed
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = mutate(holder[path[-1]])
    return ".".join(map(str, path)), changed
