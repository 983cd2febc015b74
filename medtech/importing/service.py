"""The MedTech service and its FHIR destination: what their resources say.

The properties are those of API 2022-06-01 and 2023-11-01 of Microsoft.HealthcareApis, which do not differ. What is
wrong with one is told by its name, as in the service's documentation of its Setup errors.
"""

from __future__ import annotations

from collections.abc import Sequence

from medtech.dotnet.json_reader import LocatedSyntaxError, Node, parse_located
from medtech.dotnet.text import is_blank
from medtech.importing import names
from medtech.importing.document import Refused, section_of
from medtech.importing.expression import Unknown, unknown_in
from medtech.importing.mapping_text import TooLong, mapping_text
from medtech.importing.old_service import Identity, OldService
from medtech.importing.resource import DESTINATION, SERVICE, Resource
from medtech.mapping.schema import Section, describe, text_of
from medtech.settings import ResolutionType

_READY = "succeeded"


def of_resources(resources: Sequence[Resource]) -> OldService:
    """What the resources say, of which there is at least one. Raises Refused if there are two of a kind."""
    found = OldService("MedTech service")
    found.by_hand += [
        f"The template deploys this only under a condition that nothing here decides ({each.place()}). Look whether it "
        "does in your deployment, or give the file of parameters."
        for each in resources
        if each.is_conditional
    ]
    service, destination = _the_only(resources, SERVICE), _the_only(resources, DESTINATION)
    if service is not None:
        _read_service(service, found)
    else:
        found.fault(
            "iotconnectors",
            "The MedTech service itself was not given: hub, consumer group and device mapping are missing. Give what "
            "`az resource show` prints of it, too.",
            resources[0].place(),
        )
    if destination is not None:
        _read_destination(destination, found)
    else:
        found.fault(
            "fhirdestinations",
            "The FHIR destination was not given: FHIR service, resolution type and FHIR mapping are missing. It is a "
            "resource of its own, …/iotconnectors/NAME/fhirdestinations/NAME. Give what `az resource show` prints of "
            "it, too.",
            resources[0].place(),
        )
    if service is not None and destination is not None:
        _compare(service, destination, found)
    return found


def _the_only(resources: Sequence[Resource], kind: str) -> Resource | None:
    found = [each for each in resources if each.type == kind]
    if len(found) > 1:
        noun = "MedTech services" if kind == SERVICE else "FHIR destinations"
        raise Refused(
            found[1].place(),
            f"There are {len(found)} {noun} in what was given, and one app takes the place of one. Give one of them.",
        )
    return found[0] if found else None


def _read_service(resource: Resource, found: OldService) -> None:
    found.name = _known(resource.section, "name") or ""
    _read_state(resource, found)
    endpoint = resource.properties.find("ingestionEndpointConfiguration")
    hub = section_of(endpoint)
    at = resource.properties.node if endpoint is None else endpoint
    found.hub_namespace = _namespace(resource, hub, at, found)
    found.hub = _hub(resource, hub, at, found)
    # The group of the service is only told: the app reads by one of its own.
    group = _known(hub, "consumerGroup")
    found.consumer_group = None if group is None else group.rpartition("/")[2] or None
    found.identities = _identities(resource)
    found.device_mapping = _mapping(resource, "deviceMapping", found)


def _read_destination(resource: Resource, found: OldService) -> None:
    found.name = found.name or (_known(resource.section, "name") or "").rpartition("/")[0]
    _read_state(resource, found)
    name = "fhirServiceResourceId"
    written = _required(resource, resource.properties, name, resource.properties.node, found)
    if written is not None:
        found.fhir_service = names.fhir_service_of(written.strip())
        if found.fhir_service is None:
            found.fault(
                name,
                f"'{name}' is not the resource id of a FHIR service of Azure Health Data Services. Write "
                "/subscriptions/SUBSCRIPTION/resourceGroups/GROUP/providers/Microsoft.HealthcareApis/workspaces/"
                "WORKSPACE/fhirservices/NAME. From Azure API for FHIR, move to such a service first.",
                resource.place(resource.properties.find(name)),
            )
    name = "resourceIdentityResolutionType"
    written = _required(resource, resource.properties, name, resource.properties.node, found)
    if written is not None:
        found.resolution_type = next((each for each in ResolutionType if each.lower() == written.strip().lower()), None)
        if found.resolution_type is None:
            found.fault(
                name,
                f"'{name}' is none that the service has. Write Create or Lookup, whichever the service used.",
                resource.place(resource.properties.find(name)),
            )
    found.fhir_mapping = _mapping(resource, "fhirMapping", found)


def _read_state(resource: Resource, found: OldService) -> None:
    state = _known(resource.properties, "provisioningState")
    if state is not None and state.lower() != _READY:
        found.by_hand.append(
            f"{resource.place()}: 'provisioningState' is {state[:40]}, so the service may run with other values than "
            "these. Wait until it is Succeeded, or mend the resource, then import again."
        )


