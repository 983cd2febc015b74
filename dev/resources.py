"""What the FHIR server holds: read page by page, or exported to a file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from medtech.transform.fhir_json import dump_resource, parse_resource

EXPORTED_TYPES = ("Patient", "Device", "Observation")


def search(fhir_url: str, resource_type: str) -> Iterator[dict[str, Any]]:
    """The resources of a type, to the last page; numbers are `int` or `Decimal`."""
    following: str | None = f"{fhir_url}/{resource_type}?_count=500"
    while following is not None:
        answer = httpx.get(following, timeout=30)
        answer.raise_for_status()
        bundle = parse_resource(answer.content)
        yield from (entry["resource"] for entry in bundle.get("entry", []))
        following = next((link["url"] for link in bundle.get("link", []) if link["relation"] == "next"), None)


def export(fhir_url: str, path: Path) -> int:
    """Writes all Patients, Devices and Observations to a file as NDJSON; returns how many there are.

    Each resource is a line, in JSON with the digits that the server gave its numbers. An existing file is replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with path.open("wb") as file:
        for resource_type in EXPORTED_TYPES:
            for resource in search(fhir_url, resource_type):
                file.write(dump_resource(resource) + b"\n")
                count += 1
    return count
