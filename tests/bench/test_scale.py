"""What a traffic needs: monotone, within the limits, and what is known of corner cases; figures and pages."""

import json
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path

import pytest

from bench.scale import __main__ as command
from bench.scale import page, plots
from bench.scale.choices import best, series, single
from bench.scale.figures import Figures, FiguresUnusable
from bench.scale.plan import MOST_SHARDS, TARGET, Plan, Setup, Traffic, assess, breaks_at, plan, shards_hit
from bench.scale.trigger import Sizes

DOCS = Path(__file__).parents[2] / "docs"
FIGURES = Figures.read()
RATES = (100, 1_000, 10_000, 100_000)


def _load(found: Plan, part: str) -> float:
    return next(load.share for load in found.loads if load.part == part)


@pytest.mark.parametrize("kind", [single, series])
def test_more_traffic_never_needs_less(kind: object) -> None:
    plans = [plan(kind(rate), 32, FIGURES) for rate in RATES]  # type: ignore[operator]
    for less, more in pairwise(plans):
        assert more.bill.total > less.bill.total
        assert more.ingest_instances >= less.ingest_instances
        assert more.flush_cores > less.flush_cores
        assert more.fhir_entries > less.fhir_entries


def test_a_slower_core_needs_more_instances() -> None:
    slow = replace(FIGURES, limits=replace(FIGURES.limits, instance_cores=0.25))
    assert plan(series(10_000), 32, slow).ingest_instances > plan(series(10_000), 32, FIGURES).ingest_instances


@pytest.mark.parametrize("rate", RATES)
def test_no_more_instances_than_partitions_and_no_more_than_shards(rate: float) -> None:
    found = plan(single(rate), 32, FIGURES)
    assert found.ingest_instances <= 32
    assert found.flush_instances <= found.setup.shards <= MOST_SHARDS
    assert found.setup.accounts <= found.setup.shards


@pytest.mark.parametrize("rate", RATES)
def test_accounts_and_flush_are_planned_below_their_limits(rate: float) -> None:
    found = plan(series(rate), 128, FIGURES)
    assert _load(found, "a storage account") <= TARGET * 1.000001
    assert _load(found, "the flush's cores") <= TARGET * 1.000001


def test_a_little_traffic_takes_one_instance_of_each_and_the_defaults() -> None:
    found = plan(series(10), 32, FIGURES)
    assert (found.ingest_instances, found.flush_instances) == (1, 1)
    assert found.setup == Setup(partitions=32)
    assert found.holds


def test_entries_are_a_read_and_a_write_of_each_observation() -> None:
    assert plan(single(100), 32, FIGURES).fhir_entries == 200


def test_a_series_is_written_once_a_window() -> None:
    assert plan(Traffic(messages_a_second=100, kind="series", device_seconds=10), 32, FIGURES).fhir_entries == (
        pytest.approx(2 * 100 * 10 / 300)
    )


def test_a_device_that_sends_less_than_once_a_window_has_a_write_for_each_reading() -> None:
    assert Traffic(messages_a_second=100, kind="series", device_seconds=3_600).observations_a_second(300) == 100


def test_a_slow_fhir_server_breaks_first() -> None:
    found = plan(single(1_000), 32, FIGURES, fhir_entries_a_second=500)
    assert not found.holds
    assert found.first_to_break.part == "the FHIR server"
    assert found.first_to_break.share == pytest.approx(4)


def test_a_part_breaks_where_its_share_is_all() -> None:
    assert breaks_at(single(1), Setup(partitions=32), FIGURES, "the FHIR server", 2_000) == pytest.approx(
        1_000, rel=0.02
    )


def test_more_shards_make_more_rows() -> None:
    rows = [assess(series(10_000), Setup(partitions=32, shards=shards), FIGURES).rows for shards in (1, 4, 16)]
    assert rows == sorted(rows)


def test_a_batch_touches_no_more_shards_than_there_are_nor_than_it_has_readings() -> None:
    assert shards_hit(1, 8) == pytest.approx(1)
    assert shards_hit(10_000, 8) == pytest.approx(8)
    assert shards_hit(3, 1) == 1


def test_a_larger_least_batch_costs_less_where_messages_come_alone() -> None:
    alone, gathered = (best(series(100), FIGURES, sizes=Sizes(least=least)) for least in (1, 50))
    assert gathered.batches < alone.batches
    assert gathered.bill.functions < alone.bill.functions


def test_every_figure_says_where_it_is_from() -> None:
    assert [name for name, figure in FIGURES.sources.items() if not figure.where] == []
    kinds = (FIGURES.costs, FIGURES.limits, FIGURES.prices)
    named = {each.name for kind in kinds for each in fields(kind)} - {"date", "region"}
    assert named == FIGURES.sources.keys()


def test_costs_can_come_from_another_file(tmp_path: Path) -> None:
    path = tmp_path / "path.json"
    path.write_text('{"converter_message_us": 5, "row_us": {"value": 338, "where": "bench.path"}}')
    costs = Figures.read(other_costs=path).costs
    assert (costs.converter_message_us, costs.row_us) == (5, 338)
    assert costs.message_us == FIGURES.costs.message_us


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[", "is not JSON"),
        ("[]", "is not a JSON object"),
        ('{"row_ms": 1}', "does not know: row_ms"),
        ('{"row_us": 0}', "row_us is not a positive number"),
        ('{"row_us": true}', "row_us is not a positive number"),
        ('{"row_us": {"where": "x"}}', "row_us is not a positive number"),
    ],
)
def test_a_file_of_costs_that_is_no_such_is_told(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "path.json"
    path.write_text(text)
    with pytest.raises(FiguresUnusable, match=fault):
        Figures.read(other_costs=path)


def test_a_figure_that_is_missing_is_told(tmp_path: Path) -> None:
    document = json.loads((Path(command.__file__).parent / "figures.json").read_text())
    del document["costs"]["row_us"]
    path = tmp_path / "figures.json"
    path.write_text(json.dumps(document))
    with pytest.raises(FiguresUnusable, match="There is no figure for row_us"):
        Figures.read(path)


def test_the_page_is_what_the_figures_give() -> None:
    text = (DOCS / "scale.md").read_text(encoding="utf-8")
    assert page.filled(text, page.tables(FIGURES)) == text, "run `make bench-scale`"


def test_a_page_without_a_place_for_a_table_is_told() -> None:
    with pytest.raises(LookupError, match="0 places for the table needs"):
        page.filled("# Scale\n", {"needs": "| a |"})


def test_pictures_are_small(tmp_path: Path) -> None:
    for path in plots.draw(tmp_path, FIGURES):
        assert path.read_bytes().startswith(b"\x89PNG")
        assert path.stat().st_size < 100_000


@pytest.mark.parametrize(("fhir", "code"), [("100000", 0), ("10", 1)])
def test_the_command_says_what_a_traffic_needs(capsys: pytest.CaptureFixture[str], fhir: str, code: int) -> None:
    assert command.main(["--messages", "100", "--fhir", fhir]) == code
    printed = capsys.readouterr().out
    assert "1 ingest, 1 flush (timer)" in printed
    assert ("more than it takes" in printed) == bool(code)


@pytest.mark.parametrize(
    ("value", "shown"), [(12_345, "12,000"), (999, "1,000"), (45.4, "45"), (4.52, "4.5"), (4, "4")]
)
def test_figures_are_shown_with_what_is_known_of_them(value: float, shown: str) -> None:
    assert page.rounded(value) == shown
