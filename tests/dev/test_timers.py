"""Timer schedules, and one run at a time."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from dev.functions import Function, FunctionInvalid, TimerTrigger
from dev.timers import Timer
from dev.worker_process import InvocationResult


async def nothing(_value: Any) -> InvocationResult:
    return InvocationResult(None, None)


def timer(schedule: str, invoke: Any = nothing) -> Timer:
    return Timer(Function("t", "1", TimerTrigger("timer", schedule, False), None, False, None), invoke)


@pytest.mark.parametrize(
    ("schedule", "tick"),
    [
        ("*/30 * * * * *", "2026-03-02T08:00:30"),
        ("0 * * * * *", "2026-03-02T08:01:00"),
        ("*/5 * * * *", "2026-03-02T08:05:00"),
        ("15 0 3 * * *", "2026-03-03T03:00:15"),
        ("0 0 0 * * Sun", "2026-03-08T00:00:00"),
        ("0 0 0 13 * Fri", "2026-03-13T00:00:00"),  # both must fit: NCRONTAB, unlike cron
        ("0 0 0 13 * Mon", "2026-04-13T00:00:00"),
    ],
)
def test_next_tick(schedule: str, tick: str) -> None:
    after = datetime(2026, 3, 2, 8, tzinfo=UTC)  # a Monday
    assert timer(schedule).next_after(after).isoformat() == f"{tick}+00:00"


@pytest.mark.parametrize("schedule", ["* * * *", "0 0 0 0 0 0 0", "every minute", "", "0 99 * * * *"])
def test_a_schedule_that_is_none_is_named(schedule: str) -> None:
    with pytest.raises(FunctionInvalid, match=r"Function t: .*NCRONTAB"):
        timer(schedule)


def test_a_timer_never_runs_twice_at_once() -> None:
    running = most = 0

    async def invoke(_value: Any) -> InvocationResult:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        return InvocationResult(None, None)

    async def run() -> None:
        single = timer("* * * * * *", invoke)
        await asyncio.gather(*(single.run() for _ in range(5)))

    asyncio.run(run())
    assert most == 1
