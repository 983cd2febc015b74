"""A hundred thousand letters, folded into a table of causes."""

import tracemalloc

from medtech.dead_letter.causes import MAX_CAUSES, Causes, fold
from medtech.dead_letter.store import Summary


def _letter(
    number: int, message: str, error: str = "DeviceNotFound", *, last_time: str = "2022-03-12", job: str = ""
) -> Summary:
    return Summary(
        partition_key="20220312|0a1b2c3d|0003",
        row_key=f"{number:019d}|{637_826_832_000_000_000:019d}|Normalization|{error}",
        kind="event",
        hub="0a1b2c3d",
        error=error,
        stage="Normalization",
        type="DeviceMessageError",
        severity="Error",
        message=message,
        count=2,
        first_time="2022-03-11",
        last_time=last_time,
        entities=1,
        job=job,
        etag="",
    )


def test_a_cause_on_a_thousand_devices_is_one_row_with_its_counts_and_times() -> None:
    devices = [_letter(number, f"No Device has the identifier 'device {number}'.") for number in range(1000)]
    last = _letter(1000, "No Device has the identifier 'last'.", last_time="2022-03-14", job="job")
    other = _letter(7, "Device/x does not name a Patient.")
    causes = fold([*devices[:500], other, last, *devices[500:]])
    first, second = causes.table()
    assert (causes.letters, first.letters, first.written, first.held) == (1002, 1001, 2002, 1)
    assert (first.shape, second.shape) == (
        "No Device has the identifier '…'.",
        "Device/… does not name a Patient.",
    )
    assert (first.first_time, first.last_time, first.example) == ("2022-03-11", "2022-03-14", last)
    assert first.fingerprint == last.cause != second.fingerprint


def test_one_message_of_two_errors_is_two_causes() -> None:
    assert len(fold([_letter(1, "No."), _letter(1, "No.", "EncounterNotFound")]).table()) == 2


def test_causes_without_end_fold_into_further_ones() -> None:
    letters = [_letter(number, "No value for " + "a" * (number + 1)) for number in range(MAX_CAUSES + 10)]
    causes = fold([*letters, *letters])
    further, *kept = causes.table()
    assert (further.letters, further.fingerprint, further.shape) == (20, "", "(further messages)")
    assert [cause.letters for cause in kept] == [2] * MAX_CAUSES


def test_memory_does_not_grow_with_the_letters() -> None:
    causes = Causes(max_causes=10)
    tracemalloc.start()
    try:
        for number in range(20_000):
            causes.add(_letter(number, f"{'word ' * (number % 100)} {number}"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000
