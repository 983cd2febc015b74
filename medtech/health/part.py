"""What health says of the app: its parts, each with its state."""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    """How a part is.

    `WARNING`: data goes on, and somebody should look. `UNKNOWN`: it cannot be seen, since what it rests on is down, or
    it did not answer in time. `DOWN`: data waits, or becomes dead letters, until it is fixed.
    """

    OK = "ok"
    WARNING = "warning"
    UNKNOWN = "unknown"
    DOWN = "down"


Fact = str | int | float | bool | None


class Part(NamedTuple):
    """One part of the app.

    `message` says what is so and, unless all is well, what to do. `facts` are for programs: times are ISO 8601.
    Neither holds a secret, a reading or the id of a patient.
    """

    name: str
    state: State
    message: str
    facts: Mapping[str, Fact] = {}


class Health(NamedTuple):
    """The parts in the order of the data's way; `checked` is in ticks."""

    parts: tuple[Part, ...]
    checked: int

    @property
    def state(self) -> State:
        """`DOWN` if a part is, `WARNING` if one is not `OK`."""
        states = {part.state for part in self.parts}
        if State.DOWN in states:
            return State.DOWN
        return State.OK if states == {State.OK} else State.WARNING
