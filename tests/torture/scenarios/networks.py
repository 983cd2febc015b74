"""Networks and servers with faults, on every kind of FHIR server."""

import threading
import time
from collections.abc import Callable

from tests.dev.waiting import wait_until
from tests.faults import Act, Answer, Cut, FaultProxy, Forward, ProxiedRequest, anything, reads, writes
from tests.torture.scenario import scenario
from tests.torture.site import EVERY_SECOND, FURTHER_ACCOUNT, READING_SECONDS, Site

ROUNDS = 5
MESSAGES_A_ROUND = 50

HTML = b"<html><body>The gateway does not like this.</body></html>"

PROFILES = (
    "strict",
    "no-if-none-match",
    "no-etag",
    "milliseconds",
    "outer-400",
    "versioned-update",
    "uuid-versions",
    "cut-identifiers",
    "checked-references",
    "hapi",
    "no-batch",
    "no-search-in-batch",
    "no-search-in-batch-501",
)
"""All of dev/fhir/profiles.mjs that the app can write to: it refuses the others at its start."""

CARRY_OUT_ALL = ("no-if-none-match", "hapi")
"""On these a create that the network delivers twice makes two versions."""


def faults(site: Site, share: float, kinds: dict[str, Act]) -> Act:
    """A fault of one of these kinds on a share of the requests, as the seed has it."""
    choosing = threading.Lock()
    names = sorted(kinds)

    def act(request: ProxiedRequest, forward: Forward) -> Answer:
        with choosing:
            chosen = site.chance.choice(names) if site.chance.random() < share else None
        return kinds[chosen](request, forward) if chosen else forward()

    return act


def refusal(status: int, retry_after: str | None = None) -> Act:
    headers = [("Retry-After", retry_after)] if retry_after else []
    return lambda request, forward: Answer(status, headers, b"")


def _cut_before(request: ProxiedRequest, forward: Forward) -> Answer:
    raise Cut


def _cut_after(request: ProxiedRequest, forward: Forward) -> Answer:
    forward()
    raise Cut


def _cut_half_way(request: ProxiedRequest, forward: Forward) -> Answer:
    raise Cut(forward())


def slow(request: ProxiedRequest, forward: Forward) -> Answer:
    time.sleep(0.7)  # long enough for other requests to overtake it
    return forward()


def _answered_late(request: ProxiedRequest, forward: Forward) -> Answer:
    answer = forward()
    time.sleep(0.7)
    return answer


def _delivered_twice(request: ProxiedRequest, forward: Forward) -> Answer:
    forward()
    return forward()


FHIR_FAULTS: dict[str, Act] = {
    "429": refusal(429, "1"),
    "500": refusal(500),
    "503": refusal(503),
    "cut before": _cut_before,
    "cut after": _cut_after,
    "cut half way": _cut_half_way,
    "slow": slow,
    "answered late": _answered_late,
    "twice": _delivered_twice,
}

STORAGE_FAULTS: dict[str, Act] = {
    "500": refusal(500),
    "503": refusal(503),
    "cut before": _cut_before,
    "cut after": _cut_after,
    "slow": slow,
}


def run_traffic(site: Site) -> None:
    for _ in range(ROUNDS):
        site.send(site.traffic.messages(MESSAGES_A_ROUND))
        site.stack.wait_until_read()
        site.flush()


def _fhir_faults(site: Site) -> None:
    """A fifth of the requests to the FHIR server meet a fault."""
    site.fhir.rule(faults(site, 0.2, FHIR_FAULTS), times=None)
    run_traffic(site)


for _profile in PROFILES:
    scenario(
        f"fhir-faults-{_profile}",
        short=_profile == "strict",
        repeats=_profile in CARRY_OUT_ALL,
        profile=_profile,
        settings={"FHIR_BUNDLE_SIZE": "20"},
    )(_fhir_faults)


@scenario(
    "create-mode-faults",
    strangers=False,
    settings={"RESOURCE_IDENTITY_RESOLUTION_TYPE": "Create", "FHIR_BUNDLE_SIZE": "20", "FLUSH_SCHEDULE": EVERY_SECOND},
)
def create_mode_faults(site: Site) -> None:
    """The same where the app itself makes the Patients and Devices that are missing."""
    _fhir_faults(site)


@scenario("storage-faults")
def storage_faults(site: Site) -> None:
    """A tenth of the requests to storage meet a fault."""
    for proxy in (site.tables, site.blobs):
        proxy.rule(faults(site, 0.1, STORAGE_FAULTS), times=None)
    run_traffic(site)


@scenario("storage-cut", settings={"FLUSH_SCHEDULE": EVERY_SECOND})
def storage_cut(site: Site) -> None:
    """Storage is away for 30 s, while messages come in and the flush goes on."""
    site.deliver(site.traffic.messages(MESSAGES_A_ROUND))
    for proxy in (site.tables, site.blobs):
        proxy.cut_before(times=None)
    site.send(site.traffic.messages(2 * MESSAGES_A_ROUND))
    time.sleep(30)
    site.calm()
    with site.timed("until what came in while storage was away is read"):
        site.stack.wait_until_read()


