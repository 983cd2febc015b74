"""Which letters a selection means, against a real Azurite."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medtech.dead_letter import letter as letters
from medtech.dead_letter.letter import Letter
from medtech.dead_letter.letter_id import letter_id, origin_of, sought
from medtech.dead_letter.selection import Selection, SelectionInvalid, read
from medtech.dead_letter.store import DeadLetters, Summary
from medtech.dotnet import ticks
from medtech.errors import BufferCorrupt, DeviceNotFound, MedTechError, NotSupported, ReadingInvalid
from medtech.model import DeviceEvent, Measurement
from medtech.normalize.batch import failure_of_event
from medtech.storage.connection import Storage

_NOON = 637_826_832_000_000_000  # 2022-03-12T12:00:00Z
_DAY = ticks.TICKS_PER_DAY
_HOUR = ticks.TICKS_PER_HOUR


def _event(number: int, error: MedTechError, day: int = 0, partition: str = "3") -> Letter:
    event = DeviceEvent(b"{", {}, {}, _NOON + day * _DAY, "0a1b2c3d", partition, number)
    return letters.of_event(event, [failure_of_event(error)])


def _measurement(number: int, reading: str) -> Letter:
    measurement = Measurement(
        "hr", _NOON, "device", None, None, None, (("hr", reading),), _NOON, "3", number, 0, int(reading)
    )
    return letters.of_measurement(measurement, "0a1b2c3d", ReadingInvalid("The value of 'hr' is not a number."))


def _row(name: str, hub: str = "0a1b2c3d") -> Letter:
    return letters.of_row("00|20220312", name, hub, _NOON, b"damaged", BufferCorrupt("It is damaged."))


@pytest.fixture
def dead_letters(storage: Storage) -> DeadLetters:
    return DeadLetters(storage)


def _numbers(found: list[Summary]) -> list[int]:
    return [each.origin.sequence_number for each in found if each.origin is not None]


def _selected(dead_letters: DeadLetters, **filters: str) -> list[int]:
    return _numbers(list(dead_letters.select(read(now=_NOON, **filters))))


class TestFilters:
    @pytest.fixture(autouse=True)
    def _three_letters(self, dead_letters: DeadLetters) -> None:
        dead_letters.store([_event(1, NotSupported("No JSON.")), _event(2, DeviceNotFound("No Device."))], _NOON)
        dead_letters.store([_measurement(3, "7")], _NOON + _DAY)

    @pytest.mark.parametrize(
        ("filters", "numbers"),
        [
            ({}, [1, 2, 3]),
            ({"stage": "normalization"}, [1, 2]),
            ({"stage": "FHIRConversion"}, [3]),
            ({"error": "devicenotfound"}, [2]),
            ({"error": "DeviceNotFoundException"}, [2]),
            ({"type": "DeviceMessageError"}, [1, 2]),
            ({"stage": "Normalization", "error": "NotSupported", "type": "DeviceMessageError"}, [1]),
            ({"stage": "FHIRConversion", "error": "NotSupported"}, []),
            ({"from_time": "2022-03-12", "to_time": "2022-03-12"}, [1, 2]),
            ({"from_time": "2022-03-12T12:00:01Z"}, [3]),
            ({"from_time": "2022-03-12T14:00+02:00", "to_time": "2022-03-12T12:01"}, [1, 2]),
            ({"to_time": "2022-03-12T12:00Z"}, []),
            ({"from_time": "1h"}, [1, 2, 3]),
        ],
    )
    def test_a_letter_meets_all_of_them(
        self, dead_letters: DeadLetters, filters: dict[str, str], numbers: list[int]
    ) -> None:
        assert _selected(dead_letters, **filters) == numbers

    def test_the_time_is_that_of_the_last_writing(self, dead_letters: DeadLetters) -> None:
        dead_letters.store([_event(1, NotSupported("No JSON."))], _NOON + 40 * _DAY)
        assert _selected(dead_letters, from_time="2022-04-20") == [1]
        assert _selected(dead_letters, to_time="2022-03-12") == [2]


def test_a_selection_goes_on_after_a_letter(dead_letters: DeadLetters) -> None:
    written = [_event(number, NotSupported("No."), number % 3, str(number % 2)) for number in range(12)]
    dead_letters.store(written, _NOON)
    everything = list(dead_letters.select(Selection()))
    assert len(everything) == 12
    for place, letter in enumerate(everything):
        assert list(dead_letters.select(Selection(), letter.cursor)) == everything[place + 1 :]
    some = Selection(ids=tuple(letter.id for letter in reversed(everything[2:9])))
    assert list(dead_letters.select(some)) == everything[2:9]
    assert list(dead_letters.select(some, everything[4].cursor)) == everything[5:9]


def test_letters_are_found_by_their_ids(dead_letters: DeadLetters) -> None:
    """Several of one message, a damaged row, and keys of another form."""
    written = [_event(1, NotSupported("No.")), *(_measurement(1, str(number)) for number in range(5))]
    written += [_row("e|x"), _row("e|y"), _row("e|z", hub="a-b c")]
    dead_letters.store(written, _NOON)
    found = list(dead_letters.select())
    assert len({letter.id for letter in found}) == len(found) == 9
    for letter in found:
        assert list(dead_letters.select(Selection(ids=(letter.id,)))) == [letter]
        assert set(letter.id) <= set(string.ascii_letters + string.digits + "-.")
        place = sought(letter.id)
        assert place is not None
        assert place.partition_key == letter.partition_key
    assert list(dead_letters.select(Selection(ids=(found[0].id[:-1] + "g", found[0].id[:-12] + "0" * 12)))) == []


def test_an_id_is_met_by_the_other_filters_too(dead_letters: DeadLetters) -> None:
    dead_letters.store([_event(1, NotSupported("No."))], _NOON)
    [letter] = dead_letters.select()
    assert list(dead_letters.select(Selection(ids=(letter.id,), error="DeviceNotFound"))) == []
    # All comparisons that a condition can hold, of which Table storage takes 15.
    everything = Selection("Normalization", "NotSupported", "DeviceMessageError", 0, ticks.MAX_TICKS, (letter.id,))
    assert list(dead_letters.select(everything)) == [letter]
    assert list(dead_letters.select(everything, letter.cursor)) == []


def test_what_an_id_looks_like() -> None:
    letter = _event(17, NotSupported("No."))
    assert letter_id(letter.partition_key, letter.row_key) == "20220312-0a1b2c3d-0003-17-a212c8331faa"
    assert origin_of(letter.partition_key, letter.row_key) == ("0a1b2c3d", "3", 17, _NOON)
    assert origin_of("20220312|0a1b2c3d|row", "row|x") is None


@pytest.mark.parametrize(
    ("option", "filters", "fix"),
    [
        ("stage", {"stage": "Normalisation"}, "Use Normalization"),
        ("error", {"error": "DeviceNotFond"}, "DeviceNotFound"),
        ("type", {"type": "heartRate"}, "DeviceTemplateError, "),
        ("from", {"from_time": "yesterday"}, "Write a date"),
        ("from", {"from_time": "9999-12-31T23:59:59-01:00"}, "Write a date"),
        ("to", {"from_time": "2022-03-13", "to_time": "2022-03-12"}, "Exchange them"),
    ],
)
def test_a_filter_that_cannot_be_meant_is_refused_with_its_fix(option: str, filters: dict[str, str], fix: str) -> None:
    with pytest.raises(SelectionInvalid, match=fix) as raised:
        read(now=_NOON, **filters)
    assert raised.value.option == option


@pytest.mark.parametrize("text", ["", "17", "20220312|0a1b2c3d|0003", "x.1-5f3a9c1be04d", "x.ÿ-5f3a9c1be04d"])
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(SelectionInvalid, match="not the ID"):
        read(now=_NOON, ids=[text])


@pytest.mark.parametrize(
    ("text", "ago"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("7d", 7 * 86400), ("1w", 7 * 86400)]
)
def test_how_long_ago(text: str, ago: int) -> None:
    assert read(now=_NOON, from_time=text).from_time == _NOON - ago * ticks.TICKS_PER_SECOND


def test_times_before_the_first_are_the_first() -> None:
    assert read(now=_NOON, from_time="999999999w").from_time == 0


@given(st.from_regex(r"[0-9]{8}\|[0-9a-zA-Z]{0,9}\|[0-9a-z]{1,4}", fullmatch=True) | st.text(), st.text())
def test_any_keys_have_an_id_that_leads_to_them(partition_key: str, row_key: str) -> None:
    for key in (row_key, f"{17:019d}|{_NOON:019d}|{row_key}"):
        place = sought(letter_id(partition_key, key))
        assert place is not None
        assert place.partition_key == partition_key
        assert key.startswith(place.row_key_start)
