"""Workers and hosts that die, at the moments at which it hurts most."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial

import httpx

from tests.dev.waiting import wait_until
from tests.faults import FaultProxy, ProxiedRequest, writes
from tests.torture.scenario import scenario
from tests.torture.site import Site

MESSAGES_A_ROUND = 60

Hook = Callable[[ProxiedRequest], None]
Picks = Callable[[ProxiedRequest], bool]
ProxyOf = Callable[[Site], FaultProxy]
Arm = Callable[[Site, Hook], None]


def writes_a_segment(request: ProxiedRequest) -> bool:
    return request.method in ("PATCH", "PUT", "MERGE") and "/buffer(" in request.path


def settles_rows(request: ProxiedRequest) -> bool:
    return request.path.endswith("$batch") and b"/buffer(" in request.body


def writes_letters(request: ProxiedRequest) -> bool:
    return request.path.endswith("$batch") and b"/deadletters" in request.body


def leases(request: ProxiedRequest) -> bool:
    return "x-ms-lease-action" in request.headers


def _after(proxy: ProxyOf, when: Picks) -> Arm:
    return lambda site, die: proxy(site).after_forwarding(die, when=when)


def _before(proxy: ProxyOf, when: Picks) -> Arm:
    return lambda site, die: proxy(site).before_forwarding(die, when=when)


def _tables(site: Site) -> FaultProxy:
    return site.tables


def _blobs(site: Site) -> FaultProxy:
    return site.blobs


def _fhir(site: Site) -> FaultProxy:
    return site.fhir


INGEST = {
    "after a segment is stored": _after(_tables, writes_a_segment),
    "before letters are stored": _before(_tables, writes_letters),
    "after letters are stored": _after(_tables, writes_letters),
}
FLUSH = {
    "after a bundle is written": _after(_fhir, writes),
    "before rows are settled": _before(_tables, settles_rows),
    "after rows are settled": _after(_tables, settles_rows),
    "under the lease": _after(_blobs, leases),
}
SETTINGS = {"FLUSH_PORTION_MB": "1", "FHIR_BUNDLE_SIZE": "20"}


def _die_at_each(moments: Mapping[str, Arm], site: Site, die: Hook, revive: Callable[[], None]) -> None:
    names = list(moments)
    site.chance.shuffle(names)
    for name in names:
        moments[name](site, die)
        with suppress(httpx.HTTPError, TimeoutError):  # the host is gone, which is the point
            site.send(site.traffic.messages(MESSAGES_A_ROUND))
            with site.timed("until messages are read over which a worker dies"):
                site.stack.wait_until_read(timeout_seconds=30)
            site.flush()
        revive()
        site.calm()


def kill_workers(moments: Mapping[str, Arm], site: Site) -> None:
    """The worker dies at each moment once; the host starts the next one and delivers the batch again."""

    def revive() -> None:
        site.stack.wait_until_read()
        site.let_leases_end()

    _die_at_each(moments, site, lambda _: site.crash_worker(), revive)


scenario("killed-worker-ingest", short=True, settings=SETTINGS)(partial(kill_workers, INGEST))
scenario("killed-worker-flush", settings=SETTINGS)(partial(kill_workers, FLUSH))


@scenario("killed-host", settings=SETTINGS)
def killed_host(site: Site) -> None:
    """The host dies at each moment, and its worker with it."""

    def revive() -> None:
        if not site.stack.host.running:
            site.stack.start_host()
        site.let_leases_end()

    _die_at_each(INGEST | FLUSH, site, lambda _: site.stack.host.kill(), revive)


@scenario("held-lease", long=True, settings=SETTINGS)
def held_lease(site: Site) -> None:
    """The worker dies under the lease of its shards, and nobody ends it: the next flush that gets it writes."""
    site.deliver(site.traffic.messages(MESSAGES_A_ROUND))
    site.fhir.before_forwarding(lambda _: site.crash_worker(), when=writes)
    with suppress(httpx.HTTPError):
        site.flush()
    with site.timed("until the shards of a worker that was killed are flushed by the next one"):
        wait_until(lambda: site.flush() and not site.measurements(), seconds=90)


@scenario("lost-lease", settings=SETTINGS)
def lost_lease(site: Site) -> None:
    """Another instance breaks the leases while a flush writes."""
    site.deliver(site.traffic.messages(MESSAGES_A_ROUND))
    site.fhir.before_forwarding(lambda _: site.let_leases_end(), when=writes)
    with site.timed("a flush that loses its lease, and the next one"):
        site.flush()
        site.flush()
