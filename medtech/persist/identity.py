"""Device, Patient and Encounter of a measurement, found in the FHIR server or, in Create mode, made there (SPEC 5).

A whole flush portion is resolved at once, in bundles: searches first; in Create mode the ids under which a Patient or
Device would be created are read too, and what is not there is created, Patients before the Devices that name them.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from medtech.dotnet.text import is_blank
from medtech.errors import (
    DeviceNotFound,
    EncounterIdentityNotDefined,
    EncounterNotFound,
    FhirAccessDenied,
    FhirConflict,
    FhirServerUnavailable,
    IdentityConflict,
    MedTechError,
    MultipleResourceFound,
    PatientDeviceMismatch,
    PatientIdentityNotDefined,
    PatientNotFound,
    ResourceRefused,
)
from medtech.model import ResourceIdentity
from medtech.persist.answers import Interaction, Reply, Resource, Verdict, has_predecessor, version_from
from medtech.persist.client import OUTAGE_SECONDS, FhirClient, matches
from medtech.persist.history import read_earlier
from medtech.persist.identity_cache import IdentityCache, IdentityKey
from medtech.persist.patience import Patience
from medtech.persist.references import Identifier, referred_id
from medtech.settings import ResolutionType
from medtech.transform.fhir_json import dump_resource

CONFLICT_SECONDS = 0.05

Found = dict[Identifier, Resource | MedTechError | None]
"""What is known of each identifier: its resource, the error that stands in its place, or None: it is not there."""


class IdentityResolver:
    """Resolves keys by the app's settings; one per process, its methods may be called from several threads."""

    def __init__(
        self,
        client: FhirClient,
        resolution: ResolutionType,
        device_system: str,
        cache_seconds: float,
        *,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self._client = client
        self._resolution = resolution
        self._device_system = device_system
        self._cache = IdentityCache(cache_seconds)
        self._pause = pause

    def resolve(self, keys: Iterable[IdentityKey]) -> dict[IdentityKey, ResourceIdentity | MedTechError]:
        """An identity or an error for every key. An Unavailable among them: this one is tried at the next flush.

        Raises Unavailable when the server is away as a whole or denies access.
        """
        resolved: dict[IdentityKey, ResourceIdentity | MedTechError] = {}
        missing: list[IdentityKey] = []
        for key in dict.fromkeys(keys):
            known = self._demanded(key) or self._cache.get(key)
            if known is None:
                missing.append(key)
            else:
                resolved[key] = known
        if missing:
            # In order of the keys, so that two instances that see the same device decide alike.
            missing.sort(key=lambda key: tuple(each or "" for each in key))
            resolve = self._create if self._resolution is ResolutionType.CREATE else self._look_up
            for key, result in resolve(missing).items():
                resolved[key] = result
                if isinstance(result, ResourceIdentity):
                    self._cache.put(key, result)
        return resolved

    def forget(self, key: IdentityKey) -> None:
        """A write said that what the cached identity refers to is gone."""
        self._cache.drop(key)

    def _demanded(self, key: IdentityKey) -> MedTechError | None:
        if self._resolution is ResolutionType.CREATE and _is_blank(key.patient_id):
            return PatientIdentityNotDefined(
                f"A measurement of device '{key.device_id}' has no patient id, which the resolution type Create needs. "
                "Give its template a patientIdExpression that finds one."
            )
        if self._resolution is ResolutionType.LOOKUP_WITH_ENCOUNTER and _is_blank(key.encounter_id):
            return EncounterIdentityNotDefined(
                f"A measurement of device '{key.device_id}' has no encounter id, which the resolution type "
                "LookupWithEncounter needs. Give its template an encounterIdExpression that finds one."
            )
        return None

    def _device(self, key: IdentityKey) -> Identifier:
        return Identifier.of(self._device_system, key.device_id)

    def _look_up(self, keys: Sequence[IdentityKey]) -> dict[IdentityKey, ResourceIdentity | MedTechError]:
        devices, encounters = self._search(
            ("Device", [self._device(key) for key in keys]), ("Encounter", _encounters(keys))
        )
        return {key: self._looked_up(key, devices[self._device(key)], encounters) for key in keys}

    def _looked_up(
        self, key: IdentityKey, device: Resource | MedTechError | None, encounters: Found
    ) -> ResourceIdentity | MedTechError:
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
                f"Device/{device['id']} names no Patient. Set its `patient` to a reference Patient/…."
            )
        encounter = _encounter_of(key, encounters)
        if isinstance(encounter, MedTechError):
            return encounter
        return ResourceIdentity(device["id"], patient, encounter)

    def _create(self, keys: Sequence[IdentityKey]) -> dict[IdentityKey, ResourceIdentity | MedTechError]:
        devices, encounters = self._search(
            ("Device", [self._device(key) for key in keys]), ("Encounter", _encounters(keys))
        )
        failed = {key: result for key in keys if isinstance(result := _encounter_of(key, encounters), MedTechError)}
        keys = [key for key in keys if key not in failed]
        resolution = _Creation(self._client, Patience(pause=self._pause))
        resolution.read_by_id("Device", devices, [self._device(key) for key in keys])
        # Patients are looked for after Devices: a Device that another instance has just created is never seen without
        # its Patient, and so taken for somebody else's.
        (patients,) = self._search(("Patient", [_patient(key) for key in keys]))
        resolution.read_by_id("Patient", patients, [_patient(key) for key in keys])
        resolution.create_patients(patients, [_patient(key) for key in keys if self._may_link(key, devices)])
        wanted: dict[Identifier, str] = {}
        for key in keys:
            patient = patients[_patient(key)]
            if isinstance(patient, dict):
                wanted.setdefault(self._device(key), patient["id"])
        resolution.create_devices(devices, wanted)
        return failed | {
            key: self._created(key, devices[self._device(key)], patients[_patient(key)], encounters) for key in keys
        }

    def _may_link(self, key: IdentityKey, devices: Found) -> bool:
        """Whether a Patient that is not there is to be created: not for a Device that belongs to somebody else."""
        device = devices[self._device(key)]
        if isinstance(device, MedTechError):
            return False
        patient = (device or {}).get("patient")
        return not patient or referred_id(patient, "Patient") == _patient(key).resource_id()

    def _created(
        self,
        key: IdentityKey,
        device: Resource | MedTechError | None,
        patient: Resource | MedTechError | None,
        encounters: Found,
    ) -> ResourceIdentity | MedTechError:
        if isinstance(patient, MedTechError):
            return patient
        if isinstance(device, MedTechError):
            return device
        linked = referred_id(device.get("patient"), "Patient") if device else None
        if device and linked is None:
            return PatientNotFound(f"Device/{device['id']} has a `patient` that is no reference Patient/…. Correct it.")
        if not device or not patient or patient["id"] != linked:
            return PatientDeviceMismatch(
                f"Device '{key.device_id}' belongs to another Patient than its message says. Correct the Device's "
                "`patient` or what the device sends."
            )
        return self._looked_up(key, device, encounters)

    def _search(self, *wanted: tuple[str, Iterable[Identifier]]) -> list[Found]:
        """Each identifier's resource, compared exactly; a list as long as `wanted`."""
        pairs = [(kind, identifier) for kind, all_of in wanted for identifier in dict.fromkeys(all_of)]
        requests = [Interaction("GET", identifier.search_url(kind)) for kind, identifier in pairs]
        replies = self._client.read(requests, Patience(pause=self._pause))
        # All matches together: which entry of the answer they came in says less than their identifiers.
        by_value: dict[tuple[str, str], dict[str, Resource]] = {}
        unknown: dict[int, MedTechError] = {}
        for index, reply in enumerate(replies):
            try:
                pages = list(self._client.follow(reply.resource or {})) if reply.verdict is Verdict.DONE else []
            except FhirServerUnavailable as error:
                unknown[index] = error
                continue
            if reply.verdict is not Verdict.DONE:
                unknown[index] = _unsettled(self._client, reply, f"the search for a {pairs[index][0]}")
            for resource in (each for page in pages for each in matches(page)):
                for value in {each.get("value") for each in resource.get("identifier") or []}:
                    by_value.setdefault((resource["resourceType"], value), {})[resource["id"]] = resource
        found: dict[str, Found] = {kind: {} for kind, _ in wanted}
        for index, (kind, identifier) in enumerate(pairs):
            candidates = by_value.get((kind, identifier.value), {}).values()
            found[kind][identifier] = unknown.get(index) or _only(
                kind, [each for each in candidates if identifier.is_on(each)]
            )
        return [found[kind] for kind, _ in wanted]


