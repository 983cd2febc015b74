"""Timer trigger: NCRONTAB schedules with seconds, and never two runs of a timer at once.

In the cloud a lease ensures that, here a lock. A run requested (`POST /admin/functions/...`) during another run waits
for its end; ticks that pass during a run are skipped.
"""

import asyncio
import json
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

from croniter import croniter
from croniter.croniter import CroniterError

from dev.functions import Function, FunctionInvalid, TimerTrigger
from dev.rpc import messages
from dev.worker_process import InvocationResult


class Timer:
    """One timer function. Raises FunctionInvalid if its schedule is not an NCRONTAB expression."""

    def __init__(self, function: Function, invoke: Callable[[Any], Coroutine[Any, Any, InvocationResult]]) -> None:
        assert isinstance(function.trigger, TimerTrigger)
        self._trigger = function.trigger
        self._invoke = invoke
        self._single = asyncio.Lock()
        self._last: datetime | None = None
        try:
            self.next_after(datetime.now(UTC))
        except (CroniterError, ValueError):
            raise FunctionInvalid(
                f"Function {function.name}: '{self._trigger.schedule}' is not an NCRONTAB schedule "
                "(second minute hour day month weekday)."
            ) from None

    def next_after(self, time: datetime) -> datetime:
        """The first tick after a time. Day and weekday must both match (`day_or`), unlike in cron."""
        fields = self._trigger.schedule.split()
        if len(fields) not in (5, 6):
            raise ValueError(self._trigger.schedule)
        schedule = " ".join(fields if len(fields) == 6 else ["0", *fields])
        ticks = croniter(schedule, time, ret_type=datetime, second_at_beginning=True, day_or=False)
        tick: datetime = ticks.get_next()
        return tick

    async def follow_schedule(self) -> None:
        """Runs the function at each tick, forever."""
        if self._trigger.run_on_startup:
            await self.run()
        tick = datetime.min.replace(tzinfo=UTC)
        while True:
            now = datetime.now(UTC)
            tick = self.next_after(max(now, tick))  # a sleep may end a moment early: never run the same tick twice
            await asyncio.sleep((tick - now).total_seconds())
            if not self._single.locked():
                await self.run()

    async def run(self) -> InvocationResult:
        """Runs the function once, after any run that is under way has ended."""
        async with self._single:
            now = datetime.now(UTC)
            status = {
                "Last": (self._last or now).isoformat(),
                "Next": self.next_after(now).isoformat(),
                "LastUpdated": now.isoformat(),
            }
            self._last = now
            request = {"Schedule": {"AdjustForDST": True}, "ScheduleStatus": status, "IsPastDue": False}
            return await self._invoke(messages.TypedData(json=json.dumps(request)))
