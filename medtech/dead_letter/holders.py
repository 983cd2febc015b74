"""What a letter in the hands of a replay job waits for.

A job marks a letter with its own id (property `job`) and the names of the letter's **holders**: the rows of the buffer
that hold its readings, and the job itself while it has more to do with it. Each takes itself off when it is done, and
the last one deletes the letter. A letter that is written again loses its mark: what it says may be something else than
what the job put through.
"""

from collections.abc import Iterable

from medtech.storage.table import Entity

JOB = "job"
"""The holder that stands for the job itself."""

MAX_HOLDER_BYTES = 64 * 1024
"""They are one binary property. It takes the names of 1,200 rows, and a message has one for each of up to 1,000 shards,
more only if its measurements take many times 4 MiB."""

UNMARKED: Entity = {"job": "", "holders": b""}


def pack_holders(holders: Iterable[str]) -> bytes:
    return "\n".join(holders).encode()


def read_holders(entity: Entity) -> tuple[str, ...]:
    """The holders of a letter's entity, in order."""
    packed = entity.get("holders")
    return tuple(packed.decode().split("\n")) if packed else ()