class _Creation:
    """What Create mode writes. It never writes over a Patient or Device that is there."""

    def __init__(self, client: FhirClient, patience: Patience) -> None:
        self._client = client
        self._patience = patience

    def read_by_id(self, kind: str, found: Found, identifiers: Iterable[Identifier]) -> None:
        """A search may lag or miss what was edited by hand: the id that would be created is read before."""
        absent = [identifier for identifier in dict.fromkeys(identifiers) if found[identifier] is None]
        requests = [Interaction("GET", f"{kind}/{identifier.resource_id()}") for identifier in absent]
        for identifier, reply in zip(absent, self._client.read(requests, self._patience), strict=True):
            found[identifier] = self._by_id(kind, identifier, reply)

    def _by_id(self, kind: str, identifier: Identifier, reply: Reply) -> Resource | MedTechError | None:
        if reply.verdict is Verdict.ABSENT:
            return None
        if reply.verdict is not Verdict.DONE or reply.resource is None:
            return _unsettled(self._client, reply, f"the read of {kind}/{identifier.resource_id()}")
        if not identifier.is_on(reply.resource):
            return IdentityConflict(
                f"{kind}/{identifier.resource_id()} is there, but without the identifier from which its id was made. "
                "Give it back its identifier, or remove it."
            )
        return reply.resource

    def create_patients(self, found: Found, identifiers: Iterable[Identifier]) -> None:
        absent = [identifier for identifier in dict.fromkeys(identifiers) if found[identifier] is None]
        stubs = {
            identifier: {
                "resourceType": "Patient",
                "id": identifier.resource_id(),
                "identifier": [identifier.element()],
            }
            for identifier in absent
        }
        self._write(
            "Patient", found, lambda identifier: stubs[identifier] if found[identifier] is None else None, absent
        )

    def create_devices(self, found: Found, patient_ids: Mapping[Identifier, str]) -> None:
        """Creates the Devices that are not there, and links those that have no patient."""

        def wanted(identifier: Identifier) -> Resource | None:
            device = found[identifier]
            patient: Resource = {"reference": f"Patient/{patient_ids[identifier]}"}
            if device is None:
                return {
                    "resourceType": "Device",
                    "id": identifier.resource_id(),
                    "identifier": [identifier.element()],
                    "patient": patient,
                }
            if isinstance(device, MedTechError) or device.get("patient"):
                return None
            return {**device, "patient": patient}

        self._write("Device", found, wanted, list(patient_ids))

    def _write(
        self,
        kind: str,
        found: Found,
        wanted: Callable[[Identifier], Resource | None],
        identifiers: Sequence[Identifier],
    ) -> None:
        """Writes what `wanted` gives, each on a condition; what others changed meanwhile is read and decided again."""
        while True:
            resources = {identifier: resource for identifier in identifiers if (resource := wanted(identifier))}
            requests = [_put(kind, resource, found[identifier]) for identifier, resource in resources.items()]
            open_replies: dict[Identifier, Reply] = {}
            for identifier, reply in zip(resources, self._client.exchange(requests), strict=True):
                if reply.verdict is Verdict.DENIED:
                    raise self._client.unavailable(reply)
                if reply.verdict is Verdict.REFUSED:
                    found[identifier] = _unsettled(self._client, reply, f"{kind}/{resources[identifier]['id']}")
                elif reply.verdict is Verdict.DONE and not self._overwrote(reply):
                    found[identifier] = reply.resource or resources[identifier]
                else:
                    open_replies[identifier] = reply
            if not open_replies:
                return
            unknown = [reply for reply in open_replies.values() if reply.verdict is Verdict.UNKNOWN]
            asked = max((reply.retry_after_seconds or 0.0 for reply in unknown), default=0.0)
            if not self._patience.waits(OUTAGE_SECONDS if unknown else CONFLICT_SECONDS, asked):
                for identifier, reply in open_replies.items():
                    found[identifier] = _unsettled(self._client, reply, f"{kind}/{resources[identifier]['id']}")
                return
            again = [Interaction("GET", f"{kind}/{resources[identifier]['id']}") for identifier in open_replies]
            for identifier, reply in zip(open_replies, self._client.read(again, self._patience), strict=True):
                found[identifier] = self._by_id(kind, identifier, reply)
            identifiers = list(open_replies)

    def _overwrote(self, reply: Reply) -> bool:
        """Whether a create went over something, on a server that ignores If-None-Match; what was there is put back.

        Nothing is lost by the overwriting itself: the version before is in the history.
        """
        if not has_predecessor(reply):
            return False
        history, *_ = self._client.read([Interaction("GET", f"{reply.interaction.url}/_history")], self._patience)
        before = next(iter(read_earlier(self._client, history, reply.version)), None)
        if before is None or _content(before) == _content(reply.resource or {}):
            return False
        # The condition leaves it alone if somebody has written since.
        self._client.exchange(
            [Interaction("PUT", reply.interaction.url, dump_resource(before), if_match=reply.version)]
        )
        return True


