"""Whether anything that a run put out holds health data: logs, telemetry, addresses of requests, and the tables of the
app's own.

All that is secret in a run's traffic has SECRET in it: readings, the identifiers of patients and encounters, the ids of
sessions, and with them every body. Ids of devices have not, and those of the FHIR server: they may be told.
"""

import base64
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

SECRET = "730194825"
"""Nine digits that no time, port, count or id begins with; what follows them tells one value from another."""


class Output(NamedTuple):
    """Something that was put out, and where; each of its lines is looked at."""

    where: str
    text: str


def forms(secret: str) -> list[str]:
    """How a text of ASCII appears: as it is, as JSON escapes, in hexadecimal digits (of UTF-8, and of UTF-16), in
    percents, or inside base64 at any of three offsets."""
    raw = secret.encode()
    escaped = "".join(f"\\u{byte:04x}" for byte in raw)
    percents = "".join(f"%{byte:02x}" for byte in raw)
    wide = secret.encode("utf-16-le").hex()
    # Of the first and the last group of an offset some bits are of what stands before and after.
    within_base64 = [
        base64.b64encode(b"x" * offset + raw).decode()[4 if offset else 0 : -4 if (offset + len(raw)) % 3 else None]
        for offset in range(3)
    ]
    return [secret, escaped, raw.hex(), wide, percents, *within_base64]


_FORMS = re.compile("|".join(map(re.escape, forms(SECRET))), re.IGNORECASE)


def leaks(outputs: Iterable[Output]) -> Iterator[str]:
    """A line for the log about each line that holds a secret: where it is, and what stands around it."""
    for where, text in outputs:
        for number, line in enumerate(text.split("\n"), start=1):
            if (found := _FORMS.search(line)) is not None:
                yield f"{where}:{number}: {line[max(0, found.start() - 80) : found.end() + 20].strip()}"
