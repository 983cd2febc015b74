import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medtech.dotnet.decimals import NotANumber, parse, plain
from medtech.transform.data_point import same_sample, sample

READINGS = json.loads((Path(__file__).parent / "decimals.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("reading", READINGS, ids=lambda reading: repr(reading["text"]))
def test_reading(reading: dict[str, str | None]) -> None:
    text = reading["text"]
    assert text is not None
    assert _or_none(lambda: plain(parse(text))) == reading["decimal"]
    assert _or_none(lambda: sample(text)) == reading["sample"]


def _or_none(read: object) -> str | None:
    try:
        return read()  # type: ignore[operator,no-any-return]
    except NotANumber:
        return None


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**15), max_value=10**15, places=12))
def test_every_digit_of_a_plain_decimal_is_kept(number: object) -> None:
    text = format(number, "f")
    assert plain(parse(text)) == (text.removeprefix("-") if not float(text) else text)


@given(
    st.text(max_size=40)
    | st.from_regex(r"[-+ ]?[0-9]{0,30}\.?[0-9]{0,30}([eE][-+]?[0-9]{1,12})?[-+ ]?", fullmatch=True)
)
def test_any_text_is_a_sample_without_blanks_or_no_number(text: str) -> None:
    written = _or_none(lambda: sample(text))
    assert written is None or (written.isascii() and not any(c.isspace() for c in written) and len(written) <= 60)


@pytest.mark.parametrize(
    ("one", "other", "same"), [("80", "80.0", True), ("E", "E", True), ("E", "80", False), ("x", "80", False)]
)
def test_samples_are_compared_by_meaning(one: str, other: str, same: bool) -> None:
    assert same_sample(one, other) is same