def _put(kind: str, resource: Resource, stored: Resource | MedTechError | None) -> Interaction:
    url = f"{kind}/{resource['id']}"
    if stored is None:
        return Interaction("PUT", url, dump_resource(resource), if_none_match=True)
    version = version_from(stored if isinstance(stored, dict) else None, None, None)
    if version is None:
        raise FhirAccessDenied(
            f"The FHIR server gave {url} without meta.versionId, so it cannot be changed safely. Turn versioning on."
        )
    return Interaction("PUT", url, dump_resource(resource), if_match=version)


def _content(resource: Resource) -> Resource:
    return {name: value for name, value in resource.items() if name != "meta"}


def _only(kind: str, candidates: Sequence[Resource]) -> Resource | MedTechError | None:
    if len(candidates) > 1:
        ids = ", ".join(f"{kind}/{each['id']}" for each in candidates[:5])
        return MultipleResourceFound(
            f"{len(candidates)} resources have one identifier: {ids}. Leave it on one of them."
        )
    return candidates[0] if candidates else None


def _unsettled(client: FhirClient, reply: Reply, what: str) -> MedTechError:
    if reply.verdict is Verdict.REFUSED:
        return ResourceRefused(
            f"The FHIR server refused {what} with {reply.status}. Its reason is kept with the dead letter; mend the "
            "server's rules, then replay.",
            outcome=reply.outcome,
        )
    if reply.verdict in (Verdict.CONFLICT, Verdict.DONE):
        return FhirConflict(f"Others kept changing {what}; it is tried again at the next flush.")
    return client.unavailable(reply)


def _is_blank(text: str | None) -> bool:
    return text is None or is_blank(text)


def _patient(key: IdentityKey) -> Identifier:
    return Identifier.of("", key.patient_id or "")


def _encounters(keys: Iterable[IdentityKey]) -> list[Identifier]:
    return [Identifier.of("", key.encounter_id or "") for key in keys if not _is_blank(key.encounter_id)]


def _encounter_of(key: IdentityKey, encounters: Found) -> str | MedTechError | None:
    """The id of the Encounter that the key names, None if it names none."""
    if _is_blank(key.encounter_id):
        return None
    encounter = encounters[Identifier.of("", key.encounter_id or "")]
    if encounter is None:
        return EncounterNotFound(
            f"A message of device '{key.device_id}' names an encounter that no Encounter has as identifier. Create it."
        )
    return encounter if isinstance(encounter, MedTechError) else str(encounter["id"])
