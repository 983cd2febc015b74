"""docs/telemetry.md says what is exported, no more and no less."""

from medtech.telemetry.instruments import INSTRUMENTS
from tests.telemetry.documents import PAGE


def test_the_metrics_are_the_ones_in_the_code() -> None:
    in_code = [
        (each.name, f"{each.kind}, {each.unit}", ", ".join(each.dimensions), each.meaning) for each in INSTRUMENTS
    ]
    documented = [
        (name, kind, dimensions.strip("–"), meaning) for name, kind, dimensions, meaning, _ in PAGE.table("metric").rows
    ]
    assert documented == in_code
