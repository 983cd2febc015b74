"""What comparing has found, on the page: each scenario of comparison_scenarios.mjs, with real rows in Azurite."""

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pytest

from dev.browser import Browser
from dev.stack import LocalStack
from medtech.comparison.store import Comparisons, Judged
from medtech.dotnet import ticks
from medtech.storage.connection import Storage
from medtech.storage.payload import ROW_BYTES
from medtech.transform.identifier import SYSTEM
from tests.end_to_end.ward import QUIET, Ward

SCENARIOS = Path(__file__).with_name("comparison_scenarios.mjs")
NAMES = re.findall(r"^export async function (\w+)", SCENARIOS.read_text(encoding="utf-8"), re.MULTILINE)

NOON = 637_826_832_000_000_000  # 2022-03-12T12:00:00Z

OF_OTHER_ROWS = {
    "an_app_that_does_not_compare_says_so",
    "nothing_was_compared_yet",
    "what_was_found_before_the_switch_is_still_shown",
    "without_a_difference_all_are_the_same",
    "storage_that_is_away_is_told",
}


@pytest.fixture(scope="module")
def comparing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    with LocalStack(tmp_path_factory.mktemp("comparing"), settings=QUIET | {"FHIR_WRITE": "compare"}) as stack:
        yield stack


@pytest.fixture(scope="module")
def watcher() -> Iterator[Browser]:
    with Browser(SCENARIOS) as browser:
        yield browser


@pytest.mark.parametrize("scenario", [name for name in NAMES if name not in OF_OTHER_ROWS])
def test_page(scenario: str, watcher: Browser, comparing: LocalStack) -> None:
    fill(comparing, one_of_each())
    assert watcher.play(scenario, comparing) == []


def test_without_rows(watcher: Browser, comparing: LocalStack) -> None:
    fill(comparing, {})
    assert watcher.play("nothing_was_compared_yet", comparing) == []


def test_without_differences(watcher: Browser, comparing: LocalStack) -> None:
    fill(comparing, {NOON: [judged(number, "heartRate", "same") for number in range(3)]})
    assert watcher.play("without_a_difference_all_are_the_same", comparing) == []


def test_beside_an_app_that_writes(watcher: Browser, ward: Ward) -> None:
    fill(ward.stack, {})
    assert watcher.play("an_app_that_does_not_compare_says_so", ward.stack) == []
    fill(ward.stack, one_of_each())
    assert watcher.play("what_was_found_before_the_switch_is_still_shown", ward.stack) == []


def test_without_storage(watcher: Browser, comparing: LocalStack) -> None:
    comparing.storage.stop()
    try:
        assert watcher.play("storage_that_is_away_is_told", comparing) == []
    finally:
        comparing.storage.start()
        comparing.storage.wait_until_ready()


def fill(stack: LocalStack, rows: Mapping[int, Sequence[Judged]]) -> None:
    """Puts into storage what was judged, by window, in place of all that is there."""
    with closing(Storage(environment={"BufferStorage": stack.storage_connection_string})) as storage:
        comparisons = Comparisons(storage)
        comparisons.clear()
        for window, each in rows.items():
            comparisons.of(0, window).add(each, NOON)


def judged(
    number: int, type_name: str, outcome: str, elements: tuple[str, ...] = (), ours: Any = None, stored: Any = None
) -> Judged:
    """The sides as values or as texts of JSON."""
    sides = (_json(ours), None if stored is None else _json(stored)) if ours else None
    return Judged(sha256(b"%d" % number).hexdigest(), type_name, outcome, elements, "", f"observation-{number}", sides)


def _json(side: Any) -> bytes:
    return side if isinstance(side, bytes) else orjson.dumps(side)


def component(code: str, value: int, name: str | None = None) -> dict[str, Any]:
    named = [] if name is None else [{"system": SYSTEM, "code": name}]
    return {
        "code": {"coding": [{"system": "http://loinc.org", "code": code}, *named]},
        "valueQuantity": {"value": value, "unit": "mmHg"},
    }


def one_of_each() -> dict[int, list[Judged]]:
    """By window: what is the same, and a difference of each kind."""
    pulse = {"status": "final", "code": {"text": "heartRate"}}
    observed = b'{"status":"final","code":{"text":"%s"},"%s","valueQuantity":{"value":%s,"unit":"/min"}%s}'
    ours = observed % (b"heartRate", b'effectiveDateTime":"2022-03-12T12:00:00Z', b"98.60", b"")
    stored = observed % (b"pulse", b'effectiveDateTime":"2022-03-12T12:00:01Z', b"98.7", b',"meta":{"versionId":"3"}')
    own = [component("8480-6", 121, "systolic"), component("8462-4", 79, "diastolic")]
    of_pressure = ("component:systolic", "component:0")
    others = [component("8462-4", 80), component("8480-6", 122, "systolic"), component("8478-0", 93, "mean")]
    script = {"valueString": "<script>alert(1)</script>\u202e\u2066gnirts\u200b \U000e0041 \x1b[31m"}
    image = {
        "valueString": "</pre><img src=x onerror=alert(1)> [link](javascript:alert(1)) Grüße שלום",
        "<b onclick=alert(1)>\u202e": "\u0085\u2028",
        "__proto__": {"x": 1},
    }
    return {
        NOON: [
            judged(1, "heartRate", "same"),
            judged(2, "heartRate", "different", ("code", "effective", "value"), ours, stored),
            judged(3, "bloodPressure", "different", of_pressure, {"component": own}, {"component": others}),
            judged(4, "<img src=x onerror=alert(1)>\u202eepyt", "different", ("value",), script, image),
            # More than a row holds, even packed.
            judged(5, "large", "absent", (), {"valueString": random.Random(1).randbytes(ROW_BYTES).hex()}),
        ],
        NOON + ticks.TICKS_PER_DAY: [judged(6, "heartRate", "absent", (), pulse)],
    }
