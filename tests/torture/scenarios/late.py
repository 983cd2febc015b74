"""Creates whose answer is cut and that a gateway carries out later, over everything written since."""

from tests.faults import ProxiedRequest
from tests.torture.scenario import scenario
from tests.torture.scenarios.networks import CARRY_OUT_ALL
from tests.torture.site import Site

ROUNDS = 5
MESSAGES_A_ROUND = 40
LATE_SECONDS = 6.0
"""Longer than a flush of a round takes with all its second looks, so that what comes late meets newer versions."""


def creates(request: ProxiedRequest) -> bool:
    return b'"ifNoneMatch"' in request.body or "If-None-Match" in request.headers


def _late_creates(site: Site) -> None:
    """In each round one bundle of creates comes late, to a server that then forgets what it has."""
    for _ in range(ROUNDS):
        site.fhir.late_by(LATE_SECONDS, when=creates)
        site.deliver(site.traffic.messages(MESSAGES_A_ROUND))
        site.flush()
        site.deliver(site.traffic.messages(MESSAGES_A_ROUND))
        site.flush()
    site.fhir.wait_for_late()
    site.calm()
    for _ in range(3):
        site.flush()


for _profile in ("strict", *CARRY_OUT_ALL):
    scenario(
        f"late-creates-{_profile}",
        profile=_profile,
        repeats=_profile in CARRY_OUT_ALL,
        settings={"FHIR_BUNDLE_SIZE": "20"},
    )(_late_creates)

scenario(
    "late-creates-create-mode",
    profile="hapi",
    repeats=True,
    strangers=False,
    settings={"RESOURCE_IDENTITY_RESOLUTION_TYPE": "Create", "FHIR_BUNDLE_SIZE": "20"},
)(_late_creates)
