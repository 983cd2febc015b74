"""What a traffic needs, by what is measured here and listed there.

    python -m bench.scale --messages 30000 [--kind series] [--partitions 32] [--fhir 2000] [--least 50] [--most 500]
    python -m bench.scale --page       writes the tables of docs/scale.md and draws its pictures: `make bench-scale`
    python -m bench.scale --check      measures six points on this machine, and prints what is predicted beside them

`--costs FILE` takes costs from a JSON file, by their names in figures.json, in place of those there.
"""

import argparse
import math
import sys
from pathlib import Path

from bench.scale import page
from bench.scale.choices import PARTITIONS, best
from bench.scale.figures import Figures, FiguresUnusable
from bench.scale.plan import Plan, Traffic
from bench.scale.trigger import Sizes

DOCS = Path(__file__).parents[2] / "docs"


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 0, or 1 if the traffic is more than any setup carries, or a measured point is not as predicted."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale")
    parser.add_argument("--messages", type=_positive, help="a second")
    parser.add_argument("--kind", choices=("single", "series"), default="single")
    parser.add_argument("--readings", type=_positive, default=1.0, help="in a message")
    parser.add_argument("--bytes", type=_positive, default=300.0, help="of a message")
    parser.add_argument("--partitions", type=int, help="of the hub; else the cheapest number is chosen")
    parser.add_argument("--fhir", type=_positive, default=math.inf, help="reads and writes a second of the FHIR server")
    parser.add_argument("--least", type=int, default=1, help="minEventBatchSize")
    parser.add_argument("--most", type=int, default=500, help="maxEventBatchSize")
    parser.add_argument("--costs", type=Path, help="a JSON file with measured costs")
    parser.add_argument("--page", action="store_true", help="write docs/scale.md's tables and pictures")
    parser.add_argument("--check", action="store_true", help="measure six points here")
    given = parser.parse_args(arguments)
    try:
        figures = Figures.read(other_costs=given.costs)
    except FiguresUnusable as unusable:
        parser.error(str(unusable))
    if given.page:
        return _write_page(figures)
    if given.check:
        from bench.scale import check

        return check.run(figures)
    if given.messages is None:
        parser.error("Say --messages, --page or --check.")
    traffic = Traffic(
        messages_a_second=given.messages,
        readings_a_message=given.readings,
        message_bytes=given.bytes,
        kind=given.kind,
    )
    found = best(
        traffic,
        figures,
        fhir_entries_a_second=given.fhir,
        partitions=PARTITIONS if given.partitions is None else (given.partitions,),
        sizes=Sizes(most=given.most, least=given.least),
    )
    _print(found, figures)
    return 0 if found.holds else 1


def _write_page(figures: Figures) -> int:
    from bench.scale import plots

    path = DOCS / "scale.md"
    path.write_text(page.filled(path.read_text(encoding="utf-8"), page.tables(figures)), encoding="utf-8")
    for written in (path, *plots.draw(DOCS, figures)):
        print(f"{written.relative_to(DOCS.parent)}: {written.stat().st_size:,} bytes")
    return 0


def _print(plan: Plan, figures: Figures) -> None:
    print(
        f"{plan.traffic.messages_a_second:,.0f} messages a second, {plan.traffic.kind}, "
        f"{plan.setup.partitions} partitions, hub {plan.hub}"
    )
    print(f"  batches           {plan.pace.batch:,.1f} messages, {plan.batches:,.0f} a second")
    print(f"  instances         {plan.ingest_instances} ingest, {plan.flush_instances} flush ({plan.setup.fanout})")
    print(f"  shards            {plan.setup.shards}")
    print(f"  storage accounts  {plan.setup.accounts}: {plan.rows:,.0f} rows, {plan.entities:,.0f} entities a second")
    print(f"  FHIR server       {plan.fhir_entries:,.0f} reads and writes a second")
    print(
        f"  a month           {plan.bill.total:,.0f}: functions {plan.bill.functions:,.0f}, storage "
        f"{plan.bill.storage:,.0f}, hub {plan.bill.hub:,.0f} ({figures.prices.region}, {figures.prices.date}; check "
        "before use; without FHIR server and logs)"
    )
    print("  nearest to their limits")
    for load in plan.loads[:4]:
        print(f"    {load.share:7.0%}  {load.part}{'  more than it takes' if load.share > 1 else ''}")


def _positive(text: str) -> float:
    value = float(text)
    if not (value > 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError("is not a positive number")
    return value


if __name__ == "__main__":
    sys.exit(main())
