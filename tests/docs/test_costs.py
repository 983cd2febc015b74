"""The counts in docs/costs.md are those of the app."""

from bench import operations
from tests.docs import markdown
from tests.docs.markdown import ROOT


def _counts(row: tuple[str, ...]) -> list[int]:
    return [int(cell.replace(",", "")) for cell in row[1:]]


def test_the_table_of_requests_is_what_is_counted_on_the_wire() -> None:
    table = markdown.read(ROOT / "docs" / "costs.md").table("1,000 messages")
    shown = {row[0]: _counts(row) for row in table.rows}
    figures = operations.measure(max(operations.BATCHES))
    assert figures.messages == 1_000
    assert shown == {
        "normalize, batches of up to 500": list(figures.normalize[:4]),
        "normalize, each message a batch": [figures.messages, 0, 0, 0],
        "flush": list(figures.flush[:4]),
        "a tick with an empty buffer": list(figures.idle_flush[:4]),
        "a tick with readings in four shards, none of them due": list(figures.early_flush[:4]),
    }
