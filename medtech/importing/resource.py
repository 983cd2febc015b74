"""The resources of the MedTech service in a file: as Azure shows them, or as a template declares them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from medtech.dotnet.json_reader import Node
from medtech.importing.document import Document, Place, Refused, items_of, section_of
from medtech.importing.expression import Deployment, Scope, Unknown
from medtech.mapping.schema import Section, text_of

SERVICE = "microsoft.healthcareapis/workspaces/iotconnectors"
DESTINATION = "microsoft.healthcareapis/workspaces/iotconnectors/fhirdestinations"
_NESTED = "microsoft.resources/deployments"

_TEMPLATE = re.compile(r"deploymenttemplate\.json", re.IGNORECASE)
_PARAMETERS = re.compile(r"deploymentparameters\.json", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource. `properties` are its properties, which some commands print beside its name and type.

    `is_conditional`: a template declares it under a condition that only a deployment can evaluate.
    """

    path: Path
    type: str
    section: Section
    properties: Section
    is_conditional: bool = False

    def place(self, node: Node | None = None) -> Place:
        """The place of a value of it, or its own."""
        found = self.section.node if node is None else node
        return Place(self.path, found.line if found.line > 0 else None, found.pointer)


def is_template(document: Document) -> bool:
    return _TEMPLATE.search(_schema(document)) is not None


def is_parameters(document: Document) -> bool:
    return _PARAMETERS.search(_schema(document)) is not None


def given_parameters(document: Document) -> dict[str, Node]:
    """The values of a file of parameters; those that are references to secrets are left out. Raises Refused."""
    found = document.section().find("parameters")
    if found is None or not isinstance(found.value, dict):
        raise Refused(document.place(document.root), "The file of parameters has no 'parameters'. Write them there.")
    values = {name: section_of(entry).find("value") for name, entry in found.value.items()}
    return {name: value for name, value in values.items() if value is not None}


def of_template(document: Document, given: Mapping[str, Node], deployment: Deployment) -> list[Resource]:
    """The service and its destinations that a template deploys, in modules too, with its expressions evaluated.

    Raises Refused for one in a loop, which is several.
    """
    return list(_declared(document.path, document.section(), given, deployment))


def as_shown(document: Document) -> list[Resource]:
    """The service and its destinations that `az resource show`, `az healthcareapis` or `az rest` printed.

    Raises Refused for what is none of them.
    """
    found: list[Resource] = []
    for node in items_of(document.root):
        section = section_of(node)
        properties = section.find("properties")
        holder = section if properties is None else section_of(properties)
        kind = _type_of(section, holder)
        if kind is None:
            raise Refused(document.place(node), _refusal(section))
        if properties is not None and properties.value is None:
            raise Refused(
                document.place(properties),
                "Azure has told this resource without its properties, as in a list. Give what `az resource show` "
                "prints of it.",
            )
        found.append(Resource(document.path, kind, section, holder))
    return found


def _schema(document: Document) -> str:
    found = document.section().find("$schema")
    return "" if found is None else text_of(found) or ""


def _type_of(section: Section, holder: Section) -> str | None:
    """By its type, or, where no type is printed, by what only one of the two has."""
    written = section.find("type")
    if written is not None and written.value is not None:
        kind = (text_of(written) or "").lower()
        return kind if kind in (SERVICE, DESTINATION) else None
    for kind, names in (
        (DESTINATION, ("fhirServiceResourceId", "fhirMapping")),
        (SERVICE, ("ingestionEndpointConfiguration", "deviceMapping")),
    ):
        if any(holder.find(name) is not None for name in names):
            return kind
    return None


def _refusal(section: Section) -> str:
    wanted = "Give what `az resource show` prints of the MedTech service and of its FHIR destination."
    error = section.find("error")
    if error is not None:
        return f"This is an error that Azure answered, and no resource. {wanted}"
    kind = section.find("type")
    if kind is not None and (name := text_of(kind)):
        return f"This is a resource of the type '{name[:120]}'. {wanted}"
    return (
        "This is neither a resource of the MedTech service, nor a template, nor its parameters, nor a list of app "
        f"settings. {wanted}"
    )


