"""A process with little memory left that puts a batch through in which one message takes more.

python -m tests.ingest.short_of_memory STORAGE_CONNECTION
"""

import json
import resource
import sys
from pathlib import Path

from medtech.dead_letter.store import DeadLetters
from medtech.dotnet import ticks
from medtech.group.buffer import Buffer
from medtech.ingest.batch import process
from medtech.mapping.device import load_device_mapping
from medtech.model import DeviceEvent
from medtech.settings import Settings
from medtech.storage.connection import Storage
from tests.ingest.mortal import HUB, NOON

MEMORY_LEFT = 40 * 1024 * 1024
BODY_BYTES = 4 * 1024 * 1024

_MAPPING = {
    "templateType": "CollectionContent",
    "template": [
        {
            "templateType": "CalculatedContent",
            "template": {
                "typeName": "hr",
                "typeMatchExpression": "$..[?(@.hr)]",
                "deviceIdExpression": "$.matchedToken.device",
                "timestampExpression": "$.matchedToken.time",
                "values": [{"valueName": "hr", "valueExpression": "$.matchedToken.hr", "required": True}],
            },
        }
    ],
}
_READING = json.dumps({"hr": 60, "device": "d", "time": "2022-03-12T12:00:00Z"}).encode()
# Empty arrays take twenty times their text. The single quotes are for the reader in Python: orjson is ended by the
# system more often than not when it gets no memory, which is what attempts are for (`mortal`).
_HUGE = b"['x'," + b"[]," * (BODY_BYTES // 3) + b"0]"


def main(connection: str) -> None:
    storage = Storage(environment={"BufferStorage": connection})
    mapping = load_device_mapping(json.dumps(_MAPPING))
    buffer, dead_letters = Buffer(storage), DeadLetters(storage)

    def put_through(*bodies: bytes) -> None:
        events = [
            DeviceEvent(body, {}, {}, NOON + number * ticks.TICKS_PER_SECOND, HUB, "3", number)
            for number, body in enumerate(bodies)
        ]
        process(events, mapping, buffer, dead_letters, Settings(), ticks.now)

    put_through(_READING, b"{")  # what is imported and opened on the way is there then
    taken = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY_LEFT, taken + MEMORY_LEFT))
    put_through(_READING, _HUGE, _READING)


if __name__ == "__main__":
    main(*sys.argv[1:])
