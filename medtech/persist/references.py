"""Identifiers and references: how a resource is searched, compared, named and pointed to."""

import re
from collections.abc import Iterable
from hashlib import sha256
from typing import Any, NamedTuple
from urllib.parse import quote

from medtech.dotnet.text import well_formed
from medtech.errors import MultipleResourceFound
from medtech.persist.answers import Resource

INDEXED_CHARACTERS = 128
"""Some servers index only so much of an identifier; the rest is compared here."""


class Identifier(NamedTuple):
    """A business identifier. An empty `system` matches any system."""

    system: str
    value: str

    @classmethod
    def of(cls, system: str, value: str) -> "Identifier":
        """Half a surrogate pair, which a message may hold but JSON on the wire may not, becomes U+FFFD as in .NET."""
        return cls(system, well_formed(value))

    def search_value(self) -> str:
        """The token of a search (FHIR R4 search, "escaping"); a long value is searched in its cut form too."""
        values = [self.value]
        if len(self.value) > INDEXED_CHARACTERS:
            values.append(self.value[:INDEXED_CHARACTERS])
        prefix = f"{_escaped(self.system)}|" if self.system else ""
        return ",".join(f"{prefix}{_escaped(value)}" for value in values)

    def search_url(self, resource_type: str) -> str:
        return f"{resource_type}?identifier={quote(self.search_value(), safe='')}"

    def is_on(self, resource: Resource) -> bool:
        """Compared exactly: servers match without regard to case, or cut long values."""
        return any(
            each.get("value") == self.value and (not self.system or each.get("system") == self.system)
            for each in _identifiers(resource)
        )

    def resource_id(self) -> str:
        """The id of a Patient or Device that this product creates: the connector's, so both make the same one."""
        return sha256(f"{self.system}_{self.value}".encode()).hexdigest()

    def element(self) -> Resource:
        """The identifier as FHIR writes it."""
        return {"system": self.system, "value": self.value} if self.system else {"value": self.value}


def match_exactly(
    resources: Iterable[Resource], identifiers: Iterable[Identifier]
) -> dict[Identifier, Resource | MultipleResourceFound | None]:
    """The one resource that each identifier is on, None for none.

    `resources` are what searches found, of one type, in any order and possibly several times. They are compared and
    counted here: servers match loosely, and which entry of a batch a resource came in says less than its identifiers.
    """
    by_value: dict[str, dict[str, Resource]] = {}
    for resource in resources:
        for value in {value for each in _identifiers(resource) if isinstance(value := each.get("value"), str)}:
            by_value.setdefault(value, {})[resource["id"]] = resource
    matched: dict[Identifier, Resource | MultipleResourceFound | None] = {}
    for identifier in identifiers:
        exact = [each for each in by_value.get(identifier.value, {}).values() if identifier.is_on(each)]
        matched[identifier] = _several(exact) if len(exact) > 1 else next(iter(exact), None)
    return matched


def _identifiers(resource: Resource) -> list[Resource]:
    """Those that can be read as identifiers: one resource with something else in their place stops no other."""
    found = resource.get("identifier")
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _several(resources: list[Resource]) -> MultipleResourceFound:
    names = ", ".join(f"{each['resourceType']}/{each['id']}" for each in resources[:5])
    return MultipleResourceFound(
        f"{len(resources)} resources have the same identifier: {names}. Leave it on one of them, then replay."
    )


def _escaped(text: str) -> str:
    return re.sub(r"([\\,|$])", r"\\\1", text)


def referred_id(reference: Any, resource_type: str) -> str | None:
    """The id in a literal reference to a resource of that type: relative, absolute or with a version.

    None for a logical reference (identifier only), a contained resource (`#…`), a `urn:`, another type, or what is no
    reference.
    """
    text = reference.get("reference") if isinstance(reference, dict) else None
    if not isinstance(text, str):
        return None
    found = re.fullmatch(rf"(?:https?://[^?#]+/)?{resource_type}/([A-Za-z0-9.-]{{1,64}})(?:/_history/[^/]+)?", text)
    return found.group(1) if found else None
