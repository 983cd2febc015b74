"""What declared settings take, against pydantic, whose rules they are."""

from enum import StrEnum
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from medtech.declared_settings import DeclaredSettings, Fault, Field, SecretStr, SettingsInvalid, field_validator

REFUSED = "refused"

NUMBERS = [
    *("5", " 5 ", "+5", "-5", "005", "-0", "1_000", "1.0", "1.000", "1.", "5\n", "\t5", "0_1"),
    *(
        "",
        " ",
        ".0",
        "1.5",
        "1.0.0",
        "1e3",
        "0x10",
        "0b1",
        "_1",
        "1_",
        "1__0",
        "--5",
        "+ 5",
        "five",
        "٥",
        "１",
        "1,000",
    ),
    *("9" * 4300, "9" * 4301, "1" + "0" * 5000, "1." + "0" * 50, "1_000.0", "nan", "inf", "True"),
]
SWITCHES = [
    *("1", "0", "true", "TRUE", "False", "t", "F", "yes", "Y", "no", "N", "on", "OFF", "oN"),
    *("", " ", " true", "true ", "2", "tru", "none", "1.0", "ＴＲＵＥ", "\u017fes", "O\u212a"),
]


class Level(StrEnum):
    LOW = "Low"
    HIGH = "High"


class Chosen(DeclaredSettings):
    number: Annotated[int, Field(ge=1, le=9, description="One digit.")] = 5
    free: int = 0
    fraction: Annotated[float, Field(ge=0, le=9)] = 1
    switch: bool = False
    level: Level = Level.LOW
    secret: SecretStr = SecretStr("")
    text: str = ""

    @field_validator("text", mode="before")
    @classmethod
    def _trimmed(cls, value: Any) -> Any:
        return value.strip() if isinstance(value, str) else value

    @field_validator("text")
    @classmethod
    def _not_bad(cls, value: str) -> str:
        if value == "bad":
            raise ValueError("is bad")
        return value.upper()


def ours(name: str, text: str) -> Any:
    try:
        return getattr(Chosen.of({name: text}), name)
    except SettingsInvalid:
        return REFUSED


def pydantics(kind: type, text: str) -> Any:
    try:
        return TypeAdapter(kind).validate_python(text)
    except ValidationError:
        return REFUSED


@pytest.mark.parametrize("text", NUMBERS, ids=lambda text: repr(text)[:20])
def test_a_whole_number_is_what_pydantic_reads(text: str) -> None:
    assert ours("free", text) == pydantics(int, text)


@pytest.mark.parametrize(("text", "number"), [("0.15", 0.15), (" 2 ", 2.0), ("+3", 3.0), ("0", 0.0)])
def test_a_number_may_have_a_fraction(text: str, number: float) -> None:
    assert ours("fraction", text) == number


@pytest.mark.parametrize(
    "text", ["", "nan", "inf", "1e0", "0,5", ".5", "1.", "0x1", "\N{ARABIC-INDIC DIGIT THREE}", "9.1"]
)
def test_what_is_no_number_within_bounds_is_refused(text: str) -> None:
    assert ours("fraction", text) is REFUSED


# Python counts these as blanks, and pydantic does not.
_SEPARATORS = "\x1c\x1d\x1e\x1f"


@given(
    st.from_regex(r"[ \t\n]?[+-]?[0-9_]{0,5}(\.0{0,3})?[ \xa0]?", fullmatch=True)
    | st.text(st.characters(exclude_characters=_SEPARATORS), max_size=4)
)
def test_any_text_is_the_number_that_pydantic_reads(text: str) -> None:
    assert ours("free", text) == pydantics(int, text)


@pytest.mark.parametrize("text", SWITCHES, ids=repr)
def test_a_switch_is_what_pydantic_reads(text: str) -> None:
    assert ours("switch", text) == pydantics(bool, text)


@given(st.text(max_size=5))
def test_any_text_is_the_switch_that_pydantic_reads(text: str) -> None:
    assert ours("switch", text) == pydantics(bool, text)


def test_every_fault_is_told_in_the_order_of_the_fields_and_without_values() -> None:
    with pytest.raises(SettingsInvalid) as caught:
        Chosen.of({"text": "bad", "level": "SECRET", "number": "10", "free": "", "switch": "SECRET", "secret": 5})
    assert caught.value.faults == [
        Fault("number", "is too large"),
        Fault("free", "is empty"),
        Fault("switch", "is neither true nor false"),
        Fault("level", "is none of its choices"),
        Fault("secret", "cannot be read"),
        Fault("text", "is bad"),
    ]


def test_fields_are_read_from_the_environment_in_any_case_unless_they_are_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NUMBER", "7")
    monkeypatch.setenv("Level", " hIGH ")
    monkeypatch.setenv("TEXT", " quiet ")
    chosen = Chosen(number=8)
    assert (chosen.number, chosen.level, chosen.text) == (8, Level.HIGH, "QUIET")
    assert Chosen.of({}).number == 5, "of no environment"


def test_what_is_no_field_is_refused() -> None:
    with pytest.raises(TypeError, match="numbers"):
        Chosen(numbers=1)  # type: ignore[call-arg]


def test_settings_stay_as_they_are_read() -> None:
    with pytest.raises(AttributeError):
        Chosen().number = 6  # type: ignore[misc]


def test_a_secret_is_not_shown() -> None:
    chosen = Chosen.of({"secret": "hidden"})
    assert "hidden" not in f"{chosen!r} {chosen.secret} {chosen.secret!r}"
    assert chosen.secret.get_secret_value() == "hidden"
    assert chosen.secret == SecretStr("hidden") != SecretStr("other")
    assert chosen.secret and not SecretStr("")
