"""The identities of a portion while it is written: a Device may be handed to the next patient meanwhile."""

from collections.abc import Callable, Mapping

from medtech.errors import MedTechError
from medtech.model import ResourceIdentity
from medtech.persist.identity.cache import IdentityKey
from medtech.persist.identity.resolve import IdentityResolver
from medtech.persist.watch import WatchKeeper


class Links:
    """What a portion was resolved to, confirmed again as it ages: a portion of many bundles takes its time."""

    def __init__(
        self, resolver: IdentityResolver, resolved: Mapping[IdentityKey, ResourceIdentity | MedTechError]
    ) -> None:
        self._resolver = resolver
        # By an error nothing is written.
        self._identities = {key: found for key, found in resolved.items() if isinstance(found, ResourceIdentity)}
        self._fresh_until = resolver.fresh_until(self._identities)

    def hold(self, before_writes: Callable[[], object], watches: WatchKeeper) -> bool:
        """Whether everything may still be written by these identities.

        Nothing is asked of the server before one of them is as old as the resolver allows. `before_writes`,
        `watches` and errors as for `IdentityResolver.resolve`.
        """
        if self._resolver.now() < self._fresh_until:
            return True
        found = self._resolver.resolve(self._identities, before_writes, watches)
        self._fresh_until = self._resolver.fresh_until(self._identities)
        return found == self._identities
