"""Resources that a late create may go over: whose create was sent, and its answer was not seen.

Somewhere between the app and the FHIR server it may still be in somebody's hands, and be carried out seconds to minutes
later over everything that was written since, on a server that ignores If-None-Match. So these resources are watched.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from medtech.dotnet import ticks


class Watch(NamedTuple):
    """A resource, and how its late create is recognised.

    `issued`: of an Observation, the first and the last time (ticks) that such a create may say it was issued at.
    `patient`: of a Device, the id of the Patient that the create links it to. `version` is the version that was current
    at the last look, None before the first: what is older has been dealt with.
    """

    resource_type: str
    resource_id: str
    issued: tuple[int, int] = (0, ticks.MAX_TICKS)
    patient: str | None = None
    version: str | None = None

    @property
    def url(self) -> str:
        return f"{self.resource_type}/{self.resource_id}"

    def joined(self, other: "Watch | None") -> "Watch":
        """For the creates of both, which are of one resource.

        Unless both have seen the same version, one may have been dealt with before the other was known.
        """
        if other is None:
            return self
        return self._replace(
            issued=(min(self.issued[0], other.issued[0]), max(self.issued[1], other.issued[1])),
            patient=self.patient or other.patient,
            version=self.version if self.version == other.version else None,
        )


class WatchKeeper(Protocol):
    """Keeps watches where they outlast the process. Both raise Unavailable when they cannot be kept."""

    def sending(self, creates: Sequence[Watch]) -> None:
        """Called just before bundles are sent with these creates."""

    def answered(self, creates: Sequence[Watch]) -> None:
        """Called when the answers to all creates of these resources were seen: none of them comes late."""


class NoWatchKeeper:
    """When nobody keeps them: a stub that comes late is put right only if its identity is resolved once more."""

    def sending(self, creates: Sequence[Watch]) -> None:
        pass

    def answered(self, creates: Sequence[Watch]) -> None:
        pass
