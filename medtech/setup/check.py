"""Whether an environment is one that the app can run in: every fault at once, and names that are nearly a setting's.

Nothing outside is asked here. Whether hub, storage and FHIR server are there and let the app in is what
`health` tells.
"""

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from medtech.errors import SettingInvalid
from medtech.settings import SettingFault, Settings, allowed, faults_in
from medtech.setup.platform import (
    BUFFER_STORAGE,
    BY_QUEUE,
    CLIENT_ID,
    CONSUMER_GROUP,
    DEFAULT_FANOUT,
    FANOUT,
    HOST_STORAGE,
    HUB,
    HUB_CONNECTION,
    PLATFORM_SETTINGS,
    SCHEDULE,
    flushes_by_queue,
)
from medtech.setup.schedule import fault_in
from medtech.storage.connection import Storage

APP_FOLDER = Path(__file__).parents[2]

MAPPINGS = ("device_mapping", "fhir_mapping")
FHIR_SERVICE_URL = "FHIR_SERVICE_URL"

_HUB_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,254}[A-Za-z0-9])?")
_CONSUMER_GROUP = re.compile(r"\$Default|[A-Za-z0-9](?:[A-Za-z0-9._-]{0,48}[A-Za-z0-9])?", re.IGNORECASE)
"""Rules of names: https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules"""

_HOST_NAME = r"(?:localhost|[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)+\.?)"
_NAMESPACE = re.compile(rf"{_HOST_NAME}|[a-z]+://{_HOST_NAME}(?::\d+)?/?", re.IGNORECASE)
"""Of an address the client of Event Hubs takes the host name."""

_INDIRECT = re.compile("%[^%]+%")
"""The Functions host puts an app setting in its place, in names and schedules. What that makes is not judged here."""

_CLIENT_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

_REFERENCE = re.compile(r"@Microsoft\.(?:KeyVault|AppConfiguration)\(", re.IGNORECASE)

_NEAR = 0.88
"""How alike two names are, from 0 to 1, for one to count as the other misspelt. `FHIR_SERVICE_URI` is 0.93 like
`FHIR_SERVICE_URL`, `KEEP_UNMATCH` 0.92 like `KEEP_UNMATCHED`. `EVENT_HUB_NAMESPACE`, which may well be set for
something else, is 0.83 like `EVENT_HUB_NAME`."""

_ELSEWHERE = ("EVENT_HUB_CONNECTION_STRING",)
"""What only the command line reads (`simulate --event-hub`)."""


class Misspelt(NamedTuple):
    """A name in the environment that is no setting, and the setting that it is nearly."""

    name: str
    nearest: str

    @property
    def message(self) -> str:
        return f"{self.name} is not a setting. If {self.nearest} is meant, rename it."


def is_reference(value: str) -> bool:
    """Whether a value refers to a secret that the platform puts in its place."""
    return _REFERENCE.match(value.strip()) is not None


def faults(environment: Mapping[str, str]) -> list[SettingFault]:
    """What stops the app in this environment.

    A mapping that is missing is not among it: the last good one stays in force then, or messages are kept as dead
    letters. See `missing_mappings`.
    """
    unresolved = list(_unresolved(environment))
    told = {fault.name for fault in unresolved}
    found = [*_platform_faults(environment), *faults_in(environment), *_server_faults(environment)]
    return unresolved + [fault for fault in found if not fault.name or fault.name.partition("__")[0] not in told]


def missing_mappings(environment: Mapping[str, str]) -> list[SettingFault]:
    """Settings that name a mapping file which this app does not have. Blobs are not looked for."""
    found = []
    for name in MAPPINGS:
        field = Settings.model_fields[name]
        address = environment.get(name.upper(), str(field.default))
        if not address.startswith(("https://", "http://")) and not (APP_FOLDER / address).is_file():
            setting = name.upper()
            found.append(SettingFault(setting, f"{setting} names a file that is not there. Allowed: {allowed(field)}."))
    return found


def known_names() -> set[str]:
    """The names of all settings."""
    ours = {name.upper() for name in Settings.model_fields}
    return ours.union(_ELSEWHERE, *(setting.names for setting in PLATFORM_SETTINGS))


def misspelt(environment: Mapping[str, str]) -> list[Misspelt]:
    """Names that are no setting's, but nearly."""
    known = {_squeezed(name): name for name in sorted(known_names())}
    found = []
    for name in sorted(environment):
        near = get_close_matches(_squeezed(name), known, 1, _NEAR)
        if near and not _is_read(name, known[near[0]]):
            found.append(Misspelt(name, known[near[0]]))
    return found


def _squeezed(name: str) -> str:
    return name.replace("_", "").lower()


def _is_read(name: str, nearest: str) -> bool:
    # The host reads hub and connections in any case, the app its own settings, `Storage` a connection's parts.
    connection, _, part = nearest.partition("__")
    if part and connection in (HOST_STORAGE.name, BUFFER_STORAGE.name):
        return name.startswith(connection) and name.lower() == nearest.lower()
    in_any_case = nearest.lower() in Settings.model_fields or nearest in (HUB.name, *HUB_CONNECTION.names)
    return name == nearest or (in_any_case and name.lower() == nearest.lower())


