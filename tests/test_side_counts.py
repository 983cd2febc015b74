"""Counts that are carried by the context."""

from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

from medtech.side_counts import Settled, Throttled, collected, count


def test_tasks_with_the_context_count_in_one_place() -> None:
    with collected() as counts, ThreadPoolExecutor(8) as pool:
        for _ in range(200):
            pool.submit(copy_context().run, count, Throttled("fhir"))
        count(Settled("Patient", "Created"))
    count(Throttled("fhir"))
    assert counts == {Throttled("fhir"): 200, Settled("Patient", "Created"): 1}


def test_outside_nobody_counts() -> None:
    count(Throttled("fhir"))
    with collected() as counts:
        pass
    assert counts == {}
