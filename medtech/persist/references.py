"""Identifiers and references: how a resource is searched, compared, named and pointed to."""

import re
from hashlib import sha256
from typing import NamedTuple
from urllib.parse import quote

from medtech.dotnet.text import well_formed
from medtech.persist.answers import Resource

INDEXED_CHARACTERS = 128
"""Some servers keep only so much of an identifier for search; the rest is compared here."""


class Identifier(NamedTuple):
    """A business identifier. An empty `system` matches any system."""

    system: str
    value: str

    @classmethod
    def of(cls, system: str, value: str) -> "Identifier":
        """Half a surrogate pair, which a message may hold and JSON on the wire may not, becomes U+FFFD as in .NET."""
        return cls(system, well_formed(value))

    def search_value(self) -> str:
        """The token of a search (FHIR R4 search, "escaping"); a long value is also searched as servers cut it."""
        values = [self.value]
        if len(self.value) > INDEXED_CHARACTERS:
            values.append(self.value[:INDEXED_CHARACTERS])
        prefix = f"{_escaped(self.system)}|" if self.system else ""
        return ",".join(f"{prefix}{_escaped(value)}" for value in values)

    def search_url(self, resource_type: str) -> str:
        return f"{resource_type}?identifier={quote(self.search_value(), safe='')}"

    def is_on(self, resource: Resource) -> bool:
        """An exact comparison: servers match without regard to case, or cut long values."""
        return any(
            each.get("value") == self.value and (not self.system or each.get("system") == self.system)
            for each in resource.get("identifier") or []
        )

    def resource_id(self) -> str:
        """The id of a Patient or Device that this product creates: the connector's, so both make the same one."""
        return sha256(f"{self.system}_{self.value}".encode()).hexdigest()

    def element(self) -> Resource:
        """The identifier as FHIR writes it."""
        return {"system": self.system, "value": self.value} if self.system else {"value": self.value}


def _escaped(text: str) -> str:
    return re.sub(r"([\\,|$])", r"\\\1", text)


def referred_id(reference: Resource | None, resource_type: str) -> str | None:
    """The id in a literal reference to a resource of that type: relative, absolute or with a version.

    None for a logical reference (identifier only), a contained resource (`#…`), a `urn:`, or another type.
    """
    text = (reference or {}).get("reference") or ""
    found = re.fullmatch(rf"(?:https?://[^?#]+/)?{resource_type}/([A-Za-z0-9.-]{{1,64}})(?:/_history/[^/]+)?", text)
    return found.group(1) if found else None
