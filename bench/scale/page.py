"""The tables of docs/scale.md, each between two comments that name it."""

import re
from collections.abc import Iterable, Sequence

from bench.scale.choices import RATES, best, series, single
from bench.scale.figures import Figures
from bench.scale.plan import Plan, Setup, Traffic, assess, breaks_at
from bench.scale.trigger import Sizes

LEAST_SIZES = (1, 10, 50, 200)
LEAST_RATES = (10, 100, 1_000, 10_000, 30_000)
SHARDS = (1, 4, 16, 64)
LARGEST_SIZES = (100, 500, 1_000, 2_000)
WINDOWS = (60, 300, 900)

EXAMPLE_FHIR_ENTRIES = 2_000
"""Reads and writes a second of the FHIR server of the table of what breaks first: an example, and yours to measure."""

EXAMPLE_SIZES_RATE = 30_000


def filled(page: str, tables: dict[str, str]) -> str:
    """The page with these tables; the rest of it stays. Raises LookupError if it has no place for one."""
    for name, table in tables.items():
        place = re.compile(rf"(<!-- bench\.scale: {name} -->\n).*?(\n<!-- end -->)", re.DOTALL)
        page, found = place.subn(lambda match, table=table: f"{match[1]}\n{table}\n{match[2]}", page)
        if found != 1:
            raise LookupError(f"docs/scale.md has {found} places for the table {name}.")
    return page


def tables(figures: Figures) -> dict[str, str]:
    return {
        "needs": _needs(figures),
        "breaks": _breaks(figures),
        "shards": _shards(figures),
        "windows": _windows(figures),
        "largest": _largest(figures),
        "least": _least(figures),
        "costs": _sources(figures, "costs"),
        "limits": _sources(figures, "limits"),
        "prices": _sources(figures, "prices"),
    }


def rounded(value: float) -> str:
    """Two digits that count, since the rest is not known: 12,345 as 12,000."""
    if value >= 100:
        digits = len(str(int(value))) - 2
        return f"{round(value, -digits):,.0f}"
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}".removesuffix(".0")


def _needs(figures: Figures) -> str:
    heads = (
        "messages/s",
        "kind",
        "hub",
        "partitions",
        "batch",
        "instances: ingest + flush",
        "`BUFFER_SHARDS`",
        "FLUSH_FANOUT",
        "storage accounts",
        "FHIR reads and writes/s",
        "a month, without the FHIR server",
        "nearest to its limit",
    )
    plans = [best(kind(rate), figures) for kind in (single, series) for rate in RATES]
    return _table(heads, (_need(each) for each in plans))


def _need(plan: Plan) -> Sequence[str]:
    nearest = plan.first_to_break
    over = "" if plan.holds else "**does not hold**: "
    return (
        rounded(plan.traffic.messages_a_second),
        plan.traffic.kind,
        plan.hub,
        str(plan.setup.partitions),
        rounded(plan.pace.batch),
        f"{plan.ingest_instances} + {plan.flush_instances}",
        str(plan.setup.shards),
        plan.setup.fanout,
        str(plan.setup.accounts),
        rounded(plan.fhir_entries),
        f"${rounded(plan.bill.total)}",
        f"{over}{nearest.part}, {nearest.share:.0%}",
    )


_REMEDIES = {
    "the FHIR server": "a larger one; SampledData in place of single values; a longer window",
    "the flush's cores": "FLUSH_FANOUT=queue, then more `BUFFER_SHARDS`",
    "a storage account": "name further ones in `BufferStorage__furtherAccounts`",
    "a partition's batches, one at a time": "a hub with more partitions; a larger `maxEventBatchSize`",
    "a table partition": "larger batches; more `BUFFER_SHARDS` where rows are larger than 1 KiB",
    "the hub": "more units, or the next tier",
    "instances of a region": "ask support for a larger quota",
}


def _breaks(figures: Figures) -> str:
    setup = Setup(partitions=32)
    rows = []
    for part, remedy in _REMEDIES.items():
        at = [breaks_at(kind(1), setup, figures, part, EXAMPLE_FHIR_ENTRIES) for kind in (single, series)]
        rows.append((min(at), part, at, remedy))
    return _table(
        ("what", "breaks at, `single`", "breaks at, `series`", "then"),
        ((part, *map(_at, at), remedy) for _, part, at, remedy in sorted(rows, key=lambda row: row[0])),
    )


def _at(messages: float) -> str:
    return "beyond 1,000,000/s" if messages > 1e6 else f"{rounded(messages)}/s"


def _shards(figures: Figures) -> str:
    return _of_setups(
        figures, "`BUFFER_SHARDS`", [(f"{each}", Setup(partitions=32, shards=each, fanout="queue")) for each in SHARDS]
    )


def _windows(figures: Figures) -> str:
    return _of_setups(
        figures,
        "`WINDOW_SECONDS`",
        [(f"{each}", Setup(partitions=32, window_seconds=each, fanout="queue")) for each in WINDOWS],
    )


def _largest(figures: Figures) -> str:
    return _of_setups(
        figures,
        "`maxEventBatchSize`",
        [(f"{each:,}", Setup(partitions=32, sizes=Sizes(most=each), fanout="queue")) for each in LARGEST_SIZES],
    )


def _of_setups(figures: Figures, head: str, setups: Iterable[tuple[str, Setup]]) -> str:
    heads = (
        head,
        "batch",
        "rows/s",
        "ingest instances",
        "flush cores",
        "FHIR reads and writes/s",
        "a month, without hub",
    )
    found = [(name, assess(series(EXAMPLE_SIZES_RATE), setup, figures)) for name, setup in setups]
    return _table(
        heads,
        (
            (
                name,
                rounded(each.pace.batch),
                rounded(each.rows),
                str(each.ingest_instances),
                rounded(each.flush_cores),
                rounded(each.fhir_entries),
                f"${rounded(each.bill.functions + each.bill.storage)}",
            )
            for name, each in found
        ),
    )


def _least(figures: Figures) -> str:
    heads = ("messages/s", *(f"`minEventBatchSize` {least}" for least in LEAST_SIZES))
    return _table(heads, (_of_least_sizes(series(rate), figures) for rate in LEAST_RATES))


def _of_least_sizes(traffic: Traffic, figures: Figures) -> Sequence[str]:
    cells = [rounded(traffic.messages_a_second)]
    for least in LEAST_SIZES:
        found = with_least(traffic, least, figures)
        cells.append(f"${rounded(found.bill.functions + found.bill.storage)}, batches of {rounded(found.pace.batch)}")
    return cells


def with_least(traffic: Traffic, least: int, figures: Figures) -> Plan:
    """On 32 partitions, with the flush fanned out where it must be."""
    return best(traffic, figures, partitions=(32,), sizes=Sizes(least=least))


def _sources(figures: Figures, section: str) -> str:
    if section == "prices":
        names = [each for each in figures.prices.__slots__ if each not in ("date", "region")]
    else:
        names = list(getattr(figures, section).__slots__)
    return _table(
        ("figure", "value", "where from"),
        ((f"`{name}`", f"{figures.sources[name].value:,g}", figures.sources[name].where) for name in names),
    )


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
