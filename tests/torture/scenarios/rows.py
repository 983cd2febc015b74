"""Rows in the buffer that are not the app's, or not what it wrote."""

import zlib

from medtech.dotnet import ticks
from medtech.group import windows
from medtech.group.buffer import TABLE
from medtech.storage.payload import split
from medtech.storage.table import Operation
from tests.torture.scenario import scenario
from tests.torture.site import MACHINE, Site
from tests.torture.traffic import START

MESSAGES = 60
UNPACKED_MB = 600
MACHINE_SETTINGS = {"PYTHONPATH": str(MACHINE), "MEMORY_LIMIT_MB": "512"}


def _bomb() -> bytes:
    """A payload of some hundred KB that unpacks to more than the worker may have."""
    packer = zlib.compressobj(9)
    return b"\x01" + b"".join(packer.compress(bytes(2**20)) for _ in range(UNPACKED_MB)) + packer.flush()


@scenario("damaged-rows", settings=MACHINE_SETTINGS)
def damaged_rows(site: Site) -> None:
    """A row of the first window is a bomb, one is damaged, and there are partitions that are nobody's."""
    table = site.storage.table(TABLE)
    site.deliver(site.traffic.messages(MESSAGES))
    foreign = [{"PartitionKey": key, "RowKey": "a"} for key in ("000", "000|2", "zzz")]
    for entity in foreign:
        table.upsert(entity)
    window = windows.window_start(ticks.from_datetime(START), int(site.settings["WINDOW_SECONDS"]))
    for name, payload in (("bomb", _bomb()), ("damaged", b"\x01abc")):
        keys = {"PartitionKey": windows.partition_key(0, window), "RowKey": f"e|{name}"}
        table.upsert(keys | {"hub": "00000000", "stored_bytes": 4} | split(payload))
    site.flush()
    assert site.errors()["BufferCorrupt"] == 2
    assert site.measurements() == 0, "what is damaged holds up what is not"
    # They are no readings of the hub's, which is all that the checker knows.
    site.forget_letters("BufferCorrupt")
    for entity in foreign:
        table.transact([Operation("delete", entity)])
