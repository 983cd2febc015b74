"""Much at once: a backlog, many windows, a wave of one device."""

from itertools import pairwise
from pathlib import Path

from tests.faults import writes
from tests.torture.scenario import scenario
from tests.torture.site import EVERY_SECOND, MACHINE, Site

MOST_PARTS = 20
MEMORY_LIMIT_BYTES = 512 * 1024 * 1024


@scenario(
    "backlog",
    traffic={"devices": 10, "partitions": 4, "seconds_apart": 0.2},
    settings={"FLUSH_PORTION_MB": "64", "WINDOW_SECONDS": "300"},
)
def backlog(site: Site) -> None:
    """100,000 readings are flushed at once by a worker that never takes more than 512 MiB."""
    site.deliver(site.traffic.long_messages(500, 200))
    site.stack.kill_worker()  # what reading took is not counted to the flush
    with site.timed("a flush of 100,000 readings"):
        site.flush()
    pid = site.stack.worker_pid
    assert pid is not None
    taken = _peak_bytes(pid)
    assert taken < MEMORY_LIMIT_BYTES, f"the flush took {taken / 1024 / 1024:.0f} MiB"


@scenario(
    "small-portions",
    traffic={"devices": 10, "partitions": 2, "seconds_apart": 0.1},
    settings={"FLUSH_PORTION_MB": "1", "WINDOW_SECONDS": "300"},
)
def small_portions(site: Site) -> None:
    """A window is flushed in many portions, and the worker dies in between, several times."""
    site.deliver(site.traffic.long_messages(100, 100))
    for _ in range(4):
        site.fhir.after_forwarding(lambda _: site.crash_worker(), when=lambda request: request.method == "POST")
        site.flush()
        site.calm()
        site.let_leases_end()


@scenario(
    "flush-in-parts",
    traffic={"devices": 10, "partitions": 2, "seconds_apart": 0.01},
    settings={
        "PYTHONPATH": str(MACHINE),
        "FLUSH_SECONDS": "7.2",
        "FLUSH_PORTION_MB": "1",
        "FHIR_BUNDLE_SIZE": "10",
        "WINDOW_SECONDS": "300",
        "BUFFER_SHARDS": "1",
    },
)
def flush_in_parts(site: Site) -> None:
    """A window takes longer than a flush has time: each one leaves less of it, and the last leaves nothing."""
    site.deliver(site.traffic.long_messages(50, 100))
    site.fhir.delay(2, when=writes, times=None)
    left = [site.measurements()]
    while left[-1] and len(left) < MOST_PARTS:
        site.flush()
        left.append(site.measurements())
    site.calm()
    assert len(left) > 2, "one flush had time for all"
    assert all(after < before for before, after in pairwise(left)), f"a flush settled nothing: {left}"


@scenario("overdue-windows", traffic={"seconds_apart": 300}, settings={"WINDOW_SECONDS": "300", "BUFFER_SHARDS": "1"})
def overdue_windows(site: Site) -> None:
    """A day of windows is overdue: 288 in one shard."""
    site.deliver(site.traffic.messages(288))
    site.flush()


@scenario("wave", traffic={"seconds_apart": 0.01}, settings={"FLUSH_SCHEDULE": EVERY_SECOND})
def wave(site: Site) -> None:
    """One device sends all that it kept in a day without a network."""
    site.deliver(site.traffic.messages(100))
    site.deliver(site.traffic.messages(1440, device="device-1"))
    site.deliver(site.traffic.messages(100))


def _peak_bytes(pid: int) -> int:
    """The most memory that a process ever had at once (Linux)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    peak = next(line for line in lines if line.startswith("VmHWM:"))
    return int(peak.split()[1]) * 1024