def _unresolved(environment: Mapping[str, str]) -> Iterator[SettingFault]:
    for name in sorted(known_names() & environment.keys()):
        if is_reference(environment[name]):
            yield SettingFault(
                name.partition("__")[0],
                f"{name} is a reference to a secret that the platform could not resolve. Check that the secret is "
                "there, that the app's identity may read it (role Key Vault Secrets User), and "
                "keyVaultReferenceIdentity of the app.",
            )


def _server_faults(environment: Mapping[str, str]) -> Iterator[SettingFault]:
    if not any(value.strip() for name, value in environment.items() if name.upper() == FHIR_SERVICE_URL):
        takes = allowed(Settings.model_fields[FHIR_SERVICE_URL.lower()])
        yield _missing(FHIR_SERVICE_URL, takes, environment)


def _platform_faults(environment: Mapping[str, str]) -> Iterator[SettingFault]:
    yield from _hub_connection_faults(environment)
    hub = _in_any_case(environment).get(HUB.name.lower())
    if not hub:
        yield _missing(HUB.name, HUB.allowed, environment)
    elif not (_HUB_NAME.fullmatch(hub) or _INDIRECT.search(hub) or _connection_parts(environment).get("entitypath")):
        yield _fault(HUB.name, "is not the name of a hub", HUB.allowed)
    group = environment.get(CONSUMER_GROUP.name)
    if group and not (_CONSUMER_GROUP.fullmatch(group) or _INDIRECT.search(group)):
        yield _fault(CONSUMER_GROUP.name, "is not the name of a consumer group", CONSUMER_GROUP.allowed)
    yield from _storage_faults(environment)
    client_id = environment.get(CLIENT_ID.name)
    if client_id and not _CLIENT_ID.fullmatch(client_id.strip()):
        yield _fault(CLIENT_ID.name, "is not a client id", CLIENT_ID.allowed)
    schedule = environment.get(SCHEDULE.name)
    if schedule and (fault := fault_in(schedule)):
        yield _fault(SCHEDULE.name, fault, SCHEDULE.allowed)
    fanout = environment.get(FANOUT.name, "").strip().lower()
    if fanout and fanout not in (DEFAULT_FANOUT, BY_QUEUE):
        yield _fault(FANOUT.name, "is none of its choices", FANOUT.allowed)


def _hub_connection_faults(environment: Mapping[str, str]) -> Iterator[SettingFault]:
    name = HUB_CONNECTION.name
    given = _in_any_case(environment)
    parts = _connection_parts(environment)
    namespace = given.get(f"{name}__fullyQualifiedNamespace".lower())
    if parts:
        if "hostname" in parts:
            yield _fault(
                name,
                "is the connection string of an IoT hub. Use that of its Event Hub-compatible endpoint",
                HUB_CONNECTION.allowed,
            )
        elif not parts.get("endpoint") or not (parts.get("sharedaccesskey") or parts.get("sharedaccesssignature")):
            yield _fault(name, "is not a connection string of Event Hubs", HUB_CONNECTION.allowed)
    elif namespace is not None:
        if not _NAMESPACE.fullmatch(namespace):
            yield _fault(
                f"{name}__fullyQualifiedNamespace",
                "(the MedTech service's fullyQualifiedEventHubNamespace) is not the host name of a namespace",
                "NAMESPACE.servicebus.windows.net, without a scheme and a path",
            )
    # The host also looks for a connection under AzureWebJobs… and among the connection strings of the app.
    elif not any(key.endswith(name.lower()) for key in given if key != name.lower()):
        yield _missing(name, HUB_CONNECTION.allowed, environment)


def _connection_parts(environment: Mapping[str, str]) -> dict[str, str]:
    """Of the hub's connection string, by their names in small letters; none without one."""
    text = _in_any_case(environment).get(HUB_CONNECTION.name.lower(), "").strip()
    pairs = (part.partition("=") for part in text.split(";") if text)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _storage_faults(environment: Mapping[str, str]) -> Iterator[SettingFault]:
    """The host alone opens its storage if the app has one of its own, and takes there what the app could not use, such
    as an account without tables: then only whether it is set is judged."""
    host = HOST_STORAGE.name.lower()
    is_hosts = any(key.partition("__")[0].endswith(host) and value for key, value in _in_any_case(environment).items())
    if not is_hosts:
        yield _missing(HOST_STORAGE.name, BUFFER_STORAGE.allowed, environment)
    try:
        storage = Storage(environment=environment)
    except SettingInvalid:
        if is_hosts:
            fault = f"is set by a name that only the host reads: spell it so, or set {BUFFER_STORAGE.name}"
            yield _fault(HOST_STORAGE.name, fault, BUFFER_STORAGE.allowed)
        return
    try:
        storage.check(queues=flushes_by_queue(environment))
    except SettingInvalid as error:
        yield SettingFault(storage.name, error.message)


def _in_any_case(environment: Mapping[str, str]) -> dict[str, str]:
    """By names in small letters, as the Functions host, for which they do not differ by case."""
    return {name.lower(): value for name, value in environment.items()}


def _missing(name: str, takes: str, environment: Mapping[str, str]) -> SettingFault:
    fault = _fault(name, "is missing", takes)
    hint = next((each for each in misspelt(environment) if each.nearest.partition("__")[0] == name), None)
    return fault if hint is None else SettingFault(name, f"{fault.message} Is {hint.name} meant to be it?")


def _fault(name: str, fault: str, takes: str) -> SettingFault:
    return SettingFault(name, f"{name} {fault}. Allowed: {takes.replace('`', '')}.")
