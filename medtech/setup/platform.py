"""The settings that triggers, connections and the identity are opened by: the Functions host reads them, or the package
of the service that they open."""

from collections.abc import Mapping
from typing import NamedTuple


class PlatformSetting(NamedTuple):
    """`default` and `allowed` are words for people. A connection is this name and others that begin with it and `__`,
    whose ends are `parts`."""

    name: str
    default: str
    allowed: str
    description: str
    parts: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return self.name, *(f"{self.name}__{part}" for part in self.parts)


DEFAULT_CONSUMER_GROUP = "$Default"
DEFAULT_SCHEDULE = "*/30 * * * * *"
DEFAULT_FANOUT, BY_QUEUE = "timer", "queue"

_STORAGE_PARTS = (
    "accountName",
    "blobServiceUri",
    "clientId",
    "credential",
    "managedIdentityResourceId",
    "queueServiceUri",
    "tableServiceUri",
    "tenantId",
)

HUB_CONNECTION = PlatformSetting(
    "EventHubConnection",
    "required",
    "a connection string of Event Hubs, or `EventHubConnection__fullyQualifiedNamespace` as "
    "NAMESPACE.servicebus.windows.net",
    "The hub's connection, as Functions has it: a connection string, or `EventHubConnection__fullyQualifiedNamespace` "
    "with a managed identity (role *Azure Event Hubs Data Receiver*). It takes the place of the MedTech service's "
    "`fullyQualifiedEventHubNamespace`.",
    ("fullyQualifiedNamespace", "credential", "clientId", "clientSecret", "managedIdentityResourceId", "tenantId"),
)
HUB = PlatformSetting(
    "EVENT_HUB_NAME",
    "required",
    "1 to 256 letters, digits, `.`, `-`, `_`; a letter or digit at both ends",
    "The hub that devices send to.",
)
CONSUMER_GROUP = PlatformSetting(
    "EVENT_HUB_CONSUMER_GROUP",
    f"`{DEFAULT_CONSUMER_GROUP}`",
    "`$Default`, or 1 to 50 characters as in a hub's name",
    "A consumer group that nothing else reads.",
)
BUFFER_STORAGE = PlatformSetting(
    "BufferStorage",
    "`AzureWebJobsStorage`",
    "a storage connection string, or as parts `__accountName`, or `__tableServiceUri` and `__blobServiceUri` (with "
    "`FLUSH_FANOUT=queue` also `__queueServiceUri`)",
    "Where the buffer, the dead letters and the mappings in force are kept: a connection string, or "
    "`BufferStorage__accountName`, or `BufferStorage__tableServiceUri` and `BufferStorage__blobServiceUri`, with "
    "`FLUSH_FANOUT=queue` also `BufferStorage__queueServiceUri` (roles *Storage Blob Data Owner*, *Storage Table Data "
    "Contributor* on the account). `BufferStorage__furtherAccounts` spreads the buffer over further accounts: see "
    "[several storage accounts](operate.md#several-storage-accounts).",
    (*_STORAGE_PARTS, "furtherAccounts"),
)
HOST_STORAGE = PlatformSetting(
    "AzureWebJobsStorage",
    "required",
    "as `BufferStorage`",
    "Where the Functions host keeps its keys, leases and the hub's checkpoints; the app's own storage too, unless "
    "`BufferStorage` is set.",
    _STORAGE_PARTS,
)
CLIENT_ID = PlatformSetting(
    "AZURE_CLIENT_ID",
    "–",
    "a client id: 32 hex digits in five groups",
    "The client id of the user-assigned identity that opens storage, mapping blobs and the FHIR server. Without it, "
    "the one that the storage connection names (`BufferStorage__clientId` or "
    "`BufferStorage__managedIdentityResourceId`); without either, the system-assigned identity. The host opens its own "
    "connections, the hub's too, by their `__clientId`.",
)
SCHEDULE = PlatformSetting(
    "FLUSH_SCHEDULE",
    f"`{DEFAULT_SCHEDULE}`",
    "NCRONTAB, six fields: second minute hour day month weekday",
    "When the timer looks for due windows.",
)

FANOUT = PlatformSetting(
    "FLUSH_FANOUT",
    f"`{DEFAULT_FANOUT}`",
    f"`{DEFAULT_FANOUT}`, `{BY_QUEUE}`",
    "Who flushes the shards that are due. `timer`: the timer's instance, all of them. `queue`: the timer puts a "
    "message for each on a storage queue, and as many instances as the plan gives flush one each (role *Storage Queue "
    "Data Contributor*). See [Operations](operate.md#flushing-on-several-instances).",
)

PLATFORM_SETTINGS = (HUB_CONNECTION, HUB, CONSUMER_GROUP, HOST_STORAGE, BUFFER_STORAGE, CLIENT_ID, SCHEDULE, FANOUT)

FLUSH_QUEUE = "medtech-flush"
"""The extension makes `medtech-flush-poison` of it, for messages at which the process ended time and again."""

POISON_QUEUE = f"{FLUSH_QUEUE}-poison"


def flushes_by_queue(environment: Mapping[str, str]) -> bool:
    """Whether FLUSH_FANOUT is `queue`, in any case, as choices of the app's own settings are."""
    return environment.get(FANOUT.name, "").strip().lower() == BY_QUEUE