def _declared(path: Path, template: Section, given: Mapping[str, Node], deployment: Deployment) -> Iterator[Resource]:
    scope = Scope(template, given, deployment)
    resources = template.find("resources")
    if resources is not None:
        yield from _in_list(path, resources, "", scope)


def _in_list(path: Path, resources: Node, parent: str, scope: Scope) -> Iterator[Resource]:
    """A list; where resources have symbolic names, an object of them."""
    nodes = resources.value.values() if isinstance(resources.value, dict) else items_of(resources)
    for node in nodes:
        section = section_of(node)
        written, existing = section.find("type"), section.find("existing")
        if written is None or (existing is not None and existing.value is True):
            continue
        kind = (text_of(written) or "").lower()
        kind = f"{parent}/{kind}" if parent and not kind.startswith("microsoft.") else kind
        for each in _of_node(path, node, kind, scope):
            if section.find("copy") is not None:
                raise Refused(
                    each.place(),
                    "The template declares it in a loop (copy), which makes several, and one app takes the place of "
                    "one. Give what `az resource show` prints of that one.",
                )
            yield each
        inner = section.find("resources")
        if inner is not None:
            yield from _in_list(path, inner, kind, scope)


def _of_node(path: Path, node: Node, kind: str, scope: Scope) -> Iterator[Resource]:
    """What a resource of a template deploys: itself, or what its module has; nothing if its condition is false."""
    section = section_of(node)
    written = section.find("condition")
    condition = True if written is None else scope.resolved(written).value
    if condition is False:
        return
    is_conditional = isinstance(condition, Unknown)
    if kind == _NESTED:
        for each in _module(path, section, scope):
            yield replace(each, is_conditional=each.is_conditional or is_conditional)
    elif kind in (SERVICE, DESTINATION):
        own = {name: value for name, value in _members(node).items() if name.lower() != "resources"}
        resolved = section_of(scope.resolved(Node(own, node.line, node.position, node.path)))
        yield Resource(path, kind, resolved, section_of(resolved.find("properties")), is_conditional)


def _module(path: Path, section: Section, scope: Scope) -> Iterator[Resource]:
    """A nested deployment. Its expressions have the parameters and variables of the template around it, unless it is
    said to be evaluated by itself, as what a Bicep module becomes.

    https://learn.microsoft.com/azure/azure-resource-manager/templates/linked-templates#expression-evaluation-scope-in-nested-templates
    """
    properties = section_of(section.find("properties"))
    template = section_of(properties.find("template"))
    evaluated = section_of(properties.find("expressionEvaluationOptions")).find("scope")
    if evaluated is None or (text_of(evaluated) or "").lower() != "inner":
        resources = template.find("resources")
        if resources is not None:
            yield from _in_list(path, resources, "", scope)
        return
    given = {}
    for name, entry in _members(properties.find("parameters")).items():
        value = section_of(entry).find("value")
        if value is not None:
            given[name] = scope.resolved(value)
    yield from _declared(path, template, given, _deployed_to(section, scope))


def _deployed_to(section: Section, scope: Scope) -> Deployment:
    """Where a nested deployment goes: it may name another resource group, and another subscription."""

    def named(name: str, otherwise: str) -> str:
        written = section.find(name)
        if written is None:
            return otherwise
        found = scope.resolved(written)
        return "" if isinstance(found.value, Unknown) else text_of(found) or ""

    around = scope.deployment
    return Deployment(named("subscriptionId", around.subscription), named("resourceGroup", around.resource_group))


def _members(node: Node | None) -> dict[str, Node]:
    return node.value if node is not None and isinstance(node.value, dict) else {}
