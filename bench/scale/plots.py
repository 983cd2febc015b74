"""Two curves over the traffic, as PNG. On white, so that they can be read where the page around them is dark."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.scale.choices import best, series, single
from bench.scale.figures import Figures
from bench.scale.page import LEAST_SIZES, with_least

INSTANCES = "scale-instances.png"
COST = "scale-cost.png"

_RATES = tuple(round(10 ** (quarter / 4)) for quarter in range(12, 25))
_SLOW_RATES = tuple(round(10 ** (quarter / 4)) for quarter in range(4, 19))
_COLOURS = ("#0b5fa5", "#c0392b", "#1e8449", "#7d3c98")


def draw(folder: Path, figures: Figures) -> list[Path]:
    """Writes both pictures, and returns where they are."""
    import matplotlib

    matplotlib.use("Agg")
    return [_instances(folder / INSTANCES, figures), _cost(folder / COST, figures)]


def _instances(path: Path, figures: Figures) -> Path:
    figure, axes = _axes(1, 2)
    for axis, kind, title in zip(axes, (single, series), ("each message an Observation", "series"), strict=True):
        plans = [best(kind(rate), figures) for rate in _RATES]
        for label, values, colour in (
            ("ingest, instances", [each.ingest_instances for each in plans], _COLOURS[0]),
            ("flush, instances", [each.flush_instances for each in plans], _COLOURS[1]),
            ("storage accounts", [each.setup.accounts for each in plans], _COLOURS[2]),
        ):
            axis.plot(_RATES, values, color=colour, marker="o", markersize=3, label=label)
        over = [rate for rate, each in zip(_RATES, plans, strict=True) if not each.holds]
        if over:
            axis.axvspan(over[0], _RATES[-1] * 1.1, color="#999999", alpha=0.25, label="does not hold")
        _name(axis, title, "")
    axes[0].legend(frameon=False, fontsize=8)
    return _saved(figure, path)


def _cost(path: Path, figures: Figures) -> Path:
    figure, (axis,) = _axes(1, 1)
    for least, colour in zip(LEAST_SIZES, _COLOURS, strict=True):
        plans = [with_least(series(rate), least, figures) for rate in _SLOW_RATES]
        a_million = [
            (each.bill.functions + each.bill.storage) / (each.traffic.messages_a_second * 30 * 86_400 / 1e6)
            for each in plans
        ]
        axis.plot(_SLOW_RATES, a_million, color=colour, marker="o", markersize=3, label=f"minEventBatchSize {least}")
    _name(axis, "functions and storage; series, 32 partitions", "dollars a million messages")
    axis.legend(frameon=False, fontsize=8)
    return _saved(figure, path)


def _axes(rows: int, columns: int) -> tuple[Any, Sequence[Any]]:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(rows, columns, figsize=(4 * max(columns, 1.6), 3.6), sharey=True, squeeze=False)
    return figure, axes[0]


def _name(axis: Any, title: str, unit: str) -> None:
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_title(title, fontsize=10)
    axis.set_xlabel("messages a second", fontsize=9)
    axis.set_ylabel(unit, fontsize=9)
    for each in (axis.xaxis, axis.yaxis):
        each.set_major_formatter(lambda value, _: f"{value:,g}" if value < 1e6 else f"{value / 1e6:g} m")
        each.set_tick_params(labelsize=8)
    axis.grid(True, which="major", color="#dddddd", linewidth=0.6)


def _saved(figure: Any, path: Path) -> Path:
    from matplotlib import pyplot

    figure.tight_layout()
    # Without its version in the file, the same curves are the same bytes.
    figure.savefig(path, dpi=100, facecolor="white", metadata={"Software": None})
    pyplot.close(figure)
    return path
