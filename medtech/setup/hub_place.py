"""Which hub the app reads, and as whom: what the trigger calls the place that events come from."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from medtech.errors import SettingInvalid
from medtech.setup.platform import CONSUMER_GROUP, DEFAULT_CONSUMER_GROUP, HUB, HUB_CONNECTION

_HOST_NAME = re.compile(r"(?:[a-z]+://)?([^/:;]+)", re.IGNORECASE)
_INDIRECT = re.compile("%([^%]+)%")


class HubPlace(NamedTuple):
    """A hub and a consumer group of it. The namespace is a host name."""

    fully_qualified_namespace: str
    event_hub: str
    consumer_group: str

    @property
    def namespace(self) -> str:
        """`hospital` of `hospital.servicebus.windows.net`: the name of the resource."""
        return self.fully_qualified_namespace.partition(".")[0]


def read_hub_place(environment: Mapping[str, str]) -> HubPlace:
    """From the settings of the trigger, as the Functions host reads them: in any case, and with `%NAME%` replaced.

    A connection string that names its hub (`EntityPath`) has the last word. Raises SettingInvalid.
    """
    given = {name.lower(): value.strip() for name, value in environment.items()}
    pairs = (part.partition("=") for part in given.get(HUB_CONNECTION.name.lower(), "").split(";"))
    parts = {name.strip().lower(): value.strip() for name, _, value in pairs}
    address = parts.get("endpoint") or given.get(f"{HUB_CONNECTION.name}__fullyQualifiedNamespace".lower(), "")
    host_name = _HOST_NAME.match(address)
    hub = parts.get("entitypath") or _resolved(given.get(HUB.name.lower(), ""), given)
    if host_name is None or not hub:
        missing = HUB_CONNECTION.name if host_name is None else HUB.name
        raise SettingInvalid(
            f"{missing} does not say which hub the app reads. Set {HUB_CONNECTION.name} (or "
            f"{HUB_CONNECTION.name}__fullyQualifiedNamespace) and {HUB.name} as the app has them."
        )
    group = _resolved(given.get(CONSUMER_GROUP.name.lower(), ""), given) or DEFAULT_CONSUMER_GROUP
    return HubPlace(host_name[1], hub, group)


def _resolved(text: str, given: Mapping[str, str]) -> str:
    return _INDIRECT.sub(lambda name: given.get(name[1].lower(), name[0]), text)
