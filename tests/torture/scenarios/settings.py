"""Settings and mappings that change while traffic runs."""

import json

from tests.torture.scenario import scenario
from tests.torture.site import EVERY_SECOND, Site

MESSAGES_A_ROUND = 80


@scenario("changed-settings", settings={"FLUSH_SCHEDULE": EVERY_SECOND})
def changed_settings(site: Site) -> None:
    """Shards and window length change, more and less, and what was read is read again under each."""
    for shards, window_seconds in ((7, 20), (2, 300), (4, 7), (1, 60)):
        site.send(site.traffic.messages(MESSAGES_A_ROUND))
        site.restart(BUFFER_SHARDS=str(shards), WINDOW_SECONDS=str(window_seconds))
        for partition, state in site.stack.hub_state().items():
            site.stack.steal_partition(partition, site.chance.randrange(state["lastSequenceNumber"] + 1))
        site.stack.wait_until_read()


@scenario("changed-mapping", settings={"FLUSH_SCHEDULE": EVERY_SECOND})
def changed_mapping(site: Site) -> None:
    """The mapping is good, broken, good with its templates in another order, and good again."""
    good = json.loads(site.device_mapping.read_text())
    reordered = {**good, "template": good["template"][::-1]}
    for text in ('{"templateType": "CollectionContent", "template": [{}]}', json.dumps(reordered), json.dumps(good)):
        site.deliver(site.traffic.messages(MESSAGES_A_ROUND))
        site.device_mapping.write_text(text)
        site.restart()
        for partition in site.stack.hub_state():
            site.stack.steal_partition(partition, 0)
        site.stack.wait_until_read()
    site.deliver(site.traffic.messages(MESSAGES_A_ROUND))
