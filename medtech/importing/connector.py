"""The open-source IoMT FHIR connector: its `template` container as a folder, and its app settings.

Names of settings and of files are those of the connector's own deployment templates
(https://github.com/microsoft/iomt-fhir, deploy/templates). In app settings of Linux `__` stands for `:`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from medtech.address import fault_in_base
from medtech.dotnet.json_reader import Node
from medtech.importing import names
from medtech.importing.document import Document, Place, Refused, read, section_of
from medtech.importing.old_service import OldService
from medtech.importing.service import warn_of_iot_hub
from medtech.mapping.schema import DEVICE, FHIR, CollectionKind, same_kind, text_of
from medtech.settings import ResolutionType
from medtech.setup.check import is_reference

DEVICE_CONTENT = "devicecontent.json"
FHIR_CONTENT = "fhirmapping.json"

_INPUT_HUB, _URL = "InputEventHub", "FhirService:Url"
_RESOLUTION, _SYSTEM = "ResourceIdentity:ResourceIdentityServiceType", "ResourceIdentity:DefaultDeviceIdentifierSystem"
_RESOLUTIONS = {
    "r4deviceandpatientlookupidentityservice": ResolutionType.LOOKUP,
    "r4deviceandpatientcreateidentityservice": ResolutionType.CREATE,
    "r4deviceandpatientwithencounterlookupidentityservice": ResolutionType.LOOKUP_WITH_ENCOUNTER,
}
_SECRETS = ("FhirService:ClientSecret", "FhirService:ClientId", "FhirService:Authority")


def is_app_settings(document: Document) -> bool:
    """Whether a file is what `az functionapp config appsettings list` prints."""
    elements = document.root.value
    return bool(elements) and isinstance(elements, list) and all(_is_setting(each) for each in elements)


def _is_setting(node: Node) -> bool:
    return isinstance(node.value, dict) and {"name", "value"} <= {name.lower() for name in node.value}


def of_folder(folder: Path, settings: Document | None) -> OldService:
    """What the files of the container and the settings say. Raises Refused for a folder that has neither mapping."""
    found = OldService("open-source connector")
    given = {} if settings is None else _by_name(settings)
    files = {
        "deviceMapping": given.get("template:devicecontent") or DEVICE_CONTENT,
        "fhirMapping": given.get("template:fhirmapping") or FHIR_CONTENT,
    }
    texts = {name: _mapping(folder, name, file, found) for name, file in files.items()}
    if not any(texts.values()):
        raise Refused(
            Place(folder),
            f"The folder has neither {DEVICE_CONTENT} nor {FHIR_CONTENT}. Copy the blobs of the connector's container "
            "'template' into it.",
        )
    found.device_mapping, found.fhir_mapping = texts["deviceMapping"], texts["fhirMapping"]
    _take_over(given, settings, found)
    return found


def is_mapping(document: Document) -> bool:
    """Whether a file is one of the two mappings, as it lies in the container."""
    return _kind(document) is not None


def of_files(mappings: Sequence[Document], settings: Document | None) -> OldService:
    """What mappings out of the container, one at least, and the settings say. Raises Refused for two of a kind."""
    found = OldService("open-source connector")
    found.device_mapping = _the_only(mappings, "deviceMapping", DEVICE, DEVICE_CONTENT, found)
    found.fhir_mapping = _the_only(mappings, "fhirMapping", FHIR, FHIR_CONTENT, found)
    _take_over({} if settings is None else _by_name(settings), settings, found)
    return found


def _the_only(
    mappings: Sequence[Document], name: str, kind: CollectionKind, file: str, found: OldService
) -> str | None:
    of_kind = [each for each in mappings if _kind(each) is kind]
    if len(of_kind) > 1:
        raise Refused(of_kind[1].place(of_kind[1].root), f"This is a second {kind.name}. Give one of each kind.")
    if not of_kind:
        place = mappings[0].place(mappings[0].root)
        found.fault(name, f"The {kind.name} was not given. Give {file} of the container, too.", place)
        return None
    return of_kind[0].text


def _kind(document: Document) -> CollectionKind | None:
    written = document.section().find("templateType")
    name = None if written is None else text_of(written)
    return next((kind for kind in (DEVICE, FHIR) if same_kind(name, kind.name)), None)


def _take_over(given: Mapping[str, str], settings: Document | None, found: OldService) -> None:
    if settings is None:
        found.by_hand.append(
            "The connector's app settings were not given: hub, FHIR server and resolution type are missing. Give what "
            "`az functionapp config appsettings list --output json` prints, too."
        )
    else:
        _read_settings(given, settings, found)
    found.by_hand.append(
        "The connector's own grouping: if your store has one Observation for each hour or day of a Quantity, String or "
        "CodeableConcept and that is to stay so, set SINGLE_VALUE_PERIOD=group."
    )


def _mapping(folder: Path, name: str, file: str, found: OldService) -> str | None:
    path = folder / Path(file).name
    if not path.is_file():
        found.fault(name, f"The folder has no {path.name}. Copy that blob of the container, too.", Place(folder))
        return None
    document = read(path)
    kind, other = (DEVICE, FHIR) if name == "deviceMapping" else (FHIR, DEVICE)
    if _kind(document) is other:
        place = document.place(document.section().find("templateType") or document.root)
        raise Refused(place, f"This is the {other.name}, and the {kind.name} is wanted here. Swap them.")
    return document.text


def _by_name(settings: Document) -> Mapping[str, str]:
    assert isinstance(settings.root.value, list)
    found: dict[str, str] = {}
    for each in settings.root.value:
        entry = section_of(each)
        name, value = entry.find("name"), entry.find("value")
        found[str(name and text_of(name)).replace("__", ":").lower()] = (value and text_of(value)) or ""
    return found


def _read_settings(given: Mapping[str, str], settings: Document, found: OldService) -> None:
    place = settings.place(settings.root)
    _read_hub(given.get(_INPUT_HUB.lower(), "").strip(), place, found)
    url = given.get(_URL.lower(), "").strip().rstrip("/")
    if not url or is_reference(url) or fault_in_base(url) or urlsplit(url).scheme != "https":
        found.fault(_URL, f"'{_URL}' is not the https address of a FHIR server. Set FHIR_SERVICE_URL to it.", place)
    else:
        found.fhir_url = url
    written = given.get(_RESOLUTION.lower(), "").strip()
    found.resolution_type = _RESOLUTIONS.get(written.lower())
    if found.resolution_type is None:
        found.fault(
            "resourceIdentityResolutionType",
            f"'{_RESOLUTION}' is none that the app has. Set RESOURCE_IDENTITY_RESOLUTION_TYPE to "
            f"{', '.join(ResolutionType)}, whichever the connector used.",
            place,
        )
    found.device_identifier_system = given.get(_SYSTEM.lower(), "").strip()
    if any(given.get(name.lower()) for name in _SECRETS):
        found.by_hand.append(
            "The connector signs in to the FHIR server with a client of its own. Its secret is not taken over. Give "
            "the app's identity the role FHIR Data Writer, or set FHIR_AUTHENTICATION=client_credentials with the "
            "secret as a Key Vault reference; see docs/fhir-servers.md."
        )


def _read_hub(connection: str, place: Place, found: OldService) -> None:
    """Namespace and hub out of a connection string, and never its key."""
    if is_reference(connection):
        found.fault(
            "fullyQualifiedEventHubNamespace",
            f"'{_INPUT_HUB}' is a reference to a secret. Set EventHubConnection__fullyQualifiedNamespace and "
            "EVENT_HUB_NAME to the namespace and hub that it names.",
            place,
        )
        return
    parts = {
        name.strip().lower(): value.strip()
        for name, _, value in (part.partition("=") for part in connection.split(";"))
    }
    host = parts.get("endpoint", "").removeprefix("sb://").rstrip("/").partition(":")[0]
    if names.namespace_of(host) is None:
        found.fault(
            "fullyQualifiedEventHubNamespace",
            f"'{_INPUT_HUB}' names no Event Hubs namespace. Set EventHubConnection__fullyQualifiedNamespace to "
            "NAMESPACE.servicebus.windows.net.",
            place,
        )
    else:
        found.hub_namespace = host
        warn_of_iot_hub(host, found)
    hub = parts.get("entitypath", "")
    if names.is_hub(hub):
        found.hub = hub
    else:
        found.fault("eventHubName", f"'{_INPUT_HUB}' names no hub (EntityPath). Set EVENT_HUB_NAME to it.", place)
    if parts.get("sharedaccesskey") or parts.get("sharedaccesssignature"):
        found.by_hand.append(
            f"'{_INPUT_HUB}' holds a key. It is in none of the files that were written: the app opens the hub by its "
            "identity, with the role Azure Event Hubs Data Receiver."
        )
