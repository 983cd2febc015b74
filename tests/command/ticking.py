"""The app's timer, beside a command that follows what it does."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from medtech.mapping.device import DeviceMapping
from tests.replay.samples import Ward


@contextmanager
def ticking(tick: Callable[[], None]) -> Iterator[None]:
    over = threading.Event()

    def run() -> None:
        while not over.wait(0.05):
            tick()

    timer = threading.Thread(target=run)
    timer.start()
    try:
        yield
    finally:
        over.set()
        timer.join()


class MappingOf:
    """The device mapping in force, of a ward."""

    def __init__(self, ward: Ward) -> None:
        self._ward = ward

    def stored(self) -> DeviceMapping | None:
        return self._ward.mapping
