from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medtech.dotnet.decimals import NotANumber
from medtech.errors import PeriodTooLong
from medtech.transform.sampled_data import MAX_TEXT, Layout, build, lay_out_anew, splice, true_values


def test_one_sample_a_slot_from_the_start_and_the_latest_of_a_slot_stands() -> None:
    assert build([(100, "1"), (109, "2"), (125, "3")], 100, 149, 10) == "2 E 3 E E"


@pytest.mark.parametrize("slot", range(5))
def test_a_single_sample_is_built_as_several_are(slot: int) -> None:
    time = 100 + 10 * slot
    assert build([(time, "7")], 100, 149, 10) == build([(time, "6"), (time + 1, "7")], 100, 149, 10)


def test_the_last_slot_may_be_cut_by_the_end() -> None:
    assert build([(100, "1")], 100, 120, 10) == "1 E E"
    assert build([(100, "1")], 100, 119, 10) == "1 E"


def test_new_samples_replace_old_ones_and_the_rest_stays() -> None:
    assert splice("1 E 3", [(110, "2"), (120, "E")], Layout(100, 149, 10)) == ("1 2 E E E", True)


_POINTS = st.sampled_from(["E", "U", "1", "80.5", "-3", ".5"])
_BLANKS = st.sampled_from([" ", " ", " ", " ", "  ", "\t", "\n", "\r\n", "\x0b", "\x1f", "\xa0", "\u2003"])


@st.composite
def _stored_texts(draw: st.DrawFn) -> str:
    """What somebody may have stored: mostly as FHIR has it, now and then with other blanks, often with an empty end."""
    points = draw(st.lists(_POINTS, max_size=6)) + ["E"] * draw(st.integers(0, 6))
    parts = [part for point in points for part in (draw(_BLANKS), point)]
    around = draw(st.sampled_from([("", ""), ("", ""), (" ", ""), ("", " ")]))
    return "".join((around[0], *parts[1:], around[1]))


@given(
    _stored_texts(),
    st.lists(st.tuples(st.integers(100, 279), _POINTS), min_size=1, max_size=8),
    st.integers(0, 79),
)
def test_samples_are_spliced_into_a_text_as_into_its_points(
    stored: str, samples: list[tuple[int, str]], longer: int
) -> None:
    samples = sorted(samples, key=lambda sample: sample[0])
    layout = Layout(100, samples[-1][0] + longer, 10)
    points = stored.split()
    points += ["E"] * ((layout.end - layout.start) // 10 + 1 - len(points))
    before = list(points)
    for time, text in samples:
        points[(time - 100) // 10] = text

    spliced, says_more = splice(stored, samples, layout)

    assert spliced == " ".join(points)
    assert says_more == (points != before)


def test_samples_that_mean_the_same_change_nothing() -> None:
    assert splice("1 E 3", [(100, "1.0"), (105, "1")], Layout(100, 149, 10)) == ("1 E 3 E E", False)
    assert splice("1", [(100, "2"), (105, "1")], Layout(100, 109, 10)) == ("1", False)


def test_points_past_the_end_stay() -> None:
    assert splice("1 2 3", [(100, "0")], Layout(100, 109, 10)) == ("0 2 3", True)
    assert lay_out_anew("1 2 3", 1, 100, 10, Layout(90, 109, 10)) == "E 1 2 3"


def test_an_earlier_start_moves_no_sample_in_time() -> None:
    assert lay_out_anew("1 E U", 1, 100, 10, Layout(80, 129, 10)) == "E E 1 E U"


def test_another_period_keeps_each_samples_time_and_the_latest_of_a_slot() -> None:
    assert lay_out_anew("1 2 E 4", 1, 100, 10, Layout(100, 139, 20)) == "2 4"
    assert lay_out_anew("1 E 3", 1, 100, 20, Layout(100, 159, 10)) == "1 E E E 3 E"


def test_the_numbers_of_one_time_stay_together() -> None:
    assert lay_out_anew("1 2 E E 5 E", 2, 100, 10, Layout(90, 129, 10)) == "E E 1 2 E E 5 E"


def test_factor_and_origin_are_applied_exactly() -> None:
    assert true_values("1 E 2.5 U -3", Decimal("0.1"), Decimal("32")) == "32.1 E 32.25 U 31.7"


@pytest.mark.parametrize(
    ("data", "factor", "origin"),
    [
        ("x", "1", "1"),
        ("1", "1E+999999", "0"),
        ("1", "1E-999999", "0"),
        ("1", "1E+99999999999999999", "1"),
        ("0.1234567890123456789012345678", "0.1", "0"),
    ],
)
def test_what_a_decimal_cannot_hold_is_refused(data: str, factor: str, origin: str) -> None:
    with pytest.raises(NotANumber):
        true_values(data, Decimal(factor), Decimal(origin))


def test_too_many_samples_are_counted_before_they_are_built() -> None:
    longest = (MAX_TEXT + 1) // 2
    assert len(build([(0, "1")], 0, longest - 1, 1)) == 2 * longest - 1
    for make in (
        lambda layout: build([(0, "1")], *layout),
        lambda layout: splice("1", [(0, "1")], layout),
        lambda layout: lay_out_anew("1", 1, 0, 1, layout),
    ):
        with pytest.raises(PeriodTooLong, match="defaultPeriod"):
            make(Layout(0, 10**18, 1))


def test_the_numbers_of_one_time_are_counted_before_they_are_built() -> None:
    """Somebody else's series of a million dimensions would take gigabytes, most of them `E`."""
    of_an_hour = Layout(0, 3599, 1)
    for data in ("1", " ".join(["1"] * 300)):
        with pytest.raises(PeriodTooLong, match="524288 at most"):
            lay_out_anew(data, 300, 0, 1, of_an_hour)
    assert len(lay_out_anew("1 2", 2, 0, 1, of_an_hour).split()) == 7200


def test_long_numbers_count_too() -> None:
    samples = [(time, "1234567890") for time in range(100_000)]
    with pytest.raises(PeriodTooLong, match="characters"):
        build(samples, 0, 100_000, 1)


def test_points_far_past_the_end_are_counted_too() -> None:
    with pytest.raises(PeriodTooLong):
        lay_out_anew("E E 1", 1, 100, 10**12, Layout(100, 149, 1))


points = st.lists(st.sampled_from(["E", "E", "E", "1", "2.5", "U", "1E"]), max_size=12)


@given(
    points,
    st.dictionaries(st.integers(0, 14), st.sampled_from(["E", "7"]), min_size=1),
    st.sampled_from([" ", "  ", "\n"]),
)
def test_samples_after_the_last_one_are_spliced_as_any_others(old: list[str], new: dict[int, str], blank: str) -> None:
    layout = Layout(0, 149, 10)
    expected = [*old, *["E"] * (15 - len(old))]
    for slot, text in new.items():
        expected[slot] = text
    changed = any(text != (old[slot] if slot < len(old) else "E") for slot, text in new.items())
    samples = sorted((slot * 10, text) for slot, text in new.items())
    assert splice(blank.join(old), samples, layout) == (" ".join(expected), changed)
