"""Creates whose answer is cut and that a gateway carries out later, over everything written since."""

from tests.faults import ProxiedRequest, writes
from tests.torture.oracle import Json
from tests.torture.scenario import scenario
from tests.torture.scenarios.networks import CARRY_OUT_ALL, refusal
from tests.torture.site import Site
from tests.torture.traffic import patient_identifier

NEWCOMER = "newcomer-1"
"""A device that only the app itself makes."""

EDIT = {"name": [{"family": "Edited"}]}

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


@scenario(
    "overwritten-patient",
    profile="hapi",
    repeats=True,
    strangers=False,
    settings={"RESOURCE_IDENTITY_RESOLUTION_TYPE": "Create", "FHIR_BUNDLE_SIZE": "20"},
)
def overwritten_patient(site: Site) -> None:
    """A late create goes over a Patient whom people have edited, and the write that restores it meets a 503."""
    person = patient_identifier(NEWCOMER)
    late = site.fhir.late(when=lambda request: creates(request) and person.encode() in request.body)
    site.deliver(site.traffic.messages(MESSAGES_A_ROUND, device=NEWCOMER))
    site.flush()
    patient = _patient(site, person)
    site.put(patient | EDIT)
    late.carry_out()
    assert "name" not in _patient(site, person), "nothing came late"
    site.fhir.rule(refusal(503), when=writes, times=2)
    with site.timed("the flush that puts back what a late create went over, after two 503"):
        site.flush()
    site.calm()
    for _ in range(3):
        site.flush()
    assert EDIT.items() <= _patient(site, person).items(), "what people wrote of the Patient is gone"


def _patient(site: Site, identifier: str) -> Json:
    [entry] = site.get(f"/Patient?identifier={identifier}")["entry"]
    patient: Json = entry["resource"]
    return patient
