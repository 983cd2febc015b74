"""Dead letters that are put through again while traffic runs."""

from tests.torture.scenario import scenario
from tests.torture.site import EVERY_SECOND, Site
from tests.torture.traffic import STRANGERS

ROUNDS = 4
MESSAGES_A_ROUND = 60
JOB_FLUSHES = 20
"""A job of some hundred letters that is not done after so many ticks is stuck."""


def _replay(site: Site) -> str:
    """Asks for a replay of what strangers sent; returns the job's status address."""
    answer = site.stack.call("POST", "/api/replay", json={"error": "DeviceNotFound"})
    assert answer.status_code == 202, f"{answer.status_code} {answer.text}"
    return answer.headers["location"]


def _replayed(site: Site, *, killing: bool) -> None:
    for _ in range(ROUNDS):
        site.deliver(site.traffic.messages(MESSAGES_A_ROUND))
        site.flush()
    site.admit([f"{STRANGERS}-{number}" for number in range(3)])
    site.restart()  # that the Devices are not there is remembered for a moment
    _replay(site)
    _replay(site)
    for _ in range(ROUNDS):
        site.send(site.traffic.messages(MESSAGES_A_ROUND))
        if killing:
            site.crash_worker()
            site.let_leases_end()
        site.flush()
    site.stack.wait_until_read()
    for _ in range(JOB_FLUSHES):
        site.flush()


@scenario("replay", traffic={"bad_share": 0.3}, strangers=False)
def replay(site: Site) -> None:
    """Two jobs ask for the same letters, while more messages come in."""
    _replayed(site, killing=False)


@scenario("replay-killed", traffic={"bad_share": 0.3}, strangers=False, settings={"FLUSH_SCHEDULE": EVERY_SECOND})
def replay_killed(site: Site) -> None:
    """The same, and the worker dies again and again meanwhile."""
    _replayed(site, killing=True)
