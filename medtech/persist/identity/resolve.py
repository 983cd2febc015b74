"""Device, Patient and Encounter of a measurement: cached, looked up, or in Create mode made (SPEC section 5)."""

import time
from collections.abc import Callable, Iterable, Mapping

from medtech.errors import EncounterIdentityNotDefined, MedTechError
from medtech.model import ResourceIdentity
from medtech.persist.answers import Interaction, Verdict
from medtech.persist.client import FhirClient
from medtech.persist.identity.cache import IdentityCache, IdentityKey
from medtech.persist.identity.create import Creation, Foresight
from medtech.persist.identity.lookup import IdentityLookup, is_absent
from medtech.persist.patience import Patience
from medtech.persist.references import referred_id
from medtech.persist.watch import NoWatchKeeper, WatchKeeper
from medtech.settings import ResolutionType

_UNWATCHED = NoWatchKeeper()


class IdentityResolver:
    """Resolves keys by the app's settings; one per process, its methods may be called from several threads.

    A cached identity older than `cache_seconds` is confirmed by reading its Device, a bundle for a hundred of them: a
    device that was handed to the next patient must not write to the last one.
    """

    def __init__(
        self,
        client: FhirClient,
        resolution: ResolutionType,
        device_system: str,
        cache_seconds: float,
        *,
        pause: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._resolution = resolution
        self._lookup = IdentityLookup(client, device_system, pause)
        self._cache = IdentityCache(cache_seconds, clock)
        self._pause = pause

    def resolve(
        self, keys: Iterable[IdentityKey], before_writes: Callable[[], object], watches: WatchKeeper = _UNWATCHED
    ) -> dict[IdentityKey, ResourceIdentity | MedTechError]:
        """An identity or an error for every key. An Unavailable among them: this one is tried at the next flush.

        `before_writes` is called each time before Patients or Devices are written; what it raises ends the resolution,
        and nothing is written after that. `watches` keeps which Patients and Devices may still be created late. Raises
        Unavailable when the server is away as a whole or denies access, and what `watches` raises.
        """
        asked = self._cache.now()
        resolved: dict[IdentityKey, ResourceIdentity | MedTechError] = {}
        stale: dict[IdentityKey, ResourceIdentity] = {}
        unknown: list[IdentityKey] = []
        for key in dict.fromkeys(keys):
            if demanded := self._demanded(key):
                resolved[key] = demanded
            elif (held := self._cache.get(key)) is None:
                unknown.append(key)
            elif held.fresh:
                resolved[key] = held.identity
            else:
                stale[key] = held.identity
        confirmed = self._confirmed(stale)
        for key, identity in confirmed.items():
            self._cache.confirm(key, identity, asked)
        unknown += stale.keys() - confirmed.keys()
        if unknown:
            # In the order of the keys, so that two instances that see the same device decide alike.
            unknown.sort(key=lambda key: tuple(each or "" for each in key))
            for key, result in self._resolve_anew(unknown, before_writes, watches).items():
                resolved[key] = result
                if isinstance(result, ResourceIdentity):
                    self._cache.put(key, result, asked)
                else:
                    self._cache.drop(key)
        return resolved | confirmed

    def now(self) -> float:
        """The clock by which identities age, in seconds."""
        return self._cache.now()

    def fresh_until(self, keys: Iterable[IdentityKey]) -> float:
        """When, by that clock, the first of these identities is to be confirmed again."""
        return self._cache.fresh_until(keys)

    def forget(self, key: IdentityKey) -> None:
        """A write was refused because what the cached identity refers to is gone."""
        self._cache.drop(key)

    def _demanded(self, key: IdentityKey) -> MedTechError | None:
        if self._resolution is ResolutionType.LOOKUP_WITH_ENCOUNTER and is_absent(key.encounter_id):
            return EncounterIdentityNotDefined(
                f"A measurement of device '{key.device_id}' has no encounter id, which the resolution type "
                "LookupWithEncounter needs. Give its template an encounterIdExpression that finds one, or set "
                "RESOURCE_IDENTITY_RESOLUTION_TYPE to Lookup, then replay."
            )
        return None

    def _confirmed(self, stale: Mapping[IdentityKey, ResourceIdentity]) -> dict[IdentityKey, ResourceIdentity]:
        """Those whose Device still has the identifier and is still linked to the Patient."""
        ids = list(dict.fromkeys(identity.device for identity in stale.values()))
        requests = [Interaction("GET", f"Device/{each}") for each in ids]
        replies = self._client.read(requests, Patience(pause=self._pause))
        devices = {
            each: reply.resource if reply.verdict is Verdict.DONE else None
            for each, reply in zip(ids, replies, strict=True)
        }
        return {
            key: identity
            for key, identity in stale.items()
            if (device := devices[identity.device]) is not None
            and self._lookup.device(key).is_on(device)
            and referred_id(device.get("patient"), "Patient") == identity.patient
        }

    def _resolve_anew(
        self, keys: list[IdentityKey], before_writes: Callable[[], object], watches: WatchKeeper
    ) -> dict[IdentityKey, ResourceIdentity | MedTechError]:
        if self._resolution is ResolutionType.CREATE:
            make = Foresight if self._client.reads_only else Creation
            return make(self._client, self._lookup, before_writes, watches, self._pause).resolve(keys)
        return self._lookup.resolve(keys)
