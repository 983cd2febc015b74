"""Windows of several portions, runs and rounds: whatever happens meanwhile, each reading is written."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from medtech.errors import OutOfTime
from medtech.flush import window as window_flush
from medtech.flush.runs import runs, sent_together
from medtech.group import windows
from medtech.group.buffer import TABLE
from medtech.persist.settle import SavedAs
from medtech.storage.payload import split
from medtech.transform.observation import convert
from tests.faults import ProxiedRequest, writes
from tests.flush.samples import HUB, MakeRun, Run, before, known, measured
from tests.flush.test_outages import BUDGET_SECONDS, limited
from tests.persist.samples import HOUR, MAPPING, Server, identity, points, series

NOISE_BYTES = 8_000
"""Of each reading, in hexadecimal, and twice as many of memory: neither is packed smaller than this."""


class Ward:
    """Devices, each with a reading a minute in each of several rows, every row with readings of all devices."""

    def __init__(self, server: Server, devices: int, rows: int) -> None:
        noise = random.Random(1)
        self.devices = [known(server) for _ in range(devices)]
        self.batches = [
            [
                measured(of, row, str(60 + row))._replace(
                    properties=(("value", str(60 + row)), ("note", noise.randbytes(NOISE_BYTES).hex()))
                )
                for of in self.devices
            ]
            for row in range(rows)
        ]

    def store(self, run: Run) -> None:
        for batch in self.batches:
            run.store(batch)

    def assert_written(self, run: Run) -> None:
        for of in self.devices:
            [observation] = run.observations(of)
            assert points(observation) == {row: str(60 + row) for row in range(len(self.batches))}


def until_done(run: Run, between: Callable[[], object], most: int = 20) -> int:
    """Flushes until nothing is left; returns how many flushes that took."""
    for flushes in range(1, most):
        between()
        run.run()
        if not run.left():
            return flushes
    raise AssertionError(f"{len(run.left())} readings are left after {most} flushes")


class TestWindow:
    def test_in_rounds_is_done_in_one_flush(self, make_run: MakeRun, server: Server, fhir: str) -> None:
        ward = Ward(server, devices=12, rows=6)
        run = make_run(fhir, flush_portion_mb=1)
        ward.store(run)
        tally = run.run()
        assert tally.observations == {SavedAs.CREATED: 12}
        assert (tally.measurements, tally.waiting, tally.outages) == (72, 0, [])
        assert run.left() == []
        ward.assert_written(run)

    def test_longer_than_the_time_of_a_flush_is_done_in_several(
        self, make_run: MakeRun, server: Server, fhir: str
    ) -> None:
        """Delivered twice in part, with a row that comes again meanwhile and one that is damaged."""
        ward = Ward(server, devices=12, rows=6)
        with before(fhir) as (proxy, url):
            run = make_run(url, flush_portion_mb=1)
            clock = limited(run)
            ward.store(run)
            run.store(ward.batches[0][:7])
            key = windows.partition_key(0, windows.window_start(HOUR, 300))
            damaged = {"PartitionKey": key, "RowKey": "e|somebody's", "hub": HUB, "stored_bytes": 4}
            run.storage.table(TABLE).upsert(damaged | split(b"\x01abc"))

            def change(request: ProxiedRequest) -> None:
                # The batch is delivered again: the same content, under the same key, with another etag.
                run._batches = 1
                run.store(ward.batches[1])
                clock.seconds += 21

            # Each flush has time for the first bundle, and in some a row changes before it is settled.
            flushes = until_done(run, lambda: proxy.before_forwarding(change, when=writes))
            assert flushes > 1
            ward.assert_written(run)
            assert run.letters() == ["BufferCorrupt"]
            assert run.buffer.shards() == []

    def test_is_not_converted_after_its_time(self, run: Run, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = limited(run)
        converted: list[Any] = []

        def slow(*arguments: Any) -> Any:
            converted.append(arguments)
            clock.seconds = BUDGET_SECONDS - 3
            return convert(*arguments)

        # Mappings that take seconds for a group are beyond what a test can wait for.
        monkeypatch.setattr(window_flush, "convert", slow)
        run.store([measured(identity(), 0) for _ in range(350)])
        tally = run.run()
        assert {error.name for error in tally.outages} == {OutOfTime.__name__}
        assert 0 < len(converted) <= 100
        assert (len(run.left()), tally.letters) == (350, 0)


class TestDevice:
    def test_with_more_readings_than_a_run_has_room_for_is_written_whole(
        self, make_run: MakeRun, server: Server, fhir: str
    ) -> None:
        of = known(server)
        run = make_run(fhir, flush_portion_mb=1)
        run.store([measured(of, minute, str(minute), "spot") for minute in range(600)])
        tally = run.run()
        assert (tally.observations, tally.measurements) == ({SavedAs.CREATED: 600}, 600)
        assert run.left() == []

    def test_that_has_new_observations_beside_stored_ones_has_no_history_read(
        self, make_run: MakeRun, server: Server, fhir: str
    ) -> None:
        """Its row is marked by the first run, whose Observations are new; the last one's are stored."""
        of = known(server)
        with before(fhir) as (proxy, url):
            run = make_run(url, flush_portion_mb=1)
            run.store([measured(of, minute, "1", "spot") for minute in range(200, 300)])
            run.run()
            run.store([measured(of, minute, "2", "spot") for minute in range(300)])
            assert run.run().observations == {SavedAs.CREATED: 200, SavedAs.UPDATED: 100}
            assert not any(b"_history" in request.body for request in proxy.requests)

    def test_is_cut_between_observations_only(self) -> None:
        """Two readings a second: an Observation of `remark` takes both, one of `series` those of an hour."""
        of = identity()
        readings = [
            measured(of, 0, type_name=type_name, encounter_id=encounter)._replace(occurrence_time=HOUR + n * 5_000_000)
            for n in range(2_000)
            for type_name in ("remark", "series", "session")
            for encounter in (None, "visit")
        ]
        sizes: list[int] = []
        found: set[tuple[str, str]] = set()
        for run in runs(MAPPING, readings, 100_000):
            drafts = [draft for group in run for draft in convert(MAPPING, group).drafts]
            ids = {(draft.type, draft.segment) for draft in drafts}
            assert not ids & found
            found |= ids
            sizes.append(sum(len(draft.measurements) for draft in drafts))
        assert len(sizes) > 20
        assert sum(sizes) == sum(each.type != "session" for each in readings)


class TestWrites:
    def test_sent_together_are_as_many_as_there_is_room_for(self) -> None:
        long = [series(identity(), {0: 60}) for _ in range(10)]
        assert [len(each) for each in sent_together(long, 4, 1 << 30)] == [4, 4, 2]
        assert [len(each) for each in sent_together(long, 800, 1)] == [1] * 10
        assert list(sent_together([], 4, 1)) == []
