"""The hub of the app, as its settings name it: `EventHubConnection`, `EVENT_HUB_NAME`, `EVENT_HUB_CONSUMER_GROUP`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from medtech.entra import AppIdentity
from medtech.errors import SettingInvalid
from medtech.setup.platform import CONSUMER_GROUP, DEFAULT_CONSUMER_GROUP, HUB, HUB_CONNECTION

_HOST = re.compile(r"[a-z]+://([^/:]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class HubConnection:
    """`namespace` is the host name, without a port, as the extension names its blobs by it. Without a connection string
    the hub is opened by `identity`."""

    namespace: str
    event_hub: str
    consumer_group: str
    connection_string: str | None
    identity: AppIdentity

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        """The connection of the app with this environment. Raises SettingInvalid."""
        given = {name.lower(): value.strip() for name, value in environment.items()}
        prefix = f"{HUB_CONNECTION.name}__".lower()
        parts = {name.removeprefix(prefix): value for name, value in given.items() if name.startswith(prefix)}
        connection_string = given.get(HUB_CONNECTION.name.lower()) or None
        event_hub = given.get(HUB.name.lower(), "")
        if connection_string is None:
            namespace = parts.get("fullyqualifiednamespace", "")
        else:
            fields = {
                name.strip().lower(): value.strip()
                for name, _, value in (field.partition("=") for field in connection_string.split(";"))
            }
            endpoint = _HOST.match(fields.get("endpoint", ""))
            if endpoint is None:
                raise SettingInvalid(f"{HUB_CONNECTION.name} is not {HUB_CONNECTION.allowed}.")
            namespace = endpoint[1]
            # The extension reads this hub, whatever the trigger names.
            event_hub = fields.get("entitypath") or event_hub
        for setting, value in ((HUB_CONNECTION, namespace), (HUB, event_hub)):
            if not value:
                raise SettingInvalid(f"{setting.name} is not set: {setting.allowed}.")
        return cls(
            namespace,
            event_hub,
            given.get(CONSUMER_GROUP.name.lower()) or DEFAULT_CONSUMER_GROUP,
            connection_string,
            AppIdentity.of(environment, parts),
        )
