"""Identity resolution against a real FHIR server: the three modes, every error, and what Create must never do."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from medtech.errors import (
    DeviceNotFound,
    EncounterIdentityNotDefined,
    EncounterNotFound,
    FhirAccessDenied,
    FhirServerUnavailable,
    IdentityConflict,
    MedTechError,
    MultipleResourceFound,
    PatientDeviceMismatch,
    PatientIdentityNotDefined,
    PatientNotFound,
    ResourceRefused,
    Unavailable,
)
from medtech.model import ResourceIdentity
from medtech.persist.client import FhirClient
from medtech.persist.identity import IdentityKey, IdentityResolver
from medtech.persist.references import Identifier, referred_id
from medtech.settings import ResolutionType
from tests.faults import Answer, FaultProxy, Forward, ProxiedRequest, reads, writes
from tests.persist.samples import Server, unique

SYSTEM = "urn:devices"
LOOKUP, CREATE = ResolutionType.LOOKUP, ResolutionType.CREATE


@contextmanager
def resolver_at(url: str, mode: ResolutionType, system: str = "", seconds: float = 3600) -> Iterator[IdentityResolver]:
    with FhirClient(url) as client:
        yield IdentityResolver(client, mode, system, seconds, pause=lambda seconds: None)


def resolve(
    url: str, mode: ResolutionType, *keys: IdentityKey, system: str = ""
) -> list[ResourceIdentity | MedTechError]:
    with resolver_at(url, mode, system) as resolver:
        resolved = resolver.resolve(keys, lambda: None)
    return [resolved[key] for key in keys]


def key(device: str, patient: str | None = None, encounter: str | None = None) -> IdentityKey:
    return IdentityKey(device, patient, encounter)


def add_device(server: Server, identifier: str, patient: Any = None, system: str | None = None) -> str:
    """`patient`: the id of a Patient, which is made sure to be there, or the whole reference."""
    if isinstance(patient, str) and not server.holds(f"Patient/{patient}"):
        server.put({"resourceType": "Patient", "id": patient})
    device: dict[str, Any] = {"resourceType": "Device", "id": unique("d"), "identifier": [{"value": identifier}]}
    if system:
        device["identifier"][0]["system"] = system
    if patient:
        device["patient"] = patient if isinstance(patient, dict) else {"reference": f"Patient/{patient}"}
    return str(server.put(device)["id"])


def add(server: Server, kind: str, identifier: str, **content: Any) -> str:
    resource = {"resourceType": kind, "id": unique("r"), "identifier": [{"value": identifier}], **content}
    return str(server.put(resource)["id"])


def add_encounter(server: Server, identifier: str) -> str:
    return add(server, "Encounter", identifier, status="finished", **{"class": {"code": "AMB"}})


class Overwriting:
    """A server that ignores If-None-Match, where somebody edits a Patient or Device just before it is created.

    The edited one has the identifier and the id under which the app creates it, so that the create goes over it.
    """

    def __init__(self, server: Server, proxy: FaultProxy) -> None:
        self.server = server
        self.proxy = proxy
        self._key = key(unique("device"), unique("patient"))
        self._identifiers = {
            "Patient": Identifier("", self._key.patient_id or ""),
            "Device": Identifier("", self._key.device_id),
        }

    def creating(self, kind: str) -> None:
        """The next create of that kind goes over an edited resource."""
        identifier = self._identifiers[kind]
        edited = {"resourceType": kind, "id": identifier.resource_id(), "identifier": [identifier.element()]}
        if kind == "Device":
            patient = self._identifiers["Patient"].resource_id()
            edited |= {"patient": {"reference": f"Patient/{patient}"}, "note": self.edit(kind)}
        else:
            edited["name"] = self.edit(kind)
        self.proxy.before_forwarding(
            lambda request: self.server.put(edited), when=lambda request: writes(request) and creates(request, kind)
        )

    def edit(self, kind: str) -> list[dict[str, str]]:
        """What was edited into the resource."""
        return [{"text": "bought in May"}] if kind == "Device" else [{"family": "Edited"}]

    def resolve(self) -> ResourceIdentity | MedTechError:
        (found,) = resolve(f"{self.proxy.url}/fhir/R4", CREATE, self._key)
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


class TestLookup:
    def test_device_patient_and_encounter_are_found(self, any_server: Server) -> None:
        name, encounter_name = unique("device"), unique("encounter")
        patient = add(any_server, "Patient", unique("patient"))
        device = add_device(any_server, name, patient)
        encounter = add_encounter(any_server, encounter_name)

        found = resolve(any_server.url, LOOKUP, key(name), key(name, "unused"), key(name, None, encounter_name))

        assert found == [
            ResourceIdentity(device, patient, None),
            ResourceIdentity(device, patient, None),
            ResourceIdentity(device, patient, encounter),
        ]

    def test_unknown_device(self, server: Server) -> None:
        (error,) = resolve(server.url, LOOKUP, key(unique("device")))
        assert isinstance(error, DeviceNotFound)

    def test_two_devices_with_one_identifier(self, server: Server) -> None:
        name = unique("device")
        for _ in range(2):
            add_device(server, name, "p1")

        (error,) = resolve(server.url, LOOKUP, key(name))
        assert isinstance(error, MultipleResourceFound)

    def test_the_system_tells_devices_apart(self, server: Server) -> None:
        name = unique("device")
        wanted = add_device(server, name, "p1", SYSTEM)
        add_device(server, name, "p2", "urn:others")

        assert resolve(server.url, LOOKUP, key(name), system=SYSTEM) == [ResourceIdentity(wanted, "p1", None)]

    def test_identifiers_are_compared_with_regard_to_case(self, server: Server) -> None:
        name = unique("device")
        wanted = add_device(server, name, "p1")
        add_device(server, name.upper(), "p2")

        assert resolve(server.url, LOOKUP, key(name)) == [ResourceIdentity(wanted, "p1", None)]

    @pytest.mark.parametrize("special", ["a,b", "a|b", "a$b", "a\\b", "a&b=c%20+d", "ä 名 #?", "\\,\\|"])
    def test_special_characters_of_a_search(self, server: Server, special: str) -> None:
        name = f"{special}{unique('')}"
        device = add_device(server, name, "p1", "urn:a|b,c")

        assert resolve(server.url, LOOKUP, key(name), system="urn:a|b,c") == [ResourceIdentity(device, "p1", None)]

    def test_long_identifiers_where_a_server_cuts_them(self, fhir_profile: Any) -> None:
        server = Server(fhir_profile("cut-identifiers"))
        names = [f"{'x' * 128}{unique('')}" for _ in range(2)]
        devices = [add_device(server, name, "p1") for name in names]
        unknown = f"{'x' * 128}{unique('')}"

        found = resolve(server.url, LOOKUP, *(key(name) for name in [*names, unknown]))
        server.close()

        assert found[:2] == [ResourceIdentity(device, "p1", None) for device in devices]
        assert isinstance(found[2], DeviceNotFound)

    def test_half_a_surrogate_pair_is_a_device_like_any_other(self, server: Server) -> None:
        (error,) = resolve(server.url, LOOKUP, key("\ud800"))
        assert isinstance(error, DeviceNotFound)

    @pytest.mark.parametrize("patient", [{"identifier": {"value": "p1"}}, {"reference": "#p1"}])
    def test_a_device_that_names_no_patient_resource(self, server: Server, patient: dict[str, Any]) -> None:
        name = unique("device")
        device = {"resourceType": "Device", "id": unique("d"), "identifier": [{"value": name}], "patient": patient}
        contained = {"contained": [{"resourceType": "Patient", "id": "p1"}]} if "reference" in patient else {}
        server.put(device | contained)

        (error,) = resolve(server.url, LOOKUP, key(name))
        assert isinstance(error, PatientNotFound)

    def test_encounters(self, server: Server) -> None:
        name, twice = unique("device"), unique("encounter")
        device = add_device(server, name, "p1")
        for _ in range(2):
            add_encounter(server, twice)

        missing, several, blank = resolve(
            server.url, LOOKUP, key(name, None, unique("e")), key(name, None, twice), key(name, None, " ")
        )

        assert isinstance(missing, EncounterNotFound)
        assert isinstance(several, MultipleResourceFound)
        assert blank == ResourceIdentity(device, "p1", None)

    def test_pages_of_loose_matches_are_read_to_the_end(self, server: Server) -> None:
        """The first and the last of 25, which never share a page, have the identifier exactly."""
        name = unique("device")
        for n in [0, *range(1, 24), 0]:
            add_device(server, "".join(c.upper() if n >> i & 1 else c for i, c in enumerate(name)), f"p{n}")

        (error,) = resolve(server.url, LOOKUP, key(name))

        assert isinstance(error, MultipleResourceFound)


class TestLookupWithEncounter:
    def test_an_encounter_is_demanded(self, server: Server) -> None:
        name, encounter_name = unique("device"), unique("encounter")
        device, encounter = add_device(server, name, "p1"), add_encounter(server, encounter_name)

        found, absent, blank = resolve(
            server.url,
            ResolutionType.LOOKUP_WITH_ENCOUNTER,
            key(name, None, encounter_name),
            key(name),
            key(name, None, ""),
        )

        assert found == ResourceIdentity(device, "p1", encounter)
        assert isinstance(absent, EncounterIdentityNotDefined)
        assert isinstance(blank, EncounterIdentityNotDefined)


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

    def test_a_patient_id_is_demanded(self, server: Server) -> None:
        name = unique("device")
        absent, blank = resolve(server.url, CREATE, key(name), key(name, " "))
        assert isinstance(absent, PatientIdentityNotDefined)
        assert isinstance(blank, PatientIdentityNotDefined)

    def test_a_device_without_patient_is_linked_and_keeps_the_rest(self, any_server: Server) -> None:
        name, patient_name = unique("device"), unique("patient")
        patient = add(any_server, "Patient", patient_name)
        device = add(any_server, "Device", name, note=[{"text": "bought in May"}])

        assert resolve(any_server.url, CREATE, key(name, patient_name)) == [ResourceIdentity(device, patient, None)]

        stored = any_server.get(f"Device/{device}")
        assert stored["patient"] == {"reference": f"Patient/{patient}"}
        assert stored["note"] == [{"text": "bought in May"}]

    def test_a_device_given_without_a_version_is_not_linked(
        self, server: Server, proxy: FaultProxy, proxied: str
    ) -> None:
        def without_versions(answer: Any) -> Any:
            for entry in answer["entry"]:
                entry["response"] = {"status": entry["response"]["status"]}
                entry.get("resource", {}).pop("meta", None)
            return answer

        name, patient_name = unique("device"), unique("patient")
        add(server, "Patient", patient_name)
        device = add_device(server, name)
        proxy.rewrite(without_versions, when=reads, times=None)

        with pytest.raises(FhirAccessDenied, match="Turn versioning on"):
            resolve(proxied, CREATE, key(name, patient_name))
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
        """The first of them by name, in whatever order they come: two instances decide alike."""
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
        """A server without If-None-Match lets a create go over what appeared since the look."""
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
    def test_a_restoring_write_that_fails_is_made_again(self, overwriting: "Overwriting", kind: str) -> None:
        overwriting.creating(kind)
        overwriting.proxy.rule(_unavailable_entries, when=lambda request: writes_over(request, kind))

        assert isinstance(overwriting.resolve(), ResourceIdentity)

        assert overwriting.stored(kind)["note" if kind == "Device" else "name"] == overwriting.edit(kind)

    @pytest.mark.parametrize("kind", ["Patient", "Device"])
    @pytest.mark.parametrize("fault", ["restoring write", "history"])
    def test_what_cannot_be_restored_now_is_written_by_no_one_and_restored_later(
        self, overwriting: "Overwriting", kind: str, fault: str
    ) -> None:
        overwriting.creating(kind)
        if fault == "history":
            overwriting.proxy.rule(_history_unreadable, when=lambda request: reads_history(request, kind), times=None)
        else:
            overwriting.proxy.rule(_unavailable_entries, when=lambda request: writes_over(request, kind), times=None)

        assert isinstance(overwriting.resolve(), Unavailable)

        overwriting.proxy.clear()
        assert isinstance(overwriting.resolve(), ResourceIdentity)
        assert overwriting.stored(kind)["note" if kind == "Device" else "name"] == overwriting.edit(kind)

    @pytest.mark.parametrize("fault", ["cut_before", "cut_after", "duplicate"])
    def test_faults_while_creating(self, server: Server, proxy: FaultProxy, proxied: str, fault: str) -> None:
        name, patient_name = unique("device"), unique("patient")
        getattr(proxy, fault)(when=writes, times=2)

        (found,) = resolve(proxied, CREATE, key(name, patient_name))

        assert found == resolve(server.url, CREATE, key(name, patient_name))[0]
        assert isinstance(found, ResourceIdentity)
        assert server.versions(f"Device/{found.device}") == server.versions(f"Patient/{found.patient}") == 1


@pytest.mark.parametrize(
    ("reference", "patient"),
    [
        ({"reference": "Patient/p1"}, "p1"),
        ({"reference": "https://fhir.example.org/r4/Patient/p1"}, "p1"),
        ({"reference": "Patient/p1/_history/7"}, "p1"),
        ({"reference": "http://fhir.example.org/Patient/p1/_history/7"}, "p1"),
        ({"identifier": {"value": "p1"}}, None),
        ({"reference": "#p1"}, None),
        ({"reference": "urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0"}, None),
        ({"reference": "Group/p1"}, None),
        ({"reference": "Patient?identifier=p1"}, None),
        ({"reference": "Patient/"}, None),
        ({"display": "somebody"}, None),
        ({}, None),
        (None, None),
    ],
)
def test_which_references_name_a_patient(reference: Any, patient: str | None) -> None:
    assert referred_id(reference, "Patient") == patient


def _find_nothing(answer: Any) -> Any:
    """The searches of a batch come back empty; what is read by id does not."""
    for entry in answer.get("entry", []):
        resource = entry.get("resource", {})
        if resource.get("type") == "searchset":
            resource |= {"total": 0, "entry": []}
    return answer


class TestCache:
    def test_known_identities_cost_no_request(self, server: Server, proxy: FaultProxy, proxied: str) -> None:
        name = unique("device")
        add_device(server, name, "p1")
        with resolver_at(proxied, LOOKUP) as resolver:
            first = resolver.resolve([key(name)], lambda: None)
            proxy.clear()
            second = resolver.resolve([key(name)], lambda: None)

        assert first == second
        assert proxy.requests == []

    def test_what_is_forgotten_is_looked_up_again(self, server: Server) -> None:
        name = unique("device")
        device = add_device(server, name, "p1")
        with resolver_at(server.url, LOOKUP) as resolver:
            resolver.resolve([key(name)], lambda: None)
            server.delete(f"Device/{device}")
            resolver.forget(key(name))
            assert isinstance(resolver.resolve([key(name)], lambda: None)[key(name)], DeviceNotFound)

    def test_errors_are_not_kept(self, server: Server) -> None:
        name = unique("device")
        with resolver_at(server.url, LOOKUP) as resolver:
            resolver.resolve([key(name)], lambda: None)
            device = add_device(server, name, "p1")
            assert resolver.resolve([key(name)], lambda: None) == {key(name): ResourceIdentity(device, "p1", None)}


class TestOutages:
    def test_a_search_that_fails_is_asked_again(self, server: Server, proxy: FaultProxy, proxied: str) -> None:
        name = unique("device")
        device = add_device(server, name, "p1")
        proxy.answer(503, when=reads)
        with resolver_at(proxied, LOOKUP) as resolver:
            assert resolver.resolve([key(name)], lambda: None) == {key(name): ResourceIdentity(device, "p1", None)}

    def test_a_server_that_stays_away_is_raised(self, proxy: FaultProxy, proxied: str) -> None:
        proxy.answer(503, times=None)
        with resolver_at(proxied, LOOKUP) as resolver, pytest.raises(FhirServerUnavailable):
            resolver.resolve([key(unique("device"))], lambda: None)

    def test_searches_answered_in_another_order(self, server: Server, proxy: FaultProxy, proxied: str) -> None:
        names = [unique("device") for _ in range(3)]
        devices = [add_device(server, name, "p1") for name in names]
        proxy.rewrite(lambda answer: answer | {"entry": answer["entry"][::-1]}, when=reads)

        found = resolve(proxied, LOOKUP, *(key(name) for name in names))

        assert found == [ResourceIdentity(device, "p1", None) for device in devices]

    @pytest.mark.parametrize("mode", [LOOKUP, CREATE])
    def test_a_refusal_keeps_the_servers_reason(self, proxy: FaultProxy, proxied: str, mode: ResolutionType) -> None:
        outcome = b'{"resourceType": "OperationOutcome", "issue": [{"diagnostics": "no such index"}]}'
        proxy.answer(422, outcome, when=reads if mode is LOOKUP else writes, times=None)

        (error,) = resolve(proxied, mode, key(unique("device"), unique("patient")))

        assert isinstance(error, ResourceRefused)
        assert "no such index" in (error.outcome or "")
        assert "no such index" not in error.message
        assert "replay" in error.message

    def test_one_search_that_never_succeeds_does_not_stop_its_neighbours(
        self, server: Server, proxy: FaultProxy, proxied: str
    ) -> None:
        names = [unique("device") for _ in range(2)]
        device = add_device(server, names[0], "p1")

        def fail(request: ProxiedRequest, forward: Forward) -> Answer:
            """The search for the second name always ends in 500."""
            searches = [each["request"]["url"] for each in json.loads(request.body)["entry"]]
            answer = json.loads(forward().body)
            for index, search in enumerate(searches):
                if names[1] in search:
                    answer["entry"][index] = {"response": {"status": "500 Internal Server Error"}}
            return Answer(200, [], json.dumps(answer).encode())

        proxy.rule(fail, when=reads, times=None)

        first, second = resolve(proxied, LOOKUP, *(key(name) for name in names))

        assert first == ResourceIdentity(device, "p1", None)
        assert isinstance(second, FhirServerUnavailable)
