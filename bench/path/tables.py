"""A run as tables, in Markdown: as good to read in a terminal as in bench/README.md."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from bench.path.goals import growth

Run = Mapping[str, Any]
"""The JSON of a run."""


def tables(run: Run) -> str:
    """Everything that was measured; what was not is left out."""
    return "\n\n".join([_heading(run), *_sections(run), _goals(run)])


def _heading(run: Run) -> str:
    machine = run["machine"]
    beside = f"beside {run['before']}" if run["before"] else "with nothing beside it"
    return (
        f"{run['date']}, commit {run['commit']} {beside}; Python {machine['python']} on {machine['cores']} cores, "
        f"calibration {run['calibration']:,.0f}; {run['seconds']:.0f} s."
    )


def _sections(run: Run) -> Iterator[str]:
    parts = run["parts"]
    for workload, trees in parts.get("ingest", {}).items():
        messages = next(iter(trees.values()))["messages"]
        yield _section(
            f"Ingest, `{workload}`, {messages} messages a call: us of the processor a message",
            _stages(trees, {"untouched converter alone": "converter_us"}),
        )
        yield _table(("counts", *trees), _ingest_counts(trees))
    if "stack" in parts:
        yield _section(
            "The worker's process on the whole stack",
            _table(
                ("", *parts["stack"]), [("seconds", *(f"{each['seconds']:.2f}" for each in parts["stack"].values()))]
            ),
        )
    for scenario, trees in parts.get("flush", {}).items():
        best = next(iter(trees.values()))
        yield _section(
            f"Flush, `{scenario}`, {best['readings']:,} readings in {best['observations']:,} Observations: us of the "
            "processor an Observation",
            _stages(trees, {}),
        )
        yield _table(("counts", *trees), _flush_counts(trees))
    if "million" in parts:
        found = parts["million"]
        yield _section(
            f"{found['readings']:,} readings in one window of one shard",
            f"{found['microseconds']:.1f} us of the processor a reading; {found['peak_mib']:.0f} MiB of "
            f"{found['most_mib']:.0f}.",
        )
    if "flat" in parts:
        yield _section("Us of the processor a reading, over more and more", _flat(parts["flat"]))
    if "series" in parts:
        found = parts["series"]
        yield _section(
            "A minute merged behind 86,340 samples",
            f"{found['merge_ms']:.2f} ms; {found['with_json_ms']:.2f} ms with reading and writing its JSON.",
        )
    if "fresh" in parts:
        trees = parts["fresh"]
        yield _section(
            "A fresh worker: seconds of the processor",
            _table(
                ("", *trees),
                [
                    (label, *(f"{each[name]:.2f}" for each in trees.values()))
                    for label, name in (("import", "import_seconds"), ("first batch of 500", "first_batch_seconds"))
                ],
            ),
        )
    for part, text in run["broken"].items():
        yield _section(f"{part} broke", text)


def _stages(trees: Mapping[str, Any], yardsticks: Mapping[str, str]) -> str:
    stages = list(next(iter(trees.values()))["stages_us"])
    rows = [(label, *(f"{tree[name]:,.1f}" for tree in trees.values())) for label, name in yardsticks.items()]
    rows += (
        (
            stage,
            *("–" if stage in tree["missing"] else f"{tree['stages_us'][stage]:,.1f}" for tree in trees.values()),
        )
        for stage in stages
    )
    rows.append(("all", *(f"{tree['total_us']:,.1f}" for tree in trees.values())))
    return _table(("stage", *trees), rows)


def _ingest_counts(trees: Mapping[str, Any]) -> list[Sequence[str]]:
    found = list(trees.values())
    return [
        ("table requests a call", *(f"{each['table_requests']:.1f}" for each in found)),
        ("bytes to the table a message", *(f"{each['table_bytes'] / each['messages']:.1f}" for each in found)),
    ]


def _flush_counts(trees: Mapping[str, Any]) -> list[Sequence[str]]:
    found = list(trees.values())
    return [
        ("table requests", *(f"{each['table_requests']:,}" for each in found)),
        ("FHIR requests", *(f"{each['fhir_requests']:,}" for each in found)),
        ("entries an Observation", *(f"{each['fhir_entries'] / each['observations']:.2f}" for each in found)),
        ("FHIR bytes a reading", *(f"{each['fhir_bytes'] / each['readings']:,.0f}" for each in found)),
    ]


def _flat(rows: Mapping[str, Mapping[str, float]]) -> str:
    lines = []
    for row, steps in rows.items():
        grown = growth(list(steps.values()))
        figures = ", ".join(f"{label}: {cost:,.1f}" for label, cost in steps.items())
        lines.append((f"`{row}`", figures, "–" if grown is None else f"{grown:,.2f}"))
    return _table(("over", "at each step", "growth"), lines)


def _goals(run: Run) -> str:
    rows = []
    for goal in run["goals"]:
        figure = "–" if goal["figure"] is None else f"{goal['figure']:,.2f} {goal['unit']}".strip()
        bound = f"{'at least' if goal['at_least'] else 'at most'} {goal['bound']:,.4g} {goal['unit']}".strip()
        rows.append((f"`{goal['name']}`", figure, bound, goal["verdict"]))
    return _section("Goals", _table(("goal", "figure", "bound", ""), rows))


def _section(title: str, content: str) -> str:
    return f"**{title}**\n\n{content}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |"
        for line in (head, ["-" * width for width in widths], *rows)
    )
