"""Batches that come again: with other borders, and in two places at once."""

from tests.torture.scenario import scenario
from tests.torture.scenarios.deaths import writes_a_segment
from tests.torture.site import EVERY_SECOND, Site

ROUNDS = 6
MESSAGES_A_ROUND = 60


@scenario("redelivered", short=True)
def redelivered(site: Site) -> None:
    """After each flush, whatever was read is read again from anywhere on, and flushed again."""
    for _ in range(ROUNDS):
        site.deliver(site.traffic.messages(MESSAGES_A_ROUND))
        if site.chance.random() < 0.5:
            site.flush()
        for partition, state in site.stack.hub_state().items():
            site.stack.steal_partition(partition, site.chance.randrange(state["lastSequenceNumber"] + 1))
        site.stack.wait_until_read()
        site.flush()


@scenario("all-redelivered", settings={"FLUSH_SCHEDULE": EVERY_SECOND})
def all_redelivered(site: Site) -> None:
    """The checkpoint is lost, three times, each time to a host that makes batches of another size."""
    name = "AzureFunctionsJobHost__extensions__eventHubs__maxEventBatchSize"
    for size in (7, 100, 33):
        site.deliver(site.traffic.messages(2 * MESSAGES_A_ROUND))
        site.restart(**{name: str(size)})
        for partition in site.stack.hub_state():
            site.stack.steal_partition(partition, 0)
        site.stack.wait_until_read()


@scenario("stolen", settings={"FLUSH_SCHEDULE": EVERY_SECOND})
def stolen(site: Site) -> None:
    """Partitions move while their batch is being stored: two write it at once."""
    site.tables.delay(0.3, when=writes_a_segment, times=None)
    for _ in range(ROUNDS):
        site.send(site.traffic.messages(MESSAGES_A_ROUND))
        for _ in range(4):
            site.stack.steal_partition(str(site.chance.randrange(site.partitions)))
    site.stack.wait_until_read()
