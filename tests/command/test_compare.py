"""`python -m medtech compare` as an operator or a script calls it, against a real Azurite."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from medtech import parts
from medtech.command.line import app
from medtech.comparison.store import Comparisons, Judged
from medtech.errors import StorageUnavailable
from medtech.storage.connection import Storage

_NOON = 637_826_832_000_000_000  # 2022-03-12T12:00:00Z
_OURS = b'{"resourceType":"Observation","valueQuantity":{"value":98.60,"unit":"SECRET [bold]"}}'
_STORED = b'{"resourceType":"Observation","id":"x","valueQuantity":{"value":98.7,"unit":"SECRET [bold]"}}'
_SAME = [Judged(f"{number:064x}", "hr", "same") for number in range(3)]
_ABSENT = Judged(64 * "a", "hr", "absent", sides=(_OURS, None))
_DIFFERENT = Judged(64 * "b", "spo2", "different", ("value",), "UnitMismatch", "x", (_OURS, _STORED))


@pytest.fixture
def comparisons(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> Comparisons:
    comparisons = Comparisons(storage)
    monkeypatch.setattr(parts, "comparisons", lambda: comparisons)
    return comparisons


def _run(*arguments: str, answers: str | None = None, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["compare", *arguments], input=answers, catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def _document(*arguments: str, code: int) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(_run(*arguments, "--json", code=code).stdout)
    return document


def test_the_exit_code_says_whether_anything_differs(comparisons: Comparisons) -> None:
    assert "Nothing was compared yet" in _run(code=2).stdout
    comparisons.of(0, _NOON).add(_SAME, _NOON)
    assert "hr" in _run(code=0).stdout
    comparisons.of(0, _NOON).add([_ABSENT], _NOON)
    assert _document(code=1)["absent"] == 1
    assert _document("--type", "none", code=2)["types"] == []
    assert _document("--since", "2022-03-13", code=2)["compared"] == 0


def test_a_terminal_of_80_columns_shows_all_of_the_table(
    comparisons: Comparisons, monkeypatch: pytest.MonkeyPatch
) -> None:
    comparisons.of(0, _NOON).add(_SAME, _NOON)
    monkeypatch.setenv("COLUMNS", "80")
    words = _run(code=0).stdout.split()
    assert {"type", "hr", "compared", "different", "(UTC)", "to", "2022-03-12", "12:00"} <= set(words)


def test_storage_that_is_away_is_not_taken_for_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> Comparisons:
        raise StorageUnavailable("Storage is away.")

    monkeypatch.setattr(parts, "comparisons", away)
    assert "Storage is away." in _run(code=2).stderr


def test_the_table_has_types_and_the_list_has_examples(comparisons: Comparisons) -> None:
    comparisons.of(0, _NOON).add([*_SAME, _ABSENT, _DIFFERENT], _NOON)
    text = _run("list", code=1).stdout
    for told in ("hr", "spo2", "2022-03-12 12:00", "spo2  different: value, UnitMismatch", "20220312120000-000-aaaa"):
        assert told in text
    document = _document(code=1)
    assert {name: document[name] for name in ("compared", "same", "absent", "different", "truncated")} == {
        "compared": 5,
        "same": 3,
        "absent": 1,
        "different": 1,
        "truncated": False,
    }
    assert [(each["type"], each["same"], each["absent"], each["different"]) for each in document["types"]] == [
        ("hr", 3, 1, 0),
        ("spo2", 0, 0, 1),
    ]
    assert document["differences"][1] == {
        "id": "20220312120000-000-bbbbbbbbbbbbbbbb",
        "type": "spo2",
        "outcome": "different",
        "elements": ["value"],
        "error": "UnitMismatch",
        "observation": "x",
        "time": "2022-03-12T12:00:00.0000000Z",
    }
    assert "SECRET" not in text + json.dumps(document)


def test_more_than_the_examples_are_told_of(comparisons: Comparisons) -> None:
    comparisons.of(0, _NOON).add([_ABSENT._replace(observation=f"{number:064x}") for number in range(30)], _NOON)
    document = _document(code=1)
    assert (len(document["differences"]), document["truncated"]) == (20, True)
    assert "There are more" in _run(code=1).stdout


def test_show_has_values_only_where_they_are_asked_for(comparisons: Comparisons) -> None:
    comparisons.of(0, _NOON).add([_DIFFERENT], _NOON)
    found = _document(code=1)["differences"][0]["id"]
    for arguments in ((found,), (found, "--json")):
        assert "SECRET" not in _run("show", *arguments).stdout
        assert "UnitMismatch" in _run("show", *arguments).stdout
    assert "Add --show-body" in _run("show", found).stdout
    text = _run("show", found, "--show-body").stdout
    assert "Add --show-body" not in text
    line = next(each for each in text.splitlines() if "98.60" in each)
    assert "98.7" in line, "the sides are not next to each other"
    assert "SECRET [bold]" in text
    assert '"value":98.60' in _run("show", found, "--show-body", "--json").stdout.replace(" ", "")


@pytest.mark.parametrize(("difference_id", "code"), [("nonsense", 2), (f"20220312120000-000-{16 * '0'}", 1)])
def test_show_of_none(comparisons: Comparisons, difference_id: str, code: int) -> None:
    _run("show", difference_id, code=code)


def test_clear_asks_and_begins_anew(comparisons: Comparisons) -> None:
    count: Callable[[], int] = lambda: sum(each.compared for each in comparisons.types())  # noqa: E731
    comparisons.of(0, _NOON).add([*_SAME, _ABSENT], _NOON)
    _run("clear", answers="n\n", code=1)
    assert count() == 4
    assert "1 difference" in _run("clear", "--yes").stdout
    assert count() == 0
