"""Create mode against a real FHIR server: what it makes, every error, and what it must never do."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from medtech.errors import (
    EncounterNotFound,
    FhirAccessDenied,
    IdentityConflict,
    MedTechError,
    MultipleResourceFound,
    PatientDeviceMismatch,
    PatientIdentityNotDefined,
    PatientNotFound,
    Unavailable,
)
from medtech.model import ResourceIdentity
from medtech.persist.references import Identifier
from tests.faults import Answer, FaultProxy, Forward, ProxiedRequest, reads, writes
from tests.persist.identity.samples import CREATE, add, add_device, add_encounter, key, resolve, resolver_at
from tests.persist.samples import Server, unique

SYSTEM = "urn:devices"
EDITS: dict[str, dict[str, Any]] = {
    "Patient": {"name": [{"family": "Edited"}]},
    "Device": {"note": [{"text": "bought in May"}]},
}


class Overwriting:
    """A server that ignores If-None-Match, where somebody edits a Patient or Device just before it is created.

    The edited one has the identifier and the id under which the app creates it, so that the create goes over it.
    """

    def __init__(self, server: Server, proxy: FaultProxy) -> None:
        self.server = server
        self.proxy = proxy
        self.url = f"{proxy.url}/fhir/R4"
        self.key = key(unique("device"), unique("patient"))
        self._identifiers = {
            "Patient": Identifier("", self.key.patient_id or ""),
            "Device": Identifier("", self.key.device_id),
        }

    def creating(self, kind: str, edit: dict[str, Any] | None = None) -> None:
        """The next create of that kind goes over a resource with that edit."""
        identifier = self._identifiers[kind]
        edited = {"resourceType": kind, "id": identifier.resource_id(), "identifier": [identifier.element()]}
        if kind == "Device":
            edited["patient"] = {"reference": f"Patient/{self._identifiers['Patient'].resource_id()}"}
        edited |= EDITS[kind] if edit is None else edit
        self.proxy.before_forwarding(
            lambda request: self.server.put(edited), when=lambda request: writes(request) and creates(request, kind)
        )

    def resolve(self) -> ResourceIdentity | MedTechError:
        (found,) = resolve(self.url, CREATE, self.key)
        return found

    def stored(self, kind: str) -> dict[str, Any]:
        return self.server.get(f"{kind}/{self._identifiers[kind].resource_id()}")


@pytest.fixture
def overwriting(fhir_profile: Any) -> Iterator[Overwriting]:
    server = Server(fhir_profile("no-if-none-match"))
    with FaultProxy(server.url.removesuffix("/fhir/R4")) as proxy:
        yield Overwriting(server, proxy)
    server.close()


def _requests_of(request: ProxiedRequest) -> list[dict[str, Any]]:
    return [entry["request"] for entry in json.loads(request.body)["entry"]] if request.bundle_methods else []


def creates(request: ProxiedRequest, kind: str) -> bool:
    return any(each["url"].startswith(f"{kind}/") and "ifNoneMatch" in each for each in _requests_of(request))


def writes_over(request: ProxiedRequest, kind: str) -> bool:
    return any(each["url"].startswith(f"{kind}/") and "ifMatch" in each for each in _requests_of(request))


def reads_history(request: ProxiedRequest, kind: str) -> bool:
    urls = [each["url"] for each in _requests_of(request)]
    return any(url.startswith(f"{kind}/") and url.endswith("/_history") for url in urls)


def _history_unreadable(request: ProxiedRequest, forward: Forward) -> Answer:
    answer = json.loads(forward().body)
    for index, each in enumerate(_requests_of(request)):
        if each["url"].endswith("/_history"):
            answer["entry"][index] = {"response": {"status": "500 Internal Server Error"}}
    return Answer(200, [], json.dumps(answer).encode())


def _unavailable_entries(request: ProxiedRequest, forward: Forward) -> Answer:
    """A batch none of whose entries is carried out."""
    entries = [{"response": {"status": "503 Service Unavailable"}} for _ in request.bundle_methods]
    return Answer(200, [], json.dumps({"resourceType": "Bundle", "type": "batch-response", "entry": entries}).encode())


def _find_nothing(answer: Any) -> Any:
    """The searches of a batch find nothing; reads by id are left as they are."""
    for entry in answer.get("entry", []):
        resource = entry.get("resource", {})
        if resource.get("type") == "searchset":
            resource |= {"total": 0, "entry": []}
    return answer


class TestCreate:
    def test_device_and_patient_are_created_and_found_again(self, any_server: Server) -> None:
        name, patient_name = unique("device"), unique("patient")
        device_id = Identifier(SYSTEM, name).resource_id()
        patient_id = Identifier("", patient_name).resource_id()
        expected = [ResourceIdentity(device_id, patient_id, None)]

        assert resolve(any_server.url, CREATE, key(name, patient_name), system=SYSTEM) == expected
        assert resolve(any_server.url, CREATE, key(name, patient_name), system=SYSTEM) == expected

        device, patient = any_server.get(f"Device/{device_id}"), any_server.get(f"Patient/{patient_id}")
        assert device["identifier"] == [{"system": SYSTEM, "value": name}]
        assert device["patient"] == {"reference": f"Patient/{patient_id}"}
        assert patient["identifier"] == [{"value": patient_name}]
        assert any_server.versions(f"Device/{device_id}") == any_server.versions(f"Patient/{patient_id}") == 1

    def test_ids_are_the_connectors(self) -> None:
        """SHA-256 of `system_value`, in lower case hexadecimal."""
        assert Identifier("", "p").resource_id() == "9fee91584bdc482b80e41f048ee3e9c3cf1940154792b62e2e6321d67f459aca"

    @pytest.mark.parametrize("stored", ["no Device", "a Device without patient"])
    def test_a_patient_id_is_demanded_where_no_link_says_whose_the_device_is(self, server: Server, stored: str) -> None:
        name = unique("device")
        if stored == "a Device without patient":
            add_device(server, name)

        absent, blank = resolve(server.url, CREATE, key(name), key(name, " "))

        assert isinstance(absent, PatientIdentityNotDefined)
        assert isinstance(blank, PatientIdentityNotDefined)
        assert server.holds(f"Device/{Identifier('', name).resource_id()}") is False

    def test_without_a_patient_id_the_link_says_whose_the_device_is(self, any_server: Server) -> None:
        name, encounter_name = unique("device"), unique("encounter")
        patient, encounter = add(any_server, "Patient", unique("patient")), add_encounter(any_server, encounter_name)
        device = add_device(any_server, name, patient)

        found = resolve(any_server.url, CREATE, key(name), key(name, ""), key(name, None, encounter_name))

        assert found == [
            ResourceIdentity(device, patient, None),
            ResourceIdentity(device, patient, None),
            ResourceIdentity(device, patient, encounter),
        ]
        assert any_server.versions(f"Device/{device}") == 1

    def test_without_a_patient_id_the_linked_patient_must_be_there(self, server: Server) -> None:
        name, patient = unique("device"), unique("p")
        add_device(server, name, {"reference": f"Patient/{patient}"})

        (error,) = resolve(server.url, CREATE, key(name))

        assert isinstance(error, PatientNotFound)
        assert not server.holds(f"Patient/{patient}")

    def test_a_message_without_patient_id_goes_by_the_link_that_its_neighbour_makes(self, server: Server) -> None:
        name, patient_name = unique("device"), unique("patient")

        without, with_patient = resolve(server.url, CREATE, key(name), key(name, patient_name))

        assert isinstance(without, ResourceIdentity)
        assert without == with_patient

    def test_a_device_without_patient_is_linked_and_keeps_the_rest(self, any_server: Server) -> None:
        name, patient_name = unique("device"), unique("patient")
        patient = add(any_server, "Patient", patient_name)
        device = add(any_server, "Device", name, note=[{"text": "bought in May"}])

        assert resolve(any_server.url, CREATE, key(name, patient_name)) == [ResourceIdentity(device, patient, None)]

        stored = any_server.get(f"Device/{device}")
        assert stored["patient"] == {"reference": f"Patient/{patient}"}
        assert stored["note"] == [{"text": "bought in May"}]

    def test_a_device_without_patient_is_linked_once_under_both_its_identifiers(self, any_server: Server) -> None:
        names, patient_name = [unique("device") for _ in range(2)], unique("patient")
        patient = add(any_server, "Patient", patient_name)
        device = str(
            any_server.put(
                {"resourceType": "Device", "id": unique("d"), "identifier": [{"value": name} for name in names]}
            )["id"]
        )

        found = resolve(any_server.url, CREATE, *(key(name, patient_name) for name in names))

        assert found == [ResourceIdentity(device, patient, None)] * 2
        assert any_server.versions(f"Device/{device}") == 2

    def test_a_device_given_without_a_version_is_not_linked(
        self, server: Server, proxy: FaultProxy, proxied: str
    ) -> None:
        def without_versions(answer: Any) -> Any:
            for entry in answer["entry"]:
                # A search that is sent alone has entries without a response.
                entry["response"] = {"status": entry.get("response", {}).get("status", "")}
                entry.get("resource", {}).pop("meta", None)
            return answer

        name, patient_name = unique("device"), unique("patient")
        add(server, "Patient", patient_name)
        device = add_device(server, name)
        proxy.rewrite(without_versions, when=reads, times=None)

        (error,) = resolve(proxied, CREATE, key(name, patient_name))

        assert isinstance(error, FhirAccessDenied)
        assert "Turn versioning on" in error.message
        assert server.versions(f"Device/{device}") == 1

    def test_a_device_of_another_patient(self, server: Server) -> None:
        name, patient_name = unique("device"), unique("patient")
        device = add_device(server, name, add(server, "Patient", unique("other")))

        (error,) = resolve(server.url, CREATE, key(name, patient_name))

        assert isinstance(error, PatientDeviceMismatch)
        assert patient_name not in error.message
        assert server.versions(f"Device/{device}") == 1

    def test_a_mismatch_creates_no_patient(self, server: Server) -> None:
        name, patient_name = unique("device"), unique("patient")
        add_device(server, name, "somebody")

        resolve(server.url, CREATE, key(name, patient_name))

        assert "entry" not in server.get(f"Patient?identifier={patient_name}")

    def test_a_device_is_never_taken_from_a_logical_patient(self, server: Server) -> None:
        name = unique("device")
        device = add_device(server, name, {"identifier": {"value": "somebody"}})

        (error,) = resolve(server.url, CREATE, key(name, unique("patient")))

        assert isinstance(error, PatientNotFound)
        assert server.versions(f"Device/{device}") == 1

    def test_two_patients_of_one_new_device(self, server: Server) -> None:
        """The first by name gets it, in whatever order they come, so that two instances decide alike."""
        name, patients = unique("device"), sorted((unique("patient") for _ in range(2)), reverse=True)

        second, first = resolve(server.url, CREATE, *(key(name, patient) for patient in patients))

        assert isinstance(first, ResourceIdentity)
        assert isinstance(second, PatientDeviceMismatch)

    def test_two_patients_with_one_identifier(self, server: Server) -> None:
        patient_name = unique("patient")
        for _ in range(2):
            add(server, "Patient", patient_name)

        (error,) = resolve(server.url, CREATE, key(unique("device"), patient_name))
        assert isinstance(error, MultipleResourceFound)

    def test_an_unknown_encounter_creates_nothing(self, server: Server) -> None:
        name, patient_name = unique("device"), unique("patient")

        (error,) = resolve(server.url, CREATE, key(name, patient_name, unique("encounter")))

        assert isinstance(error, EncounterNotFound)
        assert "entry" not in server.get(f"Patient?identifier={patient_name}")

    def test_an_edited_patient_that_the_search_misses_stays_as_it_is(
        self, server: Server, proxy: FaultProxy, proxied: str
    ) -> None:
        name, patient_name = unique("device"), unique("patient")
        (created,) = resolve(server.url, CREATE, key(name, patient_name))
        assert isinstance(created, ResourceIdentity)
        path = f"Patient/{created.patient}"
        server.put(server.get(path) | {"name": [{"family": "Edited"}]})
        proxy.rewrite(_find_nothing, when=reads, times=None)

        assert resolve(proxied, CREATE, key(name, patient_name)) == [created]
        assert server.versions(path) == 2
        assert server.versions(f"Device/{created.device}") == 1
        assert server.get(path)["name"] == [{"family": "Edited"}]

    @pytest.mark.parametrize("kind", ["Patient", "Device"])
    def test_the_id_is_taken_by_another(self, server: Server, kind: str) -> None:
        name, patient_name = unique("device"), unique("patient")
        identifier = Identifier("", patient_name if kind == "Patient" else name)
        taken = {"resourceType": kind, "id": identifier.resource_id(), "identifier": [{"value": "edited"}]}
        server.put(taken)

        (error,) = resolve(server.url, CREATE, key(name, patient_name))

        assert isinstance(error, IdentityConflict)
        assert server.versions(f"{kind}/{identifier.resource_id()}") == 1

    def test_what_was_deleted_is_created_anew(self, server: Server) -> None:
        name, patient_name = unique("device"), unique("patient")
        (created,) = resolve(server.url, CREATE, key(name, patient_name))
        assert isinstance(created, ResourceIdentity)
        for path in (f"Device/{created.device}", f"Patient/{created.patient}"):
            server.delete(path)

        assert resolve(server.url, CREATE, key(name, patient_name)) == [created]
        assert server.get(f"Device/{created.device}")["identifier"] == [{"value": name}]

    def test_a_deleted_patient_of_a_linked_device_is_created_anew(self, server: Server) -> None:
        name, patient_name = unique("device"), unique("patient")
        (created,) = resolve(server.url, CREATE, key(name, patient_name))
        assert isinstance(created, ResourceIdentity)
        server.delete(f"Patient/{created.patient}")

        assert resolve(server.url, CREATE, key(name, patient_name)) == [created]
        assert server.get(f"Patient/{created.patient}")["identifier"] == [{"value": patient_name}]
        assert server.versions(f"Device/{created.device}") == 1

    def test_two_instances_at_once_end_with_one(self, any_server: Server) -> None:
        keys = [key(unique("device"), unique("patient")) for _ in range(20)]

        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(lambda _: resolve(any_server.url, CREATE, *keys), range(4)))

        assert results == [results[0]] * 4
        for each, identity in zip(keys, results[0], strict=True):
            assert isinstance(identity, ResourceIdentity)
            found = any_server.get(f"Device?identifier={each.device_id}")
            assert [entry["resource"]["id"] for entry in found["entry"]] == [identity.device]

    def test_a_link_that_another_instance_made_meanwhile(self, server: Server, proxy: FaultProxy, proxied: str) -> None:
        """It wins: a Device that was read without patient is linked with If-Match."""
        name, mine = unique("device"), unique("patient")
        device, theirs = add_device(server, name), add(server, "Patient", unique("other"))
        add(server, "Patient", mine)
        linked = server.get(f"Device/{device}") | {"patient": {"reference": f"Patient/{theirs}"}}
        proxy.before_forwarding(lambda request: server.put(linked), when=writes)

        (error,) = resolve(proxied, CREATE, key(name, mine))

        assert isinstance(error, PatientDeviceMismatch)
        assert server.get(f"Device/{device}")["patient"] == {"reference": f"Patient/{theirs}"}

    def test_what_was_overwritten_unseen_is_put_back(self, fhir_profile: Any) -> None:
        """A server that ignores If-None-Match lets a create go over what appeared since the read."""
        server = Server(fhir_profile("no-if-none-match"))
        name, patient_name = unique("device"), unique("patient")
        patient = {
            "resourceType": "Patient",
            "id": Identifier("", patient_name).resource_id(),
            "identifier": [{"value": patient_name}],
            "name": [{"family": "Edited"}],
        }
        with FaultProxy(server.url.removesuffix("/fhir/R4")) as proxy:
            proxy.before_forwarding(lambda request: server.put(patient), when=writes)
            (found,) = resolve(f"{proxy.url}/fhir/R4", CREATE, key(name, patient_name))

        assert isinstance(found, ResourceIdentity)
        assert server.get(f"Patient/{found.patient}")["name"] == [{"family": "Edited"}]
        server.close()

    def test_what_was_written_since_is_not_put_back_over(self, fhir_profile: Any) -> None:
        server = Server(fhir_profile("no-if-none-match"))
        name, patient_name = unique("device"), unique("patient")
        patient_id = Identifier("", patient_name).resource_id()
        patient = {"resourceType": "Patient", "id": patient_id, "identifier": [{"value": patient_name}]}
        with FaultProxy(server.url.removesuffix("/fhir/R4")) as proxy:
            for family in ("Edited", "Edited since"):
                edited = patient | {"name": [{"family": family}]}
                proxy.before_forwarding(lambda request, edited=edited: server.put(edited), when=writes)
            (found,) = resolve(f"{proxy.url}/fhir/R4", CREATE, key(name, patient_name))

        assert isinstance(found, ResourceIdentity)
        assert server.get(f"Patient/{patient_id}")["name"] == [{"family": "Edited since"}]
        server.close()

    @pytest.mark.parametrize("kind", ["Patient", "Device"])
    def test_a_restoring_write_that_fails_is_made_again(self, overwriting: Overwriting, kind: str) -> None:
        overwriting.creating(kind)
        overwriting.proxy.rule(_unavailable_entries, when=lambda request: writes_over(request, kind))

        assert isinstance(overwriting.resolve(), ResourceIdentity)

        assert EDITS[kind].items() <= overwriting.stored(kind).items()

    @pytest.mark.parametrize("kind", ["Patient", "Device"])
    @pytest.mark.parametrize("fault", ["restoring write", "history"])
    def test_what_cannot_be_restored_now_is_written_by_no_one_and_restored_later(
        self, overwriting: Overwriting, kind: str, fault: str
    ) -> None:
        overwriting.creating(kind)
        if fault == "history":
            overwriting.proxy.rule(_history_unreadable, when=lambda request: reads_history(request, kind), times=None)
        else:
            overwriting.proxy.rule(_unavailable_entries, when=lambda request: writes_over(request, kind), times=None)

        assert isinstance(overwriting.resolve(), Unavailable)

        overwriting.proxy.clear()
        assert isinstance(overwriting.resolve(), ResourceIdentity)
        assert EDITS[kind].items() <= overwriting.stored(kind).items()

    @pytest.mark.parametrize("fault", ["cut_before", "cut_after", "duplicate"])
    def test_faults_while_creating(self, server: Server, proxy: FaultProxy, proxied: str, fault: str) -> None:
        name, patient_name = unique("device"), unique("patient")
        getattr(proxy, fault)(when=writes, times=2)

        (found,) = resolve(proxied, CREATE, key(name, patient_name))

        assert found == resolve(server.url, CREATE, key(name, patient_name))[0]
        assert isinstance(found, ResourceIdentity)
        assert server.versions(f"Device/{found.device}") == server.versions(f"Patient/{found.patient}") == 1

    @pytest.mark.parametrize("profile", ["strict", "uuid-versions"])
    @pytest.mark.parametrize("kind", ["Patient", "Device"])
    def test_a_bare_resource_gives_way_to_what_it_went_over(self, fhir_profile: Any, profile: str, kind: str) -> None:
        """Whoever wrote it: an instance that created it by mistake may have died before it could put that right."""
        server = Server(fhir_profile(profile))
        name, patient_name = unique("device"), unique("patient")
        (created,) = resolve(server.url, CREATE, key(name, patient_name))
        assert isinstance(created, ResourceIdentity)
        path = f"{kind}/{created.patient if kind == 'Patient' else created.device}"
        stub = {each: value for each, value in server.get(path).items() if each != "meta"}
        server.put(stub | {"text": {"status": "empty", "div": "<div/>"}, "language": "en"})
        server.put(stub)

        assert resolve(server.url, CREATE, key(name, patient_name)) == [created]

        assert server.get(path)["language"] == "en"
        server.close()

    def test_a_bare_device_that_was_handed_to_the_next_patient_stays_with_that_one(self, server: Server) -> None:
        name, first = unique("device"), unique("patient")
        (created,) = resolve(server.url, CREATE, key(name, first))
        assert isinstance(created, ResourceIdentity)
        following = add(server, "Patient", unique("patient"))
        path = f"Device/{created.device}"
        server.put(server.get(path) | {"patient": {"reference": f"Patient/{following}"}})

        found, mismatch = resolve(server.url, CREATE, key(name), key(name, first))

        assert found == ResourceIdentity(created.device, following, None)
        assert isinstance(mismatch, PatientDeviceMismatch)
        assert server.versions(path) == 2

    def test_of_two_that_create_one_device_at_once_the_first_ones_patient_stays(self, overwriting: Overwriting) -> None:
        """The server lets the second create go over the first."""
        theirs = add(overwriting.server, "Patient", unique("patient"))
        overwriting.creating("Device", {"patient": {"reference": f"Patient/{theirs}"}})

        assert isinstance(overwriting.resolve(), PatientDeviceMismatch)

        assert overwriting.stored("Device")["patient"] == {"reference": f"Patient/{theirs}"}

    @pytest.mark.parametrize("allowed", [0, 1, 2])
    def test_a_lost_lease_stops_before_each_write(self, overwriting: Overwriting, allowed: int) -> None:
        """The Patient is created over an edited one, restored, and then the Device is created."""

        class LeaseLost(Exception):
            pass

        asked: list[None] = []

        def lease() -> None:
            if len(asked) == allowed:
                raise LeaseLost
            asked.append(None)

        overwriting.creating("Patient")

        with resolver_at(overwriting.url, CREATE) as resolver, pytest.raises(LeaseLost):
            resolver.resolve([overwriting.key], lease)

        assert len([request for request in overwriting.proxy.requests if writes(request)]) == allowed
