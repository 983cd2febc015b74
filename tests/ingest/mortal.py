"""Processes that put batches through as the app does, and that some messages end.

    python -m tests.ingest.mortal STORAGE_CONNECTION POISON LASTS PARTITION...

Message 0 to the largest of LASTS are in each of the partitions, which are put through side by side. A process gets
batches that end at each of LASTS in turn, beginning after the checkpoint; when it has ended, the next one starts, with
the turns moved on by one. A message that POISON names (`partition/number=how`, separated by spaces) ends its process.
It prints how many processes died.
"""

import ctypes
import os
import signal
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from medtech.dead_letter.store import DeadLetters
from medtech.dotnet import ticks
from medtech.group.buffer import Buffer
from medtech.ingest.attempts import Attempts
from medtech.ingest.batch import bury, process
from medtech.model import DeviceEvent, Measurement, Normalized
from medtech.settings import Settings
from medtech.storage.connection import Storage

NOON = 637_826_832_000_000_000
HUB = "0a1b2c3d"

ENDS = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "exit": lambda: os._exit(1),
    "crash": lambda: ctypes.string_at(0),
}


class Deadly:
    """A mapping of one measurement a message, but for poison."""

    def __init__(self, poison: str) -> None:
        self._poison = dict(each.split("=") for each in poison.split())

    def normalize(self, event: DeviceEvent) -> Normalized:
        end = self._poison.get(f"{event.partition}/{event.sequence_number}")
        if end is not None:
            ENDS[end]()
        number = str(event.sequence_number)
        device = f"device-{event.sequence_number % 5}"
        measurement = Measurement(
            "hr",
            NOON,
            device,
            None,
            None,
            None,
            (("hr", number),),
            event.enqueued_time,
            event.partition,
            int(number),
            0,
            0,
        )
        return Normalized([measurement], [])


def batch(partition: str, first: int, last: int) -> list[DeviceEvent]:
    return [
        DeviceEvent(b"{}", {}, {}, NOON + number * ticks.TICKS_PER_MILLISECOND, HUB, partition, number)
        for number in range(first, last + 1)
    ]


def work(connection: str, poison: str, first: int, lasts: Sequence[int], partitions: Sequence[str]) -> Iterator[int]:
    """What a process does with batch after batch; gives the last number of each that is through."""
    storage = Storage(environment={"BufferStorage": connection})
    put_through = partial(
        process,
        mapping=Deadly(poison),
        buffer=Buffer(storage),
        dead_letters=DeadLetters(storage),
        settings=Settings(),
        clock=ticks.now,
    )
    give_up = partial(bury, dead_letters=DeadLetters(storage), clock=ticks.now)
    attempts = Attempts(storage)
    with ThreadPoolExecutor(len(partitions)) as threads:
        for last in lasts:
            if last >= first:
                batches = [batch(partition, first, last) for partition in partitions]
                list(threads.map(lambda events: attempts.run(events, put_through, give_up, retried=False), batches))
                yield last
                first = last + 1


def main(connection: str, poison: str, lasts: str, *partitions: str) -> int:
    """The deaths until all is through."""
    ends = deque(map(int, lasts.split(",")))
    first = deaths = 0
    while first <= max(ends) and deaths <= 12:
        reading, writing = os.pipe()
        # A fork has all imported and nothing opened: a new process, in a hundredth of the time.
        child = os.fork()
        if not child:
            for last in work(connection, poison, first, ends, partitions):
                os.write(writing, b"%d\n" % last)
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as through:
            first = max([first, *(int(last) + 1 for last in through)])
        _, status = os.waitpid(child, 0)
        deaths += status != 0
        ends.rotate(-1)
    return deaths


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
