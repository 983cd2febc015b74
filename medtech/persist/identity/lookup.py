"""Devices, Patients and Encounters as the FHIR server has them: searched by identifier, and read by reference."""

from collections.abc import Callable, Container, Iterable, Sequence

from medtech.dotnet.text import is_blank
from medtech.errors import DeviceNotFound, EncounterNotFound, FhirServerUnavailable, MedTechError, PatientNotFound
from medtech.model import ResourceIdentity
from medtech.persist.answers import Interaction, Resource, Verdict
from medtech.persist.client import FhirClient, matches
from medtech.persist.identity.cache import IdentityKey
from medtech.persist.patience import Patience
from medtech.persist.references import Identifier, match_exactly, referred_id
from medtech.persist.settle import reply_error

Found = dict[Identifier, Resource | MedTechError | None]
"""What is known of each identifier: its resource, the error that stands in its place, or None: it is not there."""


class IdentityLookup:
    """What the modes Lookup and LookupWithEncounter do, and Create begins with."""

    def __init__(self, client: FhirClient, device_system: str, pause: Callable[[float], object]) -> None:
        self._client = client
        self._device_system = device_system
        self._pause = pause

    def resolve(self, keys: Sequence[IdentityKey]) -> dict[IdentityKey, ResourceIdentity | MedTechError]:
        """By the Patients that the Devices name; a patient id in a key is not looked at.

        Raises Unavailable when the server is away as a whole or denies access.
        """
        devices, encounters = self.devices_and_encounters(keys)
        return self.by_links(keys, devices, encounters)

    def device(self, key: IdentityKey) -> Identifier:
        """The identifier of the key's Device."""
        return Identifier.of(self._device_system, key.device_id)

    def devices_and_encounters(self, keys: Sequence[IdentityKey]) -> tuple[Found, Found]:
        """What the keys name, in one round of bundles."""
        devices, encounters = self.search(
            ("Device", [self.device(key) for key in keys]),
            ("Encounter", [_encounter(key) for key in keys if not is_absent(key.encounter_id)]),
        )
        return devices, encounters

    def by_links(
        self, keys: Iterable[IdentityKey], devices: Found, encounters: Found, known: Container[str] = ()
    ) -> dict[IdentityKey, ResourceIdentity | MedTechError]:
        """Identities with the Patients that the Devices name, which have to be there: those `known` by id are."""
        linked = {key: self.linked(key, devices[self.device(key)], encounters) for key in keys}
        identities = {key: found for key, found in linked.items() if isinstance(found, ResourceIdentity)}
        wanted = (identity.patient for identity in identities.values() if identity.patient not in known)
        missing = self._missing_patients(wanted)
        resolved: dict[IdentityKey, ResourceIdentity | MedTechError] = {**linked}
        for key, identity in identities.items():
            if error := missing.get(identity.patient):
                resolved[key] = error
        return resolved

    def linked(
        self, key: IdentityKey, device: Resource | MedTechError | None, encounters: Found
    ) -> ResourceIdentity | MedTechError:
        """The identity that a Device's `patient` gives, without looking whether that Patient is there."""
        if device is None:
            system = f" and the system '{self._device_system}'" if self._device_system else ""
            return DeviceNotFound(
                f"No Device has the identifier '{key.device_id}'{system}. Create it, check "
                "DEFAULT_DEVICE_IDENTIFIER_SYSTEM, or set RESOURCE_IDENTITY_RESOLUTION_TYPE to Create."
            )
        if isinstance(device, MedTechError):
            return device
        patient = referred_id(device.get("patient"), "Patient")
        if patient is None:
            return PatientNotFound(
                f"Device/{device['id']} does not name a Patient. Set its `patient` to a reference Patient/…, then "
                "replay."
            )
        encounter = encounter_of(key, encounters)
        if isinstance(encounter, MedTechError):
            return encounter
        return ResourceIdentity(device["id"], patient, encounter)

    def _missing_patients(self, ids: Iterable[str]) -> dict[str, MedTechError]:
        """An error for each Patient that is not there, or that cannot be read now."""
        ids = list(dict.fromkeys(ids))
        replies = self._client.read([Interaction("GET", f"Patient/{each}") for each in ids], self.patience())
        missing: dict[str, MedTechError] = {}
        for patient, reply in zip(ids, replies, strict=True):
            if reply.verdict is Verdict.ABSENT:
                missing[patient] = PatientNotFound(
                    f"Patient/{patient}, to which a Device is linked, is not there. Create it, or correct the Device's "
                    "`patient`, then replay."
                )
            elif reply.verdict is not Verdict.DONE:
                missing[patient] = reply_error(self._client, reply, f"the read of Patient/{patient}")
        return missing

    def search(self, *wanted: tuple[str, Sequence[Identifier]]) -> list[Found]:
        """The resource of each identifier, compared exactly; a Found for each of `wanted` (resource type, identifiers).

        A search that does not succeed is an error for its identifier alone. Raises Unavailable when the server is away
        as a whole or denies access.
        """
        pairs = [(resource_type, each) for resource_type, all_of in wanted for each in dict.fromkeys(all_of)]
        requests = [Interaction("GET", identifier.search_url(resource_type)) for resource_type, identifier in pairs]
        resources: dict[str, list[Resource]] = {resource_type: [] for resource_type, _ in wanted}
        unknown: dict[tuple[str, Identifier], MedTechError] = {}
        for pair, reply in zip(pairs, self._client.read(requests, self.patience()), strict=True):
            if reply.verdict is not Verdict.DONE:
                unknown[pair] = reply_error(self._client, reply, f"the search for a {pair[0]}")
                continue
            try:
                for page in self._client.follow(reply.resource or {}):
                    for resource in matches(page):
                        # The entries of an answer may come in another order than they were asked for.
                        resources.setdefault(resource["resourceType"], []).append(resource)
            except FhirServerUnavailable as error:
                unknown[pair] = error
        found: list[Found] = []
        for resource_type, identifiers in wanted:
            matched = match_exactly(resources[resource_type], dict.fromkeys(identifiers))
            found.append({each: unknown.get((resource_type, each)) or result for each, result in matched.items()})
        return found

    def patience(self) -> Patience:
        return Patience(pause=self._pause)


def is_absent(message_id: str | None) -> bool:
    """Whether a message does not have this id: a blank one counts as absent (SPEC section 2)."""
    return message_id is None or is_blank(message_id)


def encounter_of(key: IdentityKey, encounters: Found) -> str | MedTechError | None:
    """The id of the Encounter that the key names, None if it names none."""
    if is_absent(key.encounter_id):
        return None
    encounter = encounters[_encounter(key)]
    if encounter is None:
        return EncounterNotFound(
            f"A message of device '{key.device_id}' names an encounter, and no Encounter has that identifier. Create "
            "the Encounter, then replay."
        )
    return encounter if isinstance(encounter, MedTechError) else str(encounter["id"])


def _encounter(key: IdentityKey) -> Identifier:
    return Identifier.of("", key.encounter_id or "")
