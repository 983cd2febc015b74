"""What Create mode makes: Patients, and Devices that are linked to them. It never writes over what is there.

Of a Patient or Device whose search finds nothing, the id under which it would be created is read: a search may lag, or
miss what was edited by hand. On a server that ignores If-None-Match a create may still go over what was written since.
What the app creates is bare (an identifier, and a Device's link), so a bare resource past its first version may hide
such an accident, whoever had it: its history is read, and the version that was more than bare is put back. A create
that nobody has answered yet is watched from before it is sent, until its answer is there.
"""

from collections.abc import Callable, Iterable, Sequence

from medtech.errors import IdentityConflict, MedTechError, PatientDeviceMismatch, PatientIdentityNotDefined
from medtech.model import ResourceIdentity
from medtech.persist.answers import Resource, version_from
from medtech.persist.client import FhirClient
from medtech.persist.identity.cache import IdentityKey
from medtech.persist.identity.lookup import Found, IdentityLookup, encounter_of, is_absent
from medtech.persist.references import Identifier, referred_id
from medtech.persist.settle import Attempt, Failed, Stored, settle
from medtech.persist.watch import Watch, WatchKeeper
from medtech.side_counts import Settled, count

_SERVERS_OWN = frozenset({"meta", "text"})
"""What a server adds to a resource by itself."""


class Creation:
    """One resolution in Create mode. `before_writes`, `watches` and `pause` as in IdentityResolver."""

    def __init__(
        self,
        client: FhirClient,
        lookup: IdentityLookup,
        before_writes: Callable[[], object],
        watches: WatchKeeper,
        pause: Callable[[float], object],
    ) -> None:
        self._client = client
        self._lookup = lookup
        self._before_writes = before_writes
        self._watches = watches
        self._pause = pause

    def resolve(self, keys: Sequence[IdentityKey]) -> dict[IdentityKey, ResourceIdentity | MedTechError]:
        """Of several Patients for one new Device, the first key's gets it.

        Raises Unavailable when the server is away as a whole or denies access.
        """
        devices, encounters = self._lookup.devices_and_encounters(keys)
        failed = {key: result for key in keys if isinstance(result := encounter_of(key, encounters), MedTechError)}
        keys = [key for key in keys if key not in failed]
        self._settle(devices, [_Kept("Device", each) for each in _in_doubt(devices, map(self._lookup.device, keys))])

        # Patients are searched after Devices: a Device that another instance has just created is never seen without
        # its Patient, and so taken for somebody else's.
        naming = [key for key in keys if not is_absent(key.patient_id)]
        patients = self._patients(naming, devices)
        self._link(naming, devices, patients)

        # Last, because by now a Device may be linked to the Patient of another key.
        unnamed = [key for key in keys if is_absent(key.patient_id)]
        unlinked = {key: error for key in unnamed if (error := _unlinked(key, devices[self._lookup.device(key)]))}
        known = {patient["id"] for patient in patients.values() if isinstance(patient, dict)}
        by_links = self._lookup.by_links([key for key in unnamed if key not in unlinked], devices, encounters, known)
        compared = {
            key: self._compared(key, devices[self._lookup.device(key)], patients[_patient(key)], encounters)
            for key in naming
        }
        return failed | unlinked | by_links | compared

    def _patients(self, keys: Sequence[IdentityKey], devices: Found) -> Found:
        """The Patients that the keys name, created where they are not there and a Device may be linked to them."""
        identifiers = [_patient(key) for key in keys]
        (patients,) = self._lookup.search(("Patient", identifiers))
        wanted = {_patient(key) for key in keys if self._may_link(key, devices[self._lookup.device(key)])}
        in_doubt = _in_doubt(patients, identifiers)
        self._settle(patients, [_Kept("Patient", each, creates=each in wanted) for each in in_doubt])
        return patients

    def _may_link(self, key: IdentityKey, device: Resource | MedTechError | None) -> bool:
        """Whether a Patient that is not there is to be created: not for a Device that belongs to somebody else."""
        if isinstance(device, MedTechError):
            return False
        patient = (device or {}).get("patient")
        return not patient or referred_id(patient, "Patient") == _patient(key).resource_id()

    def _link(self, keys: Sequence[IdentityKey], devices: Found, patients: Found) -> None:
        """Creates the Devices that are not there, and links those that have no patient."""
        attempts: dict[Identifier, _Kept] = {}
        for key in keys:
            identifier = self._lookup.device(key)
            device, patient = devices[identifier], patients[_patient(key)]
            if isinstance(patient, dict) and (
                device is None or (isinstance(device, dict) and not device.get("patient"))
            ):
                found_id = device["id"] if device else None
                attempts.setdefault(identifier, _Kept("Device", identifier, found_id, patient["id"], creates=True))
        self._settle(devices, list(attempts.values()))

    def _compared(
        self,
        key: IdentityKey,
        device: Resource | MedTechError | None,
        patient: Resource | MedTechError | None,
        encounters: Found,
    ) -> ResourceIdentity | MedTechError:
        """The identity of a key that names its Patient."""
        if isinstance(patient, MedTechError):
            return patient
        linked = self._lookup.linked(key, device, encounters)
        if isinstance(linked, MedTechError) or (patient and patient["id"] == linked.patient):
            return linked
        return PatientDeviceMismatch(
            f"Device '{key.device_id}' belongs to another Patient than its message says. Correct the Device's "
            "`patient`, or what the device sends, then replay."
        )

    def _settle(self, found: Found, attempts: Sequence["_Kept"]) -> None:
        """Puts into `found` what is stored after the attempts."""
        sent: dict[_Kept, Watch] = {}

        def before_writes(creates: Sequence[_Kept]) -> None:
            if unsent := {attempt: attempt.watch() for attempt in creates if attempt not in sent}:
                sent.update(unsent)
                # No row of the buffer says so, should the flush die.
                self._watches.sending(list(unsent.values()))
            self._before_writes()

        for attempt, result in settle(self._client, attempts, before_writes, pause=self._pause):
            if isinstance(result, Failed) and result.server_away:
                raise result.error
            if isinstance(result, Stored) and result.resource is not None:
                count(Settled(attempt.resource_type, str(result.saved_as)))
            found[attempt.identifier] = attempt.known(result)
            if result.unseen:
                sent.pop(attempt, None)
        if sent:
            self._watches.answered(list(sent.values()))


