"""Counts that are carried by the context."""

from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from math import inf
from threading import Thread

from medtech.deadline import Deadline, seconds_left, within
from medtech.side_counts import Settled, Throttled, collected, count, counting


def test_tasks_with_the_context_count_in_one_place() -> None:
    with collected() as counts, ThreadPoolExecutor(8) as pool:
        for _ in range(200):
            pool.submit(copy_context().run, count, Throttled("fhir"))
        count(Settled("Patient", "Created"))
    count(Throttled("fhir"))
    assert counts == {Throttled("fhir"): 200, Settled("Patient", "Created"): 1}


def test_a_thread_counts_for_who_started_it_and_has_no_deadline_of_theirs() -> None:
    left: list[float] = []

    def work() -> None:
        count(Throttled("storage"))
        left.append(seconds_left())

    with collected() as counts, within(Deadline(1)):
        thread = Thread(target=counting(work))
        thread.start()
        thread.join()
    assert (counts, left) == ({Throttled("storage"): 1}, [inf])


def test_outside_nobody_counts() -> None:
    count(Throttled("fhir"))
    with collected() as counts:
        pass
    assert counts == {}
