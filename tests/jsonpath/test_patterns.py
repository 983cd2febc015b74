"""Regular expressions: what .NET and the `regex` package read alike, and that all else is refused.

The table is `patterns.json`. What `same` patterns match was written down from .NET's documentation of its regular
expressions; `position` is where a refused pattern stops making sense, 0 where only the package knows.
"""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from medtech.evaluation_budget import UNBOUNDED, BudgetSpent, EvaluationBudget
from medtech.jsonpath.errors import PathInvalid
from medtech.jsonpath.path import compile_path
from medtech.jsonpath.patterns import PatternInvalid, compile_pattern, search

TABLE = json.loads((Path(__file__).parent / "patterns.json").read_text("utf-8"))
SAME = [row for row in TABLE if row["outcome"] == "same"]
REFUSED = [row for row in TABLE if row["outcome"] == "refused"]


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


@pytest.mark.parametrize("row", SAME, ids=[row["pattern"] for row in SAME])
def test_means_what_it_means_in_dotnet(row: dict[str, Any]) -> None:
    pattern = compile_pattern(row["pattern"])
    assert [text for text in row["matches"] if not search(pattern, text, UNBOUNDED)] == []
    assert [text for text in row["others"] if search(pattern, text, UNBOUNDED)] == []


@pytest.mark.parametrize("row", REFUSED, ids=[row["pattern"] for row in REFUSED])
def test_is_refused_when_the_mapping_is_loaded(row: dict[str, Any]) -> None:
    with pytest.raises(PatternInvalid) as caught:
        compile_pattern(row["pattern"])
    assert row["says"] in caught.value.message
    assert caught.value.position == row["position"]
    with pytest.raises(PathInvalid) as in_path:
        compile_path(f"$.rows[?(@ =~ {_quoted(row['pattern'])})]")
    assert (in_path.value.message, in_path.value.position) == (caught.value.message, len("$.rows[?(@ =~ "))


def test_the_place_of_a_refusal_is_one_in_the_path() -> None:
    with pytest.raises(PathInvalid) as caught:
        compile_path(r"$.rows[?(@.kind =~ /^[\w-[aeiou]]/i)]")
    assert caught.value.position == r"$.rows[?(@.kind =~ /^[\w-[aeiou]]/i)]".index("-[")


@pytest.mark.parametrize("row", REFUSED, ids=[row["pattern"] for row in REFUSED])
def test_matches_nothing_when_it_comes_from_a_message(row: dict[str, Any]) -> None:
    document = {"rows": ["a", "b", "aa", "ab", "a{e}", "é"], "pattern": row["pattern"]}
    assert compile_path("$.rows[?(@ =~ $.pattern)]").find(document) == []


def test_patterns_of_a_message_are_each_their_own() -> None:
    patterns = [f"/^{number}$/" for number in range(50)]
    document = {"rows": [str(number) for number in range(50)], "patterns": [*patterns, 5, None, "x"]}
    assert compile_path("$.rows[?(@ =~ $.patterns[*])]").find(document) == document["rows"]
    assert compile_path("$.rows[?(@ =~ $.patterns[7])]").find(document) == ["7"]


@pytest.mark.parametrize("text", ["", "/", "x", "x/", "/x", "a//i"])
def test_what_is_between_slashes(text: str) -> None:
    """Json.NET drops the first character, whatever it is, and takes what is before the last slash."""
    if text.rfind("/") < 1:
        with pytest.raises(PatternInvalid, match="is written /pattern/"):
            compile_pattern(text)
    else:
        assert search(compile_pattern(text), "any/thing", UNBOUNDED)


_PIECES = st.sampled_from([row["pattern"].strip("/") for row in TABLE]) | st.sampled_from(
    [*list(r"\[](){}?*+|^$.-&~:<>'#=!,019abceikmnpsuxzZK é😀"), "(?", "[^", "-[", "\\p{", "{e}", "(?<", "\\k<"]
)


@pytest.mark.timeout(120)
@given(st.lists(_PIECES | st.characters(), max_size=12).map("".join), st.text("ab{}-[]1é", max_size=12))
def test_any_text_is_a_pattern_or_refused(text: str, subject: str) -> None:
    written = f"/{text}/"
    try:
        pattern = compile_pattern(written)
    except PatternInvalid as error:
        assert error.message
        assert 0 <= error.position <= len(written)
        return
    assert not pattern.flags & (regex.VERSION1 | regex.VERBOSE)
    with contextlib.suppress(BudgetSpent):
        assert search(pattern, subject, EvaluationBudget(10**6)) in (True, False)
