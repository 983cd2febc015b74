"""Two instances of the app on one storage and one FHIR server."""

import hashlib
import json
import os

from tests.torture.scenario import scenario
from tests.torture.scenarios.deaths import writes_a_segment
from tests.torture.scenarios.networks import faults, slow
from tests.torture.site import EVERY_SECOND, MACHINE, Site, twin_host

ROUNDS = 5
MESSAGES_A_ROUND = 60
BATCH_SIZE = "AzureFunctionsJobHost__extensions__eventHubs__maxEventBatchSize"


def _send_to_both(site: Site, **settings: str) -> None:
    # Each of a batch's rows is stored by one host before the other and the next one after it, as chance will have it.
    site.tables.rule(faults(site, 0.5, {"slow": slow}), when=writes_a_segment, times=None)
    with twin_host(site, site.folder / "other", **settings) as other:
        for _ in range(ROUNDS):
            messages = site.traffic.messages(MESSAGES_A_ROUND)
            for host in site.chance.sample((None, other), 2):
                site.send(messages, host)
            site.stack.wait_until_read()
            other.wait_until_read()
        for host in (site.stack, other):
            host.run_timer("flush")


@scenario("two-hosts", short=True, settings={"FLUSH_SCHEDULE": EVERY_SECOND})
def two_hosts(site: Site) -> None:
    """Both read every message, in batches of other sizes, and both flush; their clocks are ten minutes apart."""
    _send_to_both(site, PYTHONPATH=str(MACHINE), CLOCK_AHEAD_SECONDS="600", **{BATCH_SIZE: "17"})


@scenario("two-mappings", settings={"FLUSH_SCHEDULE": EVERY_SECOND})
def two_mappings(site: Site) -> None:
    """A rolling deployment: an instance of the package before offers its mapping beside one of the package after."""
    newer = json.loads(site.device_mapping.read_text())
    older = site.folder / "older.json"
    older.write_text(json.dumps({**newer, "template": newer["template"][::-1]}))
    os.utime(older, (0, 0))
    _send_to_both(site, DEVICE_MAPPING=str(older))
    assert site.mapping_in_force("device") == hashlib.sha256(site.device_mapping.read_bytes()).hexdigest()


@scenario("other-shards", traffic={"devices": 20, "partitions": 1}, settings={"WINDOW_SECONDS": "300"})
def other_shards(site: Site) -> None:
    """An old instance stores each batch, with the same borders, under other shards while a new one does."""
    _send_to_both(site, BUFFER_SHARDS="7")
