"""What a traffic needs: instances, shards, storage accounts, requests, and what of it is nearest to its limit.

Ingest is simulated batch by batch (`trigger`); flush, tables and FHIR server are averages over a window, since what
waits in the buffer evens out everything shorter.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, NamedTuple

from bench.scale.figures import Figures
from bench.scale.trigger import EACH_AS_IT_COMES, Pace, Sizes, simulate

TARGET = 0.6
"""How much of a flushing core or an account is planned for. The rest is for the Functions host, which shares the core
and could not be measured here, for shards that are not equally large, and for catching up."""

LEAST_SHARDS = 4
MOST_SHARDS = 1_000
"""BUFFER_SHARDS: its default, and the most that it takes."""

TICKS_A_DAY = 2_880
"""FLUSH_SCHEDULE, every 30 s."""

REQUESTS_A_TICK = 4
REQUESTS_A_WINDOW = 4
SEARCHES_A_WINDOW = 2
TRANSACTION_ROWS = 100
PAGE_ROWS = 1_000
"""Requests to tables: docs/costs.md. A tick takes one more for each shard and each account. A window of a shard takes
the searches in each account, and what its number of rows takes: rows are marked and deleted a hundred in a transaction,
and read a thousand on a page."""

SECONDS_A_MONTH = 30 * 24 * 3600

_SIMULATED_SECONDS = 10.0
_SIMULATED_BATCHES = 10
"""Of a partition at least, of the least size: else what a quiet one does would hang on where the time ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """`kind`: each reading is a new Observation (`single`), or one more sample of its device's Observation of the hour
    (`series`), which is then written once a window. A device sends every `device_seconds`."""

    messages_a_second: float
    readings_a_message: float = 1
    message_bytes: float = 300
    kind: Literal["single", "series"] = "single"
    device_seconds: float = 10

    @property
    def readings_a_second(self) -> float:
        return self.messages_a_second * self.readings_a_message

    def observations_a_second(self, window_seconds: float) -> float:
        """Written, as an average over a window."""
        if self.kind == "single":
            return self.readings_a_second
        return self.readings_a_second / max(1.0, window_seconds / self.device_seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What whoever runs the app chooses."""

    partitions: int
    sizes: Sizes = EACH_AS_IT_COMES
    shards: int = LEAST_SHARDS
    window_seconds: float = 300
    fanout: Literal["timer", "queue"] = "timer"
    accounts: int = 1


class Load(NamedTuple):
    """How much of a limit is used: 1 is all of it."""

    part: str
    used: float
    limit: float

    @property
    def share(self) -> float:
        return self.used / self.limit


class Bill(NamedTuple):
    """A month by list price."""

    functions: float
    storage: float
    hub: float

    @property
    def total(self) -> float:
        return sum(self)


class Plan(NamedTuple):
    """`loads` has the part that is nearest to its limit first. Rates are a second."""

    traffic: Traffic
    setup: Setup
    pace: Pace
    ingest_instances: int
    flush_instances: int
    flush_cores: float
    batches: float
    rows: float
    entities: float
    fhir_entries: float
    loads: tuple[Load, ...]
    hub: str
    bill: Bill

    @property
    def holds(self) -> bool:
        return all(load.share <= 1 for load in self.loads)

    @property
    def first_to_break(self) -> Load:
        return self.loads[0]


class Ingest(NamedTuple):
    pace: Pace
    partitions_an_instance: int
    batches: float
    rows_a_batch: float


def shards_hit(readings: float, shards: int) -> float:
    """How many shards a batch of so many readings of different devices touches, on average."""
    return shards * (1 - (1 - 1 / shards) ** readings) if shards > 1 else min(1.0, readings)


def ingest(traffic: Traffic, setup: Setup, figures: Figures) -> Ingest:
    """With as many instances as Azure makes of them, and one a partition at most.

    Target-based scaling adds instances until each has no more unprocessed events than
    `targetUnprocessedEventThreshold`, by default `maxEventBatchSize`. A larger least
    batch is taken to come with a threshold that leaves room for it.
    """
    low, high = 1, setup.partitions
    while low < high:
        middle = (low + high + 1) // 2
        pace = _pace(traffic, setup, figures, middle)
        low, high = (middle, high) if _keeps_up(pace, middle, setup) else (low, middle - 1)
    pace = _pace(traffic, setup, figures, low)
    batches = pace.batches / pace.seconds * setup.partitions / low
    return Ingest(pace, low, batches, shards_hit(max(pace.batch, 1) * traffic.readings_a_message, setup.shards))


def plan(
    traffic: Traffic,
    partitions: int,
    figures: Figures,
    *,
    fhir_entries_a_second: float = math.inf,
    sizes: Sizes = EACH_AS_IT_COMES,
) -> Plan:
    """The smallest setup that carries the traffic, as far as a setup can.

    The flush takes one core until that is not enough; then it needs the queue, and a shard for each instance. A further
    storage account comes in where the first would be above TARGET.
    """
    setup = Setup(partitions=partitions, sizes=sizes)
    for _ in range(12):
        found = assess(traffic, setup, figures, fhir_entries_a_second)
        needed = math.ceil(found.flush_cores / figures.limits.instance_cores / TARGET)
        accounts = math.ceil(found.entities / (TARGET * figures.limits.account_entities))
        # A shard is in one account: fewer shards than accounts would leave some empty.
        shards = min(MOST_SHARDS, max(setup.shards, accounts, needed if needed > 1 else 0))
        wanted = replace(
            setup, shards=shards, fanout="timer" if needed <= 1 else "queue", accounts=min(shards, max(1, accounts))
        )
        if wanted == setup:
            break
        # More shards make more rows, and these more work for the flush: never back, or it would swing for ever.
        setup = replace(wanted, accounts=max(setup.accounts, wanted.accounts))
    return assess(traffic, setup, figures, fhir_entries_a_second)


def assess(traffic: Traffic, setup: Setup, figures: Figures, fhir_entries_a_second: float = math.inf) -> Plan:
    """What the traffic asks of a given setup."""
    costs, limits = figures.costs, figures.limits
    taken = ingest(traffic, setup, figures)
    ingest_instances = math.ceil(setup.partitions / taken.partitions_an_instance)
    rows = taken.batches * taken.rows_a_batch
    # Of what is ingested: past what the partitions carry, the rest waits in the hub.
    row_readings = taken.pace.batch * traffic.readings_a_message / max(taken.rows_a_batch, 1e-9)
    row_bytes = costs.row_bytes + costs.packed_reading_bytes * row_readings
    row_entities = max(1.0, row_bytes / 1024)
    # Written and read whole; listed, marked and deleted by its keys.
    entities = rows * (2 * row_entities + 3)
    observations = traffic.observations_a_second(setup.window_seconds)
    observation_us = costs.new_observation_us if traffic.kind == "single" else costs.changed_observation_us
    flush_cores = (
        rows * costs.flush_row_us + traffic.readings_a_second * costs.flush_reading_us + observations * observation_us
    ) / 1e6
    flush_instances = (
        1
        if setup.fanout == "timer"
        else min(setup.shards, max(1, math.ceil(flush_cores / limits.instance_cores / TARGET)))
    )
    fhir_entries = 2 * observations
    hub, hub_load, hub_bill = _hub(traffic, setup, figures)
    alone = _pace(replace(traffic, messages_a_second=1e9), replace(setup, partitions=1), figures, 1)
    loads = (
        Load("a partition's batches, one at a time", traffic.messages_a_second / setup.partitions, _most_alone(alone)),
        Load("the flush's cores", flush_cores, flush_instances * limits.instance_cores),
        Load("a table partition", taken.batches * _hit(taken, setup) * row_entities, limits.table_partition_entities),
        Load("a storage account", entities / setup.accounts, limits.account_entities),
        Load("instances of a region", ingest_instances + flush_instances, limits.instances),
        Load("the FHIR server", fhir_entries, fhir_entries_a_second),
        hub_load,
    )
    share = min(1.0, taken.pace.billed_seconds / taken.pace.seconds)
    flush_share = min(
        1.0, max(flush_cores / limits.instance_cores / flush_instances, fhir_entries / fhir_entries_a_second)
    )
    idle = TICKS_A_DAY / 86_400 * limits.billed_seconds
    busy_seconds = ingest_instances * share + flush_instances * max(flush_share, idle / flush_instances)
    bill = Bill(
        functions=SECONDS_A_MONTH * busy_seconds * limits.instance_gb * figures.prices.instance_gb_second
        + SECONDS_A_MONTH * (taken.batches + TICKS_A_DAY / 86_400) / 1e6 * figures.prices.million_executions,
        storage=SECONDS_A_MONTH * _table_requests(rows, setup) / 1e6 * figures.prices.million_table_requests
        + SECONDS_A_MONTH * taken.batches / 1e6 * figures.prices.million_blob_requests,
        hub=hub_bill,
    )
    return Plan(
        traffic,
        setup,
        taken.pace,
        ingest_instances,
        flush_instances,
        flush_cores,
        taken.batches,
        rows,
        entities,
        fhir_entries,
        tuple(sorted(loads, key=lambda load: -load.share)),
        hub,
        bill,
    )


def breaks_at(traffic: Traffic, setup: Setup, figures: Figures, part: str, fhir_entries_a_second: float) -> float:
    """The messages a second at which a part of an unchanged setup reaches its limit; infinite if it never does."""

    def over(messages: float) -> bool:
        # A device goes on sending as it did: there are more of them.
        found = assess(replace(traffic, messages_a_second=messages), setup, figures, fhir_entries_a_second)
        return next(load.share for load in found.loads if load.part == part) > 1

    low, high = 1.0, 1e8
    if not over(high):
        return math.inf
    while high / low > 1.01:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if over(middle) else (middle, high)
    return low


def _keeps_up(pace: Pace, partitions: int, setup: Setup) -> bool:
    held_back = partitions * (setup.sizes.least - 1)
    return pace.in_hand + pace.waiting <= setup.sizes.most + held_back


def _most_alone(pace: Pace) -> float:
    """Messages a second of a partition that has a core to itself and always finds a full batch."""
    return (pace.done + pace.in_hand) / pace.seconds


def _hit(taken: Ingest, setup: Setup) -> float:
    """The share of the batches that have a row for a given shard."""
    return min(1.0, taken.rows_a_batch / setup.shards)


def _table_requests(rows: float, setup: Setup) -> float:
    shard_windows = setup.shards / setup.window_seconds
    of_a_window = rows / shard_windows
    window = REQUESTS_A_WINDOW + SEARCHES_A_WINDOW * setup.accounts
    window += 2 * of_a_window / PAGE_ROWS + 2 * of_a_window / TRANSACTION_ROWS
    tick = REQUESTS_A_TICK + setup.shards + setup.accounts
    return rows + shard_windows * window + tick * TICKS_A_DAY / 86_400


def _hub(traffic: Traffic, setup: Setup, figures: Figures) -> tuple[str, Load, float]:
    """The tier that takes the traffic, the part that it is nearest to its limit by, and a month of it."""
    limits, prices = figures.limits, figures.prices
    hours = SECONDS_A_MONTH / 3600
    megabytes = traffic.messages_a_second * traffic.message_bytes / 1e6
    units = max(traffic.messages_a_second / 1000, megabytes)
    if setup.partitions <= limits.standard_partitions and units <= limits.standard_units:
        events = SECONDS_A_MONTH * traffic.messages_a_second * max(1, math.ceil(traffic.message_bytes / 65_536)) / 1e6
        bill = math.ceil(units) * hours * prices.throughput_unit_hour + events * prices.million_events
        return f"Standard, {math.ceil(units)} TU", Load("the hub", units, limits.standard_units), bill
    if setup.partitions <= limits.premium_partitions and megabytes <= limits.premium_units * limits.premium_unit_mb:
        units = math.ceil(megabytes / limits.premium_unit_mb)
        return (
            f"Premium, {units} PU",
            Load("the hub", megabytes, limits.premium_units * limits.premium_unit_mb),
            units * hours * prices.processing_unit_hour,
        )
    units = math.ceil(megabytes / limits.dedicated_unit_mb)
    return (
        f"Dedicated, {units} CU",
        Load("the hub", megabytes, units * limits.dedicated_unit_mb),
        units * hours * prices.capacity_unit_hour,
    )


@lru_cache(maxsize=10_000)
def _pace(traffic: Traffic, setup: Setup, figures: Figures, partitions: int) -> Pace:
    """One instance that has so many of the partitions."""
    costs, cores = figures.costs, figures.limits.instance_cores
    rate = traffic.messages_a_second / setup.partitions

    def core_seconds(messages: int) -> float:
        rows = shards_hit(messages * traffic.readings_a_message, setup.shards)
        return costs.call_seconds(messages, traffic.readings_a_message, rows) / cores

    of_a_batch = min(setup.sizes.least / rate, setup.sizes.longest_wait_seconds + 1 / rate)
    return simulate(
        partitions,
        rate,
        setup.sizes,
        core_seconds,
        (costs.write_wait_ms + costs.host_wait_ms) / 1000,
        seconds=max(_SIMULATED_SECONDS, _SIMULATED_BATCHES * of_a_batch),
        billed_seconds=figures.limits.billed_seconds,
    )
