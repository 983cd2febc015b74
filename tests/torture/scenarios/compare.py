"""The app compares under every kind of fault, and writes nothing; then it writes, from the first event on."""

from collections import Counter
from collections.abc import Callable

from medtech.comparison.store import Comparisons
from tests.faults import may_write
from tests.torture.scenario import scenario
from tests.torture.scenarios.networks import FHIR_FAULTS, HTML, STORAGE_FAULTS, faults, refusal
from tests.torture.site import Site

MESSAGES = 60
FLUSHES = 4

_COMPARING = {"FHIR_BUNDLE_SIZE": "20", "COMPARE_GRACE_MINUTES": "0"}

Disturbance = Callable[[Site], None]


def _from_the_first_event(site: Site) -> None:
    for partition in site.stack.hub_state():
        site.stack.steal_partition(partition, 0)


def _found(site: Site) -> Counter[str]:
    """What was counted so far, by outcome."""
    outcomes: Counter[str] = Counter()
    for counts in Comparisons(site.storage).types():
        outcomes.update(counts.outcomes)
    return outcomes


def _disturbed(site: Site, disturb: Disturbance) -> None:
    """Flushes under faults and then without them; nothing of it, nor of what went before, may write."""
    written = [request for request in site.fhir.requests if may_write(request)]
    site.calm()
    disturb(site)
    for _ in range(FLUSHES):
        site.flush()
        site.let_leases_end()
    written += [request for request in site.fhir.requests if may_write(request)]
    site.calm()
    while site.measurements():
        before = site.measurements()
        site.flush()
        written += [request for request in site.fhir.requests if may_write(request)]
        assert site.measurements() < before, "what is compared does not leave the buffer"
    assert written == [], f"{len(written)} writes were sent while the app compares"


def _compared(disturb: Disturbance) -> Callable[[Site], None]:
    def play(site: Site) -> None:
        """What was written is compared, all at once, then what was not; then all of it is written."""
        site.deliver(site.traffic.messages(MESSAGES))
        site.flush()
        site.deliver(site.traffic.messages(MESSAGES))
        site.flush()
        assert not site.measurements(), "not all is written that is to be compared"
        site.calm()
        site.restart(FHIR_WRITE="compare")
        _from_the_first_event(site)
        site.stack.wait_until_read()
        _disturbed(site, disturb)
        found = _found(site)
        assert found["same"] > 0, f"nothing of what was written is the same: {found}"
        assert found["same"] == found.total(), f"what was just written is not the same: {found}"
        site.deliver(site.traffic.messages(MESSAGES))
        _disturbed(site, disturb)
        assert _found(site).total() > _found(site)["same"], "what nobody has written is not told"
        site.restart(FHIR_WRITE="write")
        _from_the_first_event(site)

    return play


def _fhir_faults(site: Site) -> None:
    site.fhir.rule(faults(site, 0.2, FHIR_FAULTS), times=None)


def _storage_faults(site: Site) -> None:
    for proxy in (site.tables, site.blobs):
        proxy.rule(faults(site, 0.1, STORAGE_FAULTS), times=None)


def _both(site: Site) -> None:
    _fhir_faults(site)
    _storage_faults(site)


def _away(site: Site) -> None:
    site.fhir.cut_before(times=None)
    site.flush()
    site.fhir.clear()
    site.fhir.rule(refusal(429, "1"), times=5)


def _gateway(status: int) -> Disturbance:
    return lambda site: site.fhir.answer(status, HTML, {"Content-Type": "text/html"}, times=8)


def _deaths(site: Site) -> None:
    _fhir_faults(site)
    for _ in range(2):
        site.crash_worker()
        site.let_leases_end()
        site.flush()


for _name, _disturb in {
    "fhir-faults": _fhir_faults,
    "storage-faults": _storage_faults,
    "fhir-away": _away,
    "gateway-400": _gateway(400),
    "gateway-413": _gateway(413),
    "deaths": _deaths,
}.items():
    scenario(f"compare-{_name}", settings=_COMPARING)(_compared(_disturb))

scenario("compare-faults", short=True, settings=_COMPARING)(_compared(_both))
scenario(
    "compare-create-mode",
    strangers=False,
    settings={**_COMPARING, "RESOURCE_IDENTITY_RESOLUTION_TYPE": "Create"},
)(_compared(_both))
scenario("compare-by-identifier", settings={**_COMPARING, "OBSERVATION_LOOKUP": "identifier"})(_compared(_both))
for _profile in ("hapi", "no-batch", "no-search-in-batch"):
    scenario(f"compare-{_profile}", profile=_profile, settings=_COMPARING)(_compared(_fhir_faults))
