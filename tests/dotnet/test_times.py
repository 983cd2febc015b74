"""Dates as .NET reads and prints them; the shapes of the vectors are in tests/vectors/token.jsonl."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medtech.dotnet.text import BLANKS
from medtech.dotnet.ticks import MAX_TICKS
from medtech.dotnet.ticks import format_iso as format_ticks
from medtech.dotnet.times import NoDate, format_invariant, format_iso, json_date, parse, utc_ticks

JSON_DATES = [
    ("2019-02-01T22:46:01", "2019-02-01T22:46:01", "without a zone it is written again without"),
    ("2019-02-01T22:46:01.500Z", "2019-02-01T22:46:01.5Z", "trailing zeros go"),
    ("2019-02-01T22:46:01.0000000Z", "2019-02-01T22:46:01Z", "an empty fraction goes whole"),
    ("2019-02-01T22:46:01z", "2019-02-01T22:46:01Z", None),
    ("2019-02-01T22:46:01+02:00", "2019-02-01T20:46:01+00:00", "an offset becomes the service's own"),
    ("2019-02-01T22:46:01+02", "2019-02-01T20:46:01+00:00", None),
    ("2019-02-01T22:46:01+02:", "2019-02-01T20:46:01+00:00", "the reader takes a colon with nothing after it"),
    ("2019-02-01T22:46:01-99:99", "2019-02-06T03:25:01+00:00", "offsets have no limit but their digits"),
    ("2019-02-01T22:46:01.123456789", "2019-02-01T22:46:01.1234567", "two further digits are swallowed"),
    ("2019-02-01T22:46:0130", "2019-02-01T22:46:01", "here too"),
    ("2019-02-01T22:46:01:30", "2019-02-01T22:46:01", "and after a colon"),
    ("2019-02-01T24:00:00.000Z", "2019-02-02T00:00:00Z", "midnight at the end of a day"),
    ("0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00+00:00", "stays at the first tick"),
    ("9999-12-31T23:59:59-14:00", "9999-12-31T23:59:59.9999999+00:00", "stays at the last tick"),
    ("/Date(1549061161875)/", "2019-02-01T22:46:01.875Z", None),
    ("/Date(-1)/", "1969-12-31T23:59:59.999Z", None),
    ("/Date(1549061161875-0530)/", "2019-02-01T22:46:01.875+00:00", "milliseconds are UTC whatever the offset"),
]


@pytest.mark.parametrize(("text", "iso", "why"), JSON_DATES, ids=[case[0] for case in JSON_DATES])
def test_json_string_is_a_date(text: str, iso: str, why: str | None) -> None:
    moment = json_date(text)
    assert moment is not None
    assert format_iso(moment) == iso, why


@pytest.mark.parametrize(
    "text",
    [
        "2019-02-01T22:46:01.12345678",  # eight digits: one is left over
        "2019-02-01T22:46:01.12345678Z",
        "2019-02-01T22:46:01.",
        "2019-02-01T22:46:01,5Z",
        "2019-02-01T22:46:01ZZ",
        "2019-02-01T22:46:01 Z",
        "2019-02-01T22:46:01+",
        "2019-02-01T22:46:01+2",
        "2019-02-01 22:46:01Z",
        "2019-02-01t22:46:01Z",
        "2019-02-29T22:46:01Z",
        "2019-00-01T22:46:01Z",
        "0000-01-01T22:46:01Z",
        "2019-02-01T24:00:01Z",
        "2019-02-01T24:00:00.1Z",
        "2019-02-01T22:60:01Z",
        "2019-02-01T22:46:60Z",
        "9999-12-31T24:00:00Z",
        "2019-W05-5T22:46:01Z",
        "２０１９-02-01T22:46:01Z",
        "/Date()/",
        "/Date(x)/",
        "/Date(1549061161875+02:00)/",
        "/Date(99999999999999999999)/",
        "/Date(999999999999999999)/",
        "/Date(1549061161875)",
    ],
)
def test_json_string_stays_a_string(text: str) -> None:
    assert json_date(text) is None
    assert utc_ticks(text) is None


PARSED = [
    ("2019-02-01", "2019-02-01T00:00:00.0000000Z"),
    ("2019-02", "2019-02-01T00:00:00.0000000Z"),
    ("02/2019", "2019-02-01T00:00:00.0000000Z"),
    ("  2019-2-1  1:2:3  ", "2019-02-01T01:02:03.0000000Z"),
    ("2019/02/01T10:00Z", "2019-02-01T10:00:00.0000000Z"),
    ("2019-02-01 10:00:00.12345664", "2019-02-01T10:00:00.1234566Z"),
    ("2019-02-01 10:00:00.12345675", "2019-02-01T10:00:00.1234568Z"),
    ("2019-02-01 23:59:59.9999999999", "2019-02-02T00:00:00.0000000Z"),
    ("2019-02-01 10:00 +2", "2019-02-01T08:00:00.0000000Z"),
    ("2019-02-01 10:00 GMT", "2019-02-01T10:00:00.0000000Z"),
    ("2019-02-01 10:00 +1:5", "2019-02-01T08:55:00.0000000Z"),
    ("2019-02-01+02:00", "2019-01-31T22:00:00.0000000Z"),
    ("2019-02-01-02:00", "2019-02-01T02:00:00.0000000Z"),
    ("2019-02-01Z", "2019-02-01T00:00:00.0000000Z"),
    ("2019-02-01t10:00:00.5 -0130", "2019-02-01T11:30:00.5000000Z"),
    ("12/31/49", "2049-12-31T00:00:00.0000000Z"),
    ("12/31/50", "1950-12-31T00:00:00.0000000Z"),
    ("2/1/2019 12:00 AM", "2019-02-01T00:00:00.0000000Z"),
    ("2/1/2019 12:30 pm", "2019-02-01T12:30:00.0000000Z"),
    ("2/1/2019 10PM", "2019-02-01T22:00:00.0000000Z"),
    ("2/1/2019 22:00 PM", "2019-02-01T22:00:00.0000000Z"),
    ("10:00 PM 2/1/2019", "2019-02-01T22:00:00.0000000Z"),
    ("1-Feb-2019", "2019-02-01T00:00:00.0000000Z"),
    ("Feb 2019", "2019-02-01T00:00:00.0000000Z"),
    ("Friday, February 1, 2019 10:46:01 PM", "2019-02-01T22:46:01.0000000Z"),
    ("Sun, 06 Nov 1994 08:49:37 GMT", "1994-11-06T08:49:37.0000000Z"),
    ("1.2.2019", "2019-01-02T00:00:00.0000000Z"),
    ("1.2.19", "2019-01-02T00:00:00.0000000Z"),
    ("1.2.3", "2003-01-02T00:00:00.0000000Z"),
    ("1/2-2019", "2019-01-02T00:00:00.0000000Z"),
    ("2019.02", "2019-02-01T00:00:00.0000000Z"),
    ("5.1234", "1234-05-01T00:00:00.0000000Z"),
    ("1,234", "0234-01-01T00:00:00.0000000Z"),
    ("2019-02+02:00", "2019-01-31T22:00:00.0000000Z"),
    ("Feb 2019 +02:00", "2019-01-31T22:00:00.0000000Z"),
    ("01FEB2019", "2019-02-01T00:00:00.0000000Z"),
    ("Feb. 1, 2019", "2019-02-01T00:00:00.0000000Z"),
    ("Fri 1Feb2019 10:00", "2019-02-01T10:00:00.0000000Z"),
    ("2019-02-01 10:00:00.", "2019-02-01T10:00:00.0000000Z"),
    ("2019-02-01 10:00:00.Z", "2019-02-01T10:00:00.0000000Z"),
    ("2019-02-01,", "2019-02-01T00:00:00.0000000Z"),
    ("2019-02-01 T 10 : 00 : 01.5Z", "2019-02-01T10:00:01.5000000Z"),
    ("2019 02 01T10:00", "2019-02-01T10:00:00.0000000Z"),
    ("10:00 2019-02-01+02:00", "2019-02-01T08:00:00.0000000Z"),
    ("1/2/2024, 3:04:05\u202fPM", "2024-01-02T15:04:05.0000000Z"),  # as browsers write it
    ("1/2/2024\u00a03:04 PM", "2024-01-02T15:04:00.0000000Z"),
    ("\u3000Friday,\u2003February\u20091,\u20052019\x8510:46\u2028PM\u2029", "2019-02-01T22:46:00.0000000Z"),
    ("2019-02-01\u00a0T\u00a010\u00a0:\u00a000\u00a0+02:00", "2019-02-01T08:00:00.0000000Z"),
    ("2019\u202f02\u202f01", "2019-02-01T00:00:00.0000000Z"),
]


@pytest.mark.parametrize(("text", "iso"), PARSED, ids=[case[0] for case in PARSED])
def test_text_is_parsed_by_the_invariant_culture(text: str, iso: str) -> None:
    assert format_ticks(parse(text)) == iso


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "2019",
        "20190201",
        "13/01/2019",
        "2/1",  # .NET takes this year's
        "1 Feb",
        "Thu, 01 Feb 2019 22:46:01 GMT",  # a Friday
        "78.0",
        "1,000",  # there is no year 0
        "36.6",
        "36.2019",
        "2019-02Z",
        "2019-02 10:00",
        "Feb 2019 10:00",
        "02/2019 GMT",
        "1.123T10:00",
        "2019-02-01 10:00 GMT-0130",  # GMT is an offset already
        "2019-02-01 GMT+2",
        "2019-02-01 10:00 PMZ",
        "2019-02-01 10:00 Zx",
        "1 Febr 2019",
        "2019-02-01T10:00:00.",
        "2019-02-01T10:00:00,",
        "2019-02-01 24:00:00",
        "2019-02-01 13:00 AM",
        "2019-02-01T10",
        "2019-02-01T1:00",
        "2019-02-01T10:00 AM",
        "2/1/2019T10:00",
        "2019-02-05:00",
        "2019-02-01 10:00 +15:00",
        "2019-02-01 10:00 +1:60",
        "0001-01-01 00:00:00 +01:00",
        "9999-12-31 23:59:59 -01:00",
        "2019-02-01 10:00" + " " * 100,
        "2019-02-01\u200b10:00",  # a blank to the eye only
        "2019-02-01\x1c10:00",
        "2019-02-01 10:0\u00a00",
    ],
)
def test_text_that_is_no_date(text: str) -> None:
    with pytest.raises(NoDate):
        parse(text)


@given(st.sampled_from([text for text, _ in PARSED if " " in text]), st.data())
def test_every_blank_is_a_space(text: str, data: st.DataObject) -> None:
    other = "".join(data.draw(st.sampled_from(BLANKS)) if each == " " else each for each in text)
    assert parse(other) == parse(text)


@pytest.mark.parametrize("text", ["22:46:01", "22:46", "12:30 PM", "2 am", "00:00:00Z"])
def test_time_of_day_without_a_date_says_so(text: str) -> None:
    with pytest.raises(NoDate, match="time of day"):
        parse(text)


ticks = st.integers(0, MAX_TICKS)


@given(ticks)
def test_every_tick_survives_being_written_and_read(moment: int) -> None:
    text = format_ticks(moment)
    assert utc_ticks(text) == moment
    date = json_date(text)
    assert date is not None
    assert date.ticks == moment
    assert json_date(format_iso(date)) == date
    assert parse(format_invariant(moment)) == moment - moment % 10_000_000


shapes = st.from_regex(
    r"[0-9]{3}[0-9W]-[0-9W]{2}-[0-9][0-9-][T ][0-9]{2}:?[0-9]{2}:[0-9]{2}([.,][0-9]{0,9})?(Z|[+-][0-9]{2}:?[0-9]{2})?",
    fullmatch=True,
)
moments = st.builds(
    lambda moment, digits, zone: (
        f"{format_ticks(moment)[:19]}{digits and format_ticks(moment)[19 : 20 + digits]}{zone}"
    ),
    ticks | st.integers(0, 15 * 36_000_000_000) | st.integers(MAX_TICKS - 15 * 36_000_000_000, MAX_TICKS),
    st.integers(0, 7),
    st.sampled_from(["", "Z", "z", "+00:00", "-05:30", "+14:00", "-14:00", "+14:01", "-99:99", "+1:00", "+ 1:00"]),
)


@given(shapes | moments)
def test_the_short_cut_agrees_with_both_rules(text: str) -> None:
    short_cut = utc_ticks(text)
    if short_cut is not None:
        date = json_date(text)
        assert date is not None
        assert short_cut == date.ticks
        assert short_cut == parse(text)


@pytest.mark.parametrize("clock", ["10:00:00", "10:00:00.250", "10:00:00.061144", "10:00:00.8750000"])
@pytest.mark.parametrize("zone", ["Z", "", "+02:00", "-05:30"])
def test_usual_shapes_take_the_short_cut(clock: str, zone: str) -> None:
    assert utc_ticks(f"2024-02-29T{clock}{zone}") is not None


@given(st.text(alphabet="0123456789:/-., TZtzGMapmFebruSnd+\t\x00", max_size=60))
def test_any_text_is_a_date_or_refused(text: str) -> None:
    with contextlib.suppress(NoDate):
        assert 0 <= parse(text) <= MAX_TICKS
