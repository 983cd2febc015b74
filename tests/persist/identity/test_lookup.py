"""The modes Lookup and LookupWithEncounter against a real FHIR server: what is found, and every error."""

from collections.abc import Callable
from typing import Any

import pytest

from medtech.errors import (
    DeviceNotFound,
    EncounterIdentityNotDefined,
    EncounterNotFound,
    FhirServerUnavailable,
    MedTechError,
    MultipleResourceFound,
    PatientNotFound,
)
from medtech.model import ResourceIdentity
from medtech.settings import ResolutionType
from tests.faults import FaultProxy, ProxiedRequest, reads
from tests.persist.identity.samples import CREATE, LOOKUP, add, add_device, add_encounter, key, resolve
from tests.persist.samples import Server, unique

SYSTEM = "urn:devices"


def _searches_devices(request: ProxiedRequest) -> bool:
    return b"Device?" in request.body or request.path.endswith("/Device/_search")


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
        """The first and the last of 25, which are never on the same page, have exactly this identifier."""
        name = unique("device")
        for n in [0, *range(1, 24), 0]:
            add_device(server, "".join(c.upper() if n >> i & 1 else c for i, c in enumerate(name)), f"p{n}")

        (error,) = resolve(server.url, LOOKUP, key(name))

        assert isinstance(error, MultipleResourceFound)


class TestWhatNoServerShouldReturn:
    """One Device whose search is answered so: the other devices of the bundle are found all the same."""

    @pytest.mark.parametrize("mode", [LOOKUP, CREATE])
    @pytest.mark.parametrize(
        "found",
        [
            {"resource": {"resourceType": "Device"}},
            {"resource": {"resourceType": "Device", "id": 5}},
            {"resource": {"id": "5"}},
            {"resource": "Device/5"},
            {"resource": {"resourceType": "Device", "id": "5"}, "search": "match"},
        ],
        ids=repr,
    )
    def test_a_page_that_is_not_fhir_is_an_outage_of_its_device(
        self, server: Server, proxy: FaultProxy, proxied: str, mode: ResolutionType, found: dict[str, Any]
    ) -> None:
        error, neighbour = self._resolve(server, proxy, proxied, mode, lambda entry: found)

        assert isinstance(error, FhirServerUnavailable)
        assert isinstance(neighbour, ResourceIdentity)

    @pytest.mark.parametrize("identifier", [{"value": "x"}, [None], [{"value": {}}], 5])
    def test_a_device_without_an_identifier_that_can_be_read(
        self, server: Server, proxy: FaultProxy, proxied: str, identifier: Any
    ) -> None:
        error, neighbour = self._resolve(
            server, proxy, proxied, LOOKUP, lambda entry: {"resource": entry["resource"] | {"identifier": identifier}}
        )

        assert isinstance(error, DeviceNotFound)
        assert isinstance(neighbour, ResourceIdentity)

    @pytest.mark.parametrize("patient", ["Patient/p1", [1], {"reference": 5}])
    def test_a_device_whose_patient_is_no_reference(
        self, server: Server, proxy: FaultProxy, proxied: str, patient: Any
    ) -> None:
        error, neighbour = self._resolve(
            server, proxy, proxied, LOOKUP, lambda entry: {"resource": entry["resource"] | {"patient": patient}}
        )

        assert isinstance(error, PatientNotFound)
        assert isinstance(neighbour, ResourceIdentity)

    def _resolve(
        self,
        server: Server,
        proxy: FaultProxy,
        proxied: str,
        mode: ResolutionType,
        change: Callable[[dict[str, Any]], dict[str, Any]],
    ) -> list[ResourceIdentity | MedTechError]:
        names = [unique("device") for _ in range(2)]
        device, _ = (add_device(server, name, add(server, "Patient", unique("patient"))) for name in names)

        def changed(answer: Any) -> Any:
            # Where searches are sent alone, the answer is the page.
            for page in (answer, *(each.get("resource", {}) for each in answer.get("entry", []))):
                if any(entry.get("resource", {}).get("id") == device for entry in page.get("entry", [])):
                    page["entry"] = [change(entry) for entry in page["entry"]]
            return answer

        proxy.rewrite(changed, when=_searches_devices, times=None)
        return resolve(proxied, mode, *map(key, names))


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


class TestPatientOfALookup:
    @pytest.mark.parametrize("mode", [LOOKUP, ResolutionType.LOOKUP_WITH_ENCOUNTER])
    def test_a_patient_that_never_was(self, server: Server, mode: ResolutionType) -> None:
        name, encounter_name, patient = unique("device"), unique("encounter"), unique("p")
        add_encounter(server, encounter_name)
        add_device(server, name, {"reference": f"Patient/{patient}"})

        (error,) = resolve(server.url, mode, key(name, None, encounter_name))

        assert isinstance(error, PatientNotFound)
        assert f"Patient/{patient}" in error.message

    def test_a_patient_that_was_deleted(self, server: Server) -> None:
        name = unique("device")
        patient = add(server, "Patient", unique("patient"))
        add_device(server, name, patient)
        server.delete(f"Patient/{patient}")

        (error,) = resolve(server.url, LOOKUP, key(name))

        assert isinstance(error, PatientNotFound)

    def test_a_missing_patient_does_not_stop_other_devices(self, server: Server) -> None:
        names = [unique("device") for _ in range(2)]
        add_device(server, names[0], {"reference": f"Patient/{unique('p')}"})
        device = add_device(server, names[1], "p1")

        missing, found = resolve(server.url, LOOKUP, *map(key, names))

        assert isinstance(missing, PatientNotFound)
        assert found == ResourceIdentity(device, "p1", None)

    def test_a_patient_that_cannot_be_read_now_is_not_missing(
        self, server: Server, proxy: FaultProxy, proxied: str
    ) -> None:
        name, patient = unique("device"), add(server, "Patient", unique("patient"))
        add_device(server, name, patient)

        def fail(answer: Any) -> Any:
            entries = [
                {"response": {"status": "500"}} if each.get("resource", {}).get("id") == patient else each
                for each in answer["entry"]
            ]
            return answer | {"entry": entries}

        proxy.rewrite(fail, when=reads, times=None)

        (error,) = resolve(proxied, LOOKUP, key(name))

        assert isinstance(error, FhirServerUnavailable)
