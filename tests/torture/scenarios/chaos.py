"""Everything at once, in an order that the seed draws."""

import time
from collections.abc import Callable

from tests.torture.scenario import scenario
from tests.torture.scenarios.networks import FHIR_FAULTS, STORAGE_FAULTS, faults
from tests.torture.site import EVERY_SECOND, Site

ROUNDS = 10
MESSAGES_A_ROUND = 50


def _steal(site: Site) -> None:
    partition, state = site.chance.choice(list(site.stack.hub_state().items()))
    site.stack.steal_partition(partition, site.chance.randrange(state["lastSequenceNumber"] + 2))


def _restart(site: Site) -> None:
    site.restart(
        BUFFER_SHARDS=str(site.chance.choice((1, 3, 4, 7))), WINDOW_SECONDS=str(site.chance.choice((7, 60, 300)))
    )


def _kill_host(site: Site) -> None:
    site.stack.host.kill()
    site.stack.start_host()
    site.let_leases_end()


def _kill_worker(site: Site) -> None:
    site.crash_worker()
    site.let_leases_end()


def _cut_storage(site: Site) -> None:
    # Before the other faults: the first rule that takes a request is the one that holds.
    site.calm()
    for proxy in (site.tables, site.blobs):
        proxy.cut_before(times=None)
    time.sleep(site.chance.uniform(1, 8))
    site.calm()
    _make_faults(site)


ACTIONS: tuple[Callable[[Site], None], ...] = (_steal, _steal, _restart, _kill_host, _kill_worker, _cut_storage)


def _make_faults(site: Site) -> None:
    site.fhir.rule(faults(site, 0.1, FHIR_FAULTS), times=None)
    for proxy in (site.tables, site.blobs):
        proxy.rule(faults(site, 0.05, STORAGE_FAULTS), times=None)


@scenario("chaos", long=True, settings={"FLUSH_SCHEDULE": EVERY_SECOND, "FHIR_BUNDLE_SIZE": "20"})
def chaos(site: Site) -> None:
    """Faults all the time, and in each round somebody dies, moves, restarts or is cut off."""
    _make_faults(site)
    for _ in range(ROUNDS):
        site.send(site.traffic.messages(MESSAGES_A_ROUND))
        time.sleep(site.chance.uniform(0, 3))
        site.chance.choice(ACTIONS)(site)