def _compare(service: Resource, destination: Resource, found: OldService) -> None:
    """Whether the destination is the service's own, and where it is."""
    service_id, destination_id = _known(service.section, "id"), _known(destination.section, "id")
    if service_id and destination_id and not destination_id.lower().startswith(service_id.lower() + "/"):
        found.fault(
            "fhirdestinations",
            "The FHIR destination belongs to another MedTech service. Give the one whose id begins with that of the "
            "service.",
            destination.place(destination.section.find("id")),
        )
    places = [_known(each.section, "location") for each in (service, destination)]
    if all(places) and len({str(place).replace(" ", "").lower() for place in places}) > 1:
        found.fault(
            "location",
            "'location' of the FHIR destination is not that of the MedTech service, as it has to be. Look whether they "
            "belong together.",
            destination.place(destination.section.find("location")),
        )


def _required(resource: Resource, section: Section, name: str, at: Node, found: OldService) -> str | None:
    """A text that has to be there; None if it is not, which is a fault."""
    node = section.find(name)
    if node is None or node.value is None or (isinstance(node.value, str) and is_blank(node.value)):
        state = "is absent" if node is None else "has no value"
        found.fault(name, f"'{name}' {state}. Write it, the app needs it.", resource.place(node or at))
        return None
    if isinstance(node.value, Unknown):
        found.fault(name, _only_deployed(name), resource.place(node))
        return None
    text = text_of(node)
    if text is None:
        found.fault(name, f"'{name}' is {describe(node)}. Write a text.", resource.place(node))
    return text


def _only_deployed(name: str) -> str:
    return (
        f"'{name}' has an expression that only a deployment can evaluate. Give the file of parameters too, "
        "`--subscription` and `--resource-group` for resourceId(), or what `az resource show` prints once it is "
        "deployed."
    )


def _known(section: Section, name: str) -> str | None:
    node = section.find(name)
    return None if node is None or isinstance(node.value, Unknown) else text_of(node)


def _namespace(resource: Resource, hub: Section, at: Node, found: OldService) -> str | None:
    name = "fullyQualifiedEventHubNamespace"
    written = _required(resource, hub, name, at, found)
    if written is None:
        return None
    host = written.strip()
    if names.namespace_of(host) is None:
        found.fault(
            name,
            f"'{name}' is not the host name of an Event Hubs namespace. Write NAMESPACE.servicebus.windows.net.",
            resource.place(hub.find(name)),
        )
        return None
    warn_of_iot_hub(host, found)
    return host


def _hub(resource: Resource, hub: Section, at: Node, found: OldService) -> str | None:
    name = "eventHubName"
    written = _required(resource, hub, name, at, found)
    if written is None or names.is_hub(written.strip()):
        return None if written is None else written.strip()
    found.fault(
        name,
        f"'{name}' is not the name of a hub. Write 1 to 256 letters, digits, periods, hyphens and underscores, with a "
        "letter or digit at both ends.",
        resource.place(hub.find(name)),
    )
    return None


def warn_of_iot_hub(host: str, found: OldService) -> None:
    if names.is_built_in(host):
        found.by_hand.append(
            "The namespace is the built-in endpoint of an IoT hub, which knows no Entra ID. Route the messages into a "
            "hub of your own, or put the endpoint's connection string into a key vault and give "
            "eventHubConnectionSecretUri; see docs/deploy.md."
        )


def _identities(resource: Resource) -> list[Identity]:
    identity = section_of(resource.section.find("identity"))
    found: list[Identity] = []
    kind = (_known(identity, "type") or "").lower()
    if "systemassigned" in kind:
        found.append(Identity("", _uuid(identity, "principalId"), ""))
    users = identity.find("userAssignedIdentities")
    if users is not None and isinstance(users.value, dict):
        for resource_id, node in users.value.items():
            user = section_of(node)
            found.append(Identity(resource_id, _uuid(user, "principalId"), _uuid(user, "clientId")))
    return found


def _uuid(section: Section, name: str) -> str:
    text = _known(section, name) or ""
    return text if names.is_uuid(text) else ""


def _mapping(resource: Resource, name: str, found: OldService) -> str | None:
    """The text of a mapping; None where there is none, which is a fault."""
    holder = resource.properties.find(name)
    content = section_of(holder).find("content")
    if content is None or content.value is None:
        at = resource.properties.node if holder is None else holder
        found.fault(name, f"'{name}' has no content: the service has no such mapping. Write one.", resource.place(at))
        return None
    unknown = unknown_in(content)
    if unknown is not None:
        found.fault(name, _only_deployed(name), resource.place(unknown))
        return None
    if isinstance(content.value, str):
        try:
            content = parse_located(content.value)
        except LocatedSyntaxError as error:
            found.fault(
                name,
                f"The content of '{name}' is a text that is not JSON: {error.message} (its line {error.line}). Write "
                "the mapping itself, as an object.",
                resource.place(section_of(holder).find("content")),
            )
            return None
    if not isinstance(content.value, dict):
        found.fault(
            name,
            f"The content of '{name}' is {describe(content)}. Write the mapping itself, as an object.",
            resource.place(section_of(holder).find("content")),
        )
        return None
    try:
        return mapping_text(content)
    except TooLong:
        found.fault(
            name, f"'{name}' is longer than any service takes. Give the mapping itself.", resource.place(holder)
        )
        return None