@scenario("storage-hangs", long=True)
def storage_hangs(site: Site) -> None:
    """Storage takes 40 s for some requests of an ingest and of a flush, which is longer than the app waits for one."""
    site.deliver(site.traffic.messages(MESSAGES_A_ROUND))
    site.tables.delay(40, times=2)
    site.send(site.traffic.messages(MESSAGES_A_ROUND))
    with site.timed("until messages are read of whose batch two requests hang"):
        site.stack.wait_until_read(timeout_seconds=180)
    site.tables.delay(40, times=2)
    with site.timed("a flush of which two requests to storage hang"):
        site.flush()


@scenario("fhir-hangs", long=True, settings={"FHIR_BUNDLE_SIZE": "20"})
def fhir_hangs(site: Site) -> None:
    """The FHIR server carries out some writes 140 s late, which is longer than the app waits for an answer."""
    site.deliver(site.traffic.messages(MESSAGES_A_ROUND))
    site.fhir.delay(140, when=writes, times=2)
    with site.timed("a flush while two writes hang"):
        site.flush()
    site.deliver(site.traffic.messages(MESSAGES_A_ROUND))


@scenario("fhir-away", settings={"FHIR_BUNDLE_SIZE": "20"})
def fhir_away(site: Site) -> None:
    """The FHIR server is not there, then throttles everything, then is there."""
    site.deliver(site.traffic.messages(MESSAGES_A_ROUND))
    site.flush()
    site.deliver(site.traffic.messages(MESSAGES_A_ROUND))
    site.fhir.cut_before(times=None)
    with site.timed("a flush without a FHIR server"):
        site.flush()
    site.calm()
    site.fhir.rule(refusal(429, "1"), times=None)
    with site.timed("a flush at a FHIR server that throttles"):
        site.flush()
    site.calm()
    with site.timed("the flush after that"):
        site.flush()


def _in_further_account(request: ProxiedRequest) -> bool:
    return request.path.startswith(f"/{FURTHER_ACCOUNT}/")


@scenario("account-away", further_account=True, settings={"BUFFER_SHARDS": "4"})
def account_away(site: Site) -> None:
    """The second of two storage accounts is away: its shards wait, and what is new of theirs; the others go on."""
    site.deliver(site.traffic.messages(MESSAGES_A_ROUND))
    assert {shard % 2 for shard in site.shards()} == {0, 1}
    site.tables.cut_before(_in_further_account, times=None)
    with site.timed("a flush without one of the accounts"):
        site.flush()
    site.tables.clear()
    assert {shard % 2 for shard in site.shards()} == {1}
    site.tables.answer(403, when=_in_further_account, times=None)
    site.send(site.traffic.messages(MESSAGES_A_ROUND))
    site.flush()
    site.calm()
    with site.timed("until all is read and written after that"):
        site.stack.wait_until_read()
        wait_until(lambda: site.flush() and not site.shards(), seconds=READING_SECONDS)


@scenario(
    "outage-in-a-window",
    traffic={"devices": 10, "partitions": 2, "seconds_apart": 0.01},
    settings={"FLUSH_PORTION_MB": "1", "FHIR_BUNDLE_SIZE": "10", "WINDOW_SECONDS": "300", "BUFFER_SHARDS": "1"},
)
def outage_in_a_window(site: Site) -> None:
    """The FHIR server goes away between two passes over a large window, and the storage in another one."""
    site.deliver(site.traffic.long_messages(100, 100))
    for proxies in ((site.fhir,), (site.tables, site.blobs)):
        before = site.measurements()

        def go_away(_: ProxiedRequest, away: tuple[FaultProxy, ...] = proxies) -> None:
            for proxy in away:
                proxy.cut_before(times=None)

        site.fhir.after_forwarding(go_away, when=writes)
        with site.timed(f"a flush in which {'the FHIR server' if site.fhir in proxies else 'storage'} goes away"):
            site.flush()
        site.calm()
        site.let_leases_end()
        assert site.measurements() <= before


def _gateway(status: int, body: bytes) -> Callable[[Site], None]:
    def play(site: Site) -> None:
        """A gateway refuses every read for a while."""
        site.deliver(site.traffic.messages(MESSAGES_A_ROUND))
        site.fhir.answer(status, body, {"Content-Type": "text/html"}, when=reads, times=None)
        site.flush()
        site.fhir.clear()
        site.fhir.answer(status, body, {"Content-Type": "text/html"}, when=anything, times=3)
        site.deliver(site.traffic.messages(MESSAGES_A_ROUND))
        site.flush()

    return play


for _status in (400, 413):
    scenario(f"gateway-{_status}")(_gateway(_status, HTML))
