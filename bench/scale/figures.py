"""Every number that the simulation rests on, with where it is from: figures.json."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple, Self

PATH = Path(__file__).parent / "figures.json"


class FiguresUnusable(Exception):
    """A file of figures lacks one, has one that is none of these, or has one that is not a positive number."""


class Figure(NamedTuple):
    """A number, and where it was measured or read."""

    value: float
    where: str


@dataclass(frozen=True, slots=True)
class Costs:
    """Microseconds of a core unless the name has another unit."""

    converter_message_us: float
    channel_message_us: float
    channel_call_us: float
    message_us: float
    further_reading_us: float
    call_us: float
    row_us: float
    new_observation_us: float
    changed_observation_us: float
    flush_reading_us: float
    flush_row_us: float
    packed_reading_bytes: float
    row_bytes: float
    write_wait_ms: float
    host_wait_ms: float

    def call_seconds(self, messages: float, readings_a_message: float, rows: float) -> float:
        """What a core is busy with a batch, from the worker's channel to the last row."""
        a_message = (
            self.converter_message_us
            + self.channel_message_us
            + self.message_us
            + (readings_a_message - 1) * self.further_reading_us
        )
        return (self.channel_call_us + self.call_us + rows * self.row_us + messages * a_message) / 1e6


@dataclass(frozen=True, slots=True)
class Limits:
    """What the services grant, a second unless the name says otherwise."""

    table_partition_entities: float
    account_entities: float
    instance_gb: float
    instance_cores: float
    instances: float
    billed_seconds: float
    standard_partitions: float
    standard_units: float
    premium_partitions: float
    premium_units: float
    premium_unit_mb: float
    dedicated_unit_mb: float


@dataclass(frozen=True, slots=True)
class Prices:
    """In the currency of `region`'s list, at `date`."""

    date: str
    region: str
    instance_gb_second: float
    million_executions: float
    million_table_requests: float
    million_blob_requests: float
    throughput_unit_hour: float
    million_events: float
    processing_unit_hour: float
    capacity_unit_hour: float


@dataclass(frozen=True, slots=True, eq=False)
class Figures:
    costs: Costs
    limits: Limits
    prices: Prices
    sources: Mapping[str, Figure]
    """Every figure by its name, with where it is from."""

    @classmethod
    def read(cls, path: Path = PATH, other_costs: Path | None = None) -> Self:
        """`other_costs` is a file with an object of some costs by their names, in place of those of `path`: numbers, or
        objects with `value`.

        Raises FiguresUnusable, which names what is wrong.
        """
        document = _json(path)
        priced = document["prices"]
        sources = _figures(document["costs"]) | _figures(document["limits"]) | _figures(priced["items"])
        if other_costs is not None:
            others = _figures(_json(other_costs), where=other_costs.name)
            if unknown := sorted(others.keys() - {each.name for each in fields(Costs)}):
                raise FiguresUnusable(
                    f"{other_costs} has costs that the simulation does not know: {', '.join(unknown)}."
                )
            sources |= others
        return cls(
            Costs(**_of(Costs, sources)),
            Limits(**_of(Limits, sources)),
            Prices(date=priced["date"], region=priced["region"], **_of(Prices, sources)),
            sources,
        )


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise FiguresUnusable(f"{path} is not JSON.") from None
    if not isinstance(found, dict):
        raise FiguresUnusable(f"{path} is not a JSON object.")
    return found


def _figures(document: Mapping[str, Any], where: str = "") -> dict[str, Figure]:
    found = {}
    for name, entry in document.items():
        value, source = (entry.get("value"), entry.get("where", where)) if isinstance(entry, dict) else (entry, where)
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise FiguresUnusable(f"{name} is not a positive number.")
        found[name] = Figure(float(value), source)
    return found


def _of(kind: type, sources: Mapping[str, Figure]) -> dict[str, float]:
    names = [each.name for each in fields(kind) if each.type is float]
    if missing := [name for name in names if name not in sources]:
        raise FiguresUnusable(f"There is no figure for {', '.join(missing)}.")
    return {name: sources[name].value for name in names}
