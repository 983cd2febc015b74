"""The identity of an Observation: identifier and id, the same for every writer of the same readings."""

from functools import lru_cache
from hashlib import sha256

from medtech.dotnet import ticks
from medtech.model import ResourceIdentity

SYSTEM = "https://azure.microsoft.com/en-us/services/iomt-fhir-connector/"
"""The system that the service uses for the identifier, and for the code that names a type or a value."""


@lru_cache(maxsize=1024)
def period_segment(start: int, end: int) -> str:
    """`20220312100000Z.20220312105959Z`: a period to the second. Kept, since most Observations of a flush share it."""
    if start == end:
        moment = ticks.format_compact(start)
        return f"{moment}Z.{moment}Z"
    return f"{ticks.format_compact(start)}Z.{ticks.format_compact(end)}Z"


def observation_identity(identity: ResourceIdentity, type_name: str, segment: str) -> tuple[str, str]:
    """(identifier value, resource id) of the Observation of one patient, device, type and segment.

    The type is spelled as the measurement spells it.
    """
    value = f"{identity.patient}.{identity.device}.{type_name}.{segment}"
    return value, sha256(f"{SYSTEM}_{value}".encode()).hexdigest()
