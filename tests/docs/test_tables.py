"""Tables of the pages that have no page-wide test of their own, compared with the code."""

from bench import latency
from medtech.settings import ResolutionType, Settings
from tests.docs import markdown
from tests.docs.markdown import ROOT, plain

DOCS = ROOT / "docs"


def test_the_first_latency_is_that_of_the_defaults_and_the_bound_is_their_sum() -> None:
    rows = markdown.read(DOCS / "latency.md").table("`WINDOW_SECONDS`").rows
    defaults = Settings.model_fields
    assert latency.DEFAULTS["WINDOW_SECONDS"] == str(defaults["window_seconds"].default)
    assert latency.DEFAULTS["FLUSH_GRACE_SECONDS"] == str(defaults["flush_grace_seconds"].default)
    assert latency.DEFAULTS["FLUSH_SCHEDULE"] in (ROOT / "function_app.py").read_text(encoding="utf-8")
    assert tuple(latency.DEFAULTS.values()) == tuple(map(_code, rows[0][:3]))
    for window, grace, schedule, bound, *_ in rows:
        seconds = int(window) + int(grace) + latency.seconds_between_ticks(_code(schedule))
        assert bound == f"{seconds} s"


def test_every_resolution_type_is_told() -> None:
    rows = markdown.read(DOCS / "observations.md").table("`RESOURCE_IDENTITY_RESOLUTION_TYPE`").rows
    assert [plain(row[0]) for row in rows] == [each.value for each in ResolutionType]


def _code(cell: str) -> str:
    return cell.strip("`")
