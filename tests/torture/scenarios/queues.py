"""Flushes by queue: several workers, workers and timers that die, two hosts, outages, a shard that ends the process."""

from functools import partial

from medtech.group.windows import shard_of
from tests.dev.waiting import wait_until
from tests.faults import Answer, Cut, Forward, ProxiedRequest, writes
from tests.torture.scenario import scenario
from tests.torture.scenarios.deaths import FLUSH, Arm, Hook, kill_workers
from tests.torture.scenarios.hosts import two_hosts
from tests.torture.scenarios.networks import STORAGE_FAULTS, faults, fhir_away, run_traffic
from tests.torture.site import EVERY_SECOND, Site

MESSAGES_A_ROUND = 60
WORKERS = SHARDS = 4

_QUEUES = "AzureFunctionsJobHost__extensions__queues__"
BY_QUEUE = {
    "FLUSH_FANOUT": "queue",
    "FHIR_BUNDLE_SIZE": "20",
    f"{_QUEUES}visibilityTimeout": "00:00:01",
    f"{_QUEUES}maxPollingInterval": "00:00:00.2",
}
ON_FOUR_WORKERS = BY_QUEUE | {
    "FUNCTIONS_WORKER_PROCESS_COUNT": str(WORKERS),
    "BUFFER_SHARDS": str(SHARDS),
    f"{_QUEUES}batchSize": str(WORKERS),
}


def puts_a_message(request: ProxiedRequest) -> bool:
    return request.method == "POST" and "/medtech-flush/messages" in request.path


def ends_a_mark(request: ProxiedRequest) -> bool:
    """Deletions of one row are transactions, as those of many are."""
    return request.path.endswith("$batch") and b"DELETE" in request.body and b"/flushes(" in request.body


def begins_a_message(request: ProxiedRequest) -> bool:
    return request.path.endswith("$batch") and b"DELETE" not in request.body and b"/flushes(" in request.body


def _before_put(site: Site, die: Hook) -> None:
    site.queues.before_forwarding(die, when=puts_a_message)


def _after_put(site: Site, die: Hook) -> None:
    site.queues.after_forwarding(die, when=puts_a_message)


def _after_beginning(site: Site, die: Hook) -> None:
    site.tables.after_forwarding(die, when=begins_a_message)


def _before_end(site: Site, die: Hook) -> None:
    site.tables.before_forwarding(die, when=ends_a_mark)


def _after_end(site: Site, die: Hook) -> None:
    site.tables.after_forwarding(die, when=ends_a_mark)


MOMENTS: dict[str, Arm] = FLUSH | {
    "between mark and message": _before_put,
    "after the message is put": _after_put,
    "after a message is begun": _after_beginning,
    "before the mark is deleted": _before_end,
    "after the mark is deleted": _after_end,
}


@scenario("four-workers", short=True, traffic={"devices": 20, "partitions": 2}, settings=ON_FOUR_WORKERS)
def four_workers(site: Site) -> None:
    """Four workers flush four shards at once, over and over."""
    wait_until(lambda: len(site.stack.worker_pids) == WORKERS)
    run_traffic(site)
    carried_out = site.stack.invocations("flush_shard")
    assert carried_out["succeeded"] >= SHARDS, carried_out
    assert carried_out["failed"] == 0, carried_out


scenario("killed-worker-queue", settings=BY_QUEUE | {"FLUSH_PORTION_MB": "1"})(partial(kill_workers, MOMENTS))


@scenario("two-hosts-queue", settings=BY_QUEUE | {"FLUSH_SCHEDULE": EVERY_SECOND})
def two_hosts_queue(site: Site) -> None:
    """Two timers, and messages that either host takes."""
    two_hosts(site)


@scenario("fhir-away-queue", settings=ON_FOUR_WORKERS)
def fhir_away_queue(site: Site) -> None:
    """The FHIR server is not there, then throttles everything, then is there: no message fails."""
    fhir_away(site)
    assert site.stack.invocations("flush_shard")["failed"] == 0


@scenario("queue-faults", settings=ON_FOUR_WORKERS)
def queue_faults(site: Site) -> None:
    """A fifth of the requests to queues, and a tenth of those to tables and blobs, meet a fault."""
    site.queues.rule(faults(site, 0.2, STORAGE_FAULTS), times=None)
    for proxy in (site.tables, site.blobs):
        proxy.rule(faults(site, 0.1, STORAGE_FAULTS), times=None)
    run_traffic(site)


@scenario(
    "poison-shard",
    traffic={"devices": 20, "partitions": 2},
    settings=BY_QUEUE | {f"{_QUEUES}maxDequeueCount": "3"},
)
def poison_shard(site: Site) -> None:
    """What is to be written of one shard ends the process each time: it waits and is told, the others go on."""
    victims = [device for device in site.traffic.devices if shard_of(device, SHARDS) == 0]
    deaths: list[str] = []

    def is_deadly(request: ProxiedRequest) -> bool:
        return writes(request) and any(f'"Device/{device}"'.encode() in request.body for device in victims)

    def die(request: ProxiedRequest, forward: Forward) -> Answer:
        deaths.append(request.path)
        site.crash_worker()
        site.let_leases_end()
        raise Cut

    site.deliver(site.traffic.messages(2 * MESSAGES_A_ROUND))
    site.fhir.rule(die, when=is_deadly, times=None)
    wait_until(lambda: site.flush() and site.shards() == {0} and _is_told(site), seconds=120)
    assert len(deaths) == 3, deaths
    site.flush()
    assert len(deaths) == 3, "it is not tried again while it waits"


def _is_told(site: Site) -> bool:
    last = site.stack.call("GET", "/api/health").json()["parts"]["lastFlush"]
    return last["state"] == "warning" and "shard 0 " in last["message"]