class Foresight(Creation):
    """What Create mode would make, without making it: the ids that the Patients and Devices would have.

    For an app that writes nothing. Histories are not read: they say what is to be put right, not who it is.
    """

    def _settle(self, found: Found, attempts: Sequence["_Kept"]) -> None:
        for attempt in attempts:
            stored = found[attempt.identifier]
            if not isinstance(stored, MedTechError):
                found[attempt.identifier] = attempt.decide(stored, ()) or stored


class _Kept(Attempt):
    """A Patient or Device that stays as it is stored, but for a Device's link if it has none.

    `found_id` is the id that a search found, None for the one under which the app creates. `patient_id` is the Patient
    to link a Device to. With `creates`, what is not there is created.
    """

    def __init__(
        self,
        resource_type: str,
        identifier: Identifier,
        found_id: str | None = None,
        patient_id: str | None = None,
        *,
        creates: bool = False,
    ) -> None:
        super().__init__(resource_type, found_id or identifier.resource_id())
        self.identifier = identifier
        self._patient_id = patient_id
        self._link: Resource = {"patient": {"reference": f"Patient/{patient_id}"}} if patient_id else {}
        self._creates = creates
        self._created = False

    def watch(self) -> Watch:
        return Watch(self.resource_type, self.resource_id, patient=self._patient_id)

    def doubts(self, current: Resource) -> bool:
        return may_hide_another(current, self.identifier)

    def decide(self, current: Resource | None, earlier: Sequence[Resource]) -> Resource | None:
        if current is None:
            self._created = self._creates
            created = bare(self.resource_type, self.identifier) | {"id": self.resource_id} | self._link
            return created if self._creates else None
        restored = self._restored(current, earlier)
        if not self.identifier.is_on(restored):
            return None if restored is current else restored
        kept = restored if restored.get("patient") else {**restored, **self._link}
        return None if _content(kept) == _content(current) else kept

    def _restored(self, current: Resource, earlier: Sequence[Resource]) -> Resource:
        """`current`, or the version that a create went over."""
        if not is_bare(current, self.identifier):
            return current
        sent_patient = self._patient_id if self._created else None
        return put_back(current, earlier, self.identifier, sent_patient)

    def known(self, result: Stored | Failed) -> Resource | MedTechError | None:
        """What is there now, or the error that stands in its place."""
        if isinstance(result, Failed):
            return result.error
        if result.resource is not None and not self.identifier.is_on(result.resource):
            return IdentityConflict(
                f"{self.url} is there, but without the identifier that the message names. Give the identifier back to "
                "it, or remove the resource, then replay."
            )
        return result.resource


