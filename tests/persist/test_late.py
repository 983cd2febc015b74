"""Which version of an Observation a late create is, and what is taken back of the one that it went over."""

from typing import Any

import pytest

from medtech.dotnet import ticks
from medtech.persist.late import take_back
from medtech.persist.watch import Watch
from tests.persist.samples import HOUR

SENT = HOUR
"""When the late create says that it was issued."""
PERIOD = {"start": "2025-10-09T09:00:00.0000000Z", "end": "2025-10-09T09:03:59.9999999Z"}


def issued(seconds: float) -> dict[str, str]:
    return {"issued": ticks.format_iso(SENT + int(seconds * ticks.TICKS_PER_SECOND))}


def version(number: int, data: str, *, at: float = 0, status: str = "final", **content: Any) -> dict[str, Any]:
    """`at`: seconds after the late create was issued; the server writes a version a second."""
    return {
        "resourceType": "Observation",
        "id": "o",
        "meta": {"versionId": str(number), "lastUpdated": f"2025-10-09T12:00:0{number}.000Z"},
        "status": status,
        "effectivePeriod": PERIOD,
        **issued(at),
        "valueSampledData": {"origin": {"value": 0, "unit": "/min"}, "period": 60_000, "dimensions": 1, "data": data},
        **content,
    }


def merged(number: int, data: str, **content: Any) -> dict[str, Any]:
    return version(number, data, at=number * 10, status="amended", **content)


def taken_back(*newest_first: dict[str, Any], seen: str | None = None) -> dict[str, Any]:
    current, *earlier = newest_first
    return take_back(current, earlier, Watch("Observation", "o", (SENT, SENT), version=seen))


def data(observation: dict[str, Any]) -> str:
    return str(observation["valueSampledData"]["data"])


LATE = version(3, "1 E E E")
BEFORE = [merged(2, "5 2 E E"), version(1, "5 E E E", at=1)]


@pytest.mark.parametrize(
    ("newest_first", "points"),
    [
        pytest.param([LATE, *BEFORE], "5 2 E E", id="the version before stands"),
        pytest.param([version(3, "1 E E 4"), *BEFORE], "5 2 E 4", id="the create adds what that one lacks"),
        pytest.param([merged(4, "1 E 3 E"), LATE, *BEFORE], "1 2 3 E", id="what was merged since stands"),
        pytest.param([version(4, "1 E E E"), LATE, *BEFORE], "5 2 E E", id="carried out twice"),
        pytest.param([version(2, "1 E E E"), version(1, "E E E 4", at=0.001)], "1 E E 4", id="two creates at once"),
        pytest.param([version(3, "1 E E E"), merged(2, "1 2 E E"), version(1, "1 E E E")], "1 2 E E", id="two copies"),
    ],
)
def test_what_is_taken_back(newest_first: list[dict[str, Any]], points: str) -> None:
    assert data(taken_back(*newest_first)) == points
    current, *earlier = newest_first
    assert data(taken_back(current, *reversed(earlier))) == points


@pytest.mark.parametrize(
    "newest_first",
    [
        pytest.param([version(1, "1 E E E")], id="a first version"),
        pytest.param([*BEFORE, version(0, "1 9 9 9")], id="in its place"),
        pytest.param([version(3, "5 E E E", at=60), *BEFORE], id="issued at another time"),
        pytest.param([merged(3, "5 E E E") | issued(0), *BEFORE], id="amended"),
        pytest.param([version(3, "5 E E E", note=[{"text": "n"}]), *BEFORE], id="with what the app never writes"),
        pytest.param([version(2, "1 E E E"), version(1, "1 2 E E")], id="an edit that keeps the time of issue"),
        pytest.param([version(2, "1 E E E"), version(1, "1 E E E", at=1)], id="nothing is missing"),
        pytest.param([version(3, "1 E E E", issued="soon"), *BEFORE], id="no time of issue"),
        pytest.param([merged(4, "1 E E E") | {"status": "entered-in-error"}, LATE, *BEFORE], id="withdrawn since"),
    ],
)
def test_what_stays_as_it_is(newest_first: list[dict[str, Any]]) -> None:
    assert taken_back(*newest_first) is newest_first[0]


@pytest.mark.parametrize("text", ["2025-10-09T09:00:00.000Z", "2025-10-09T11:00:00.001+02:00"])
def test_a_time_that_a_server_has_cut_or_rounded_is_recognised(text: str) -> None:
    assert data(taken_back(LATE | {"issued": text}, *BEFORE)) == "5 2 E E"


def test_what_was_seen_is_not_taken_back_again() -> None:
    """Somebody has deleted a sample since."""
    current = merged(5, "5 E E E")
    history = [merged(4, "5 2 E E"), LATE, *BEFORE]
    assert taken_back(current, *history, seen="4") is current
    assert taken_back(current, *history, seen="3") is current


def test_a_withdrawn_version_stands_as_it_was() -> None:
    withdrawn = merged(2, "5 2 E E") | {"status": "entered-in-error"}
    assert taken_back(LATE, withdrawn, BEFORE[1]) is withdrawn


def test_versions_of_one_moment_are_ordered_by_their_numbers() -> None:
    at_once = [each | {"meta": {**each["meta"], "lastUpdated": "2025-10-09T12:00:00Z"}} for each in (LATE, *BEFORE)]
    assert data(taken_back(at_once[0], *reversed(at_once[1:]))) == "5 2 E E"
