"""Who may work beside whom in this process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """Any number side by side, or one alone.

    Whoever waits to be alone is let in before those that come after it: under steady traffic it would wait for ever.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._beside = 0
        self._waiting_to_be_alone = 0
        self._is_alone = False

    @contextmanager
    def beside_others(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._is_alone and not self._waiting_to_be_alone)
            self._beside += 1
        try:
            yield
        finally:
            with self._changed:
                self._beside -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        with self._changed:
            self._waiting_to_be_alone += 1
            self._changed.wait_for(lambda: not self._is_alone and not self._beside)
            self._waiting_to_be_alone -= 1
            self._is_alone = True
        try:
            yield
        finally:
            with self._changed:
                self._is_alone = False
                self._changed.notify_all()