def bare(resource_type: str, identifier: Identifier) -> Resource:
    """What the app creates, but for a Device's link."""
    return {"resourceType": resource_type, "id": identifier.resource_id(), "identifier": [identifier.element()]}


def is_bare(resource: Resource, identifier: Identifier) -> bool:
    """Whether it says no more than what the app creates; a Device may be linked to any Patient."""
    content = {name: value for name, value in _content(resource).items() if name != "patient"}
    return content == bare(resource["resourceType"], identifier)


def own_identifier(resource: Resource) -> Identifier | None:
    """The identifier by which the app would create a resource under its id; None if it has another one, or several."""
    match resource.get("identifier"):
        case [{"value": str(value)} as element]:
            identifier = Identifier(str(element.get("system") or ""), value)
            return identifier if identifier.resource_id() == resource.get("id") else None
    return None


def put_back(
    current: Resource, earlier: Iterable[Resource], identifier: Identifier, sent_patient: str | None
) -> Resource:
    """The version that a create has gone over, if `current` is that create; else `current`.

    `sent_patient`: the Patient to whom the create links its Device, None if no create was sent.
    """
    versions = list(earlier)
    for version in versions:
        if not is_bare(version, identifier):
            return version
    before = versions[0].get("patient") if versions else None
    if sent_patient and before and _linked_to(current) == sent_patient != _linked_to(versions[0]):
        # Another instance had created it first, or somebody has handed it over since; whose link stands must not depend
        # on who is slower.
        return versions[0]
    return current


def _linked_to(device: Resource) -> str | None:
    return referred_id(device.get("patient"), "Patient")


def may_hide_another(resource: Resource, identifier: Identifier) -> bool:
    """Whether it is bare and not known to be a first version, so that a create may have gone over another version.

    Version ids other than numbers have no order: there every bare resource may.
    """
    return is_bare(resource, identifier) and version_from(resource, None, None) != "1"


def _in_doubt(found: Found, identifiers: Iterable[Identifier]) -> list[Identifier]:
    """Those that a search did not find, or found bare."""
    return [
        identifier
        for identifier in dict.fromkeys(identifiers)
        if (resource := found[identifier]) is None
        or (isinstance(resource, dict) and may_hide_another(resource, identifier))
    ]


def _unlinked(key: IdentityKey, device: Resource | MedTechError | None) -> MedTechError | None:
    """The error for a key without patient id, if there is no link to go by."""
    if isinstance(device, MedTechError):
        return device
    if device and device.get("patient"):
        return None
    where = f"Device/{device['id']} has no `patient`" if device else "there is no such Device"
    return PatientIdentityNotDefined(
        f"A measurement of device '{key.device_id}' has no patient id, and {where}. Give its template a "
        "patientIdExpression that finds one, or link the Device to its Patient, then replay."
    )


def _content(resource: Resource) -> Resource:
    return {name: value for name, value in resource.items() if name not in _SERVERS_OWN}


def _patient(key: IdentityKey) -> Identifier:
    return Identifier.of("", key.patient_id or "")
