"""The export holds what the FHIR server holds, to the last page and the last digit."""

import json
from pathlib import Path
from typing import Any

import httpx

from dev.resources import export
from tests.fhir_server import FhirServer


def put(server: FhirServer, resources: list[dict[str, Any]]) -> None:
    entries = [
        {"resource": each, "request": {"method": "PUT", "url": f"{each['resourceType']}/{each['id']}"}}
        for each in resources
    ]
    answer = httpx.post(
        server.url,
        content=json.dumps({"resourceType": "Bundle", "type": "batch", "entry": entries}).replace('"98.60"', "98.60"),
        headers={"content-type": "application/fhir+json"},
    )
    assert [entry["response"]["status"][:3] for entry in answer.json()["entry"]] == ["201"] * len(resources)


def test_every_page_of_the_three_types_is_exported(own_fhir: FhirServer, tmp_path: Path) -> None:
    for resource_type, count in (("Observation", 501), ("Device", 2), ("Patient", 3), ("Encounter", 1)):
        required = {
            "Observation": {"status": "final", "code": {"text": "note"}},
            "Encounter": {"status": "planned", "class": {"code": "AMB"}},
        }.get(resource_type, {})
        put(own_fhir, [{"resourceType": resource_type, "id": f"r{n}", **required} for n in range(count)])
    path = tmp_path / "folder" / "export.ndjson"
    assert export(own_fhir.url, path) == 506
    exported = [json.loads(line) for line in path.read_text().splitlines()]
    types = [each["resourceType"] for each in exported]
    assert types == ["Patient"] * 3 + ["Device"] * 2 + ["Observation"] * 501
    assert len({(each["resourceType"], each["id"]) for each in exported}) == 506


def test_an_export_keeps_digits_and_replaces_the_file(own_fhir: FhirServer, tmp_path: Path) -> None:
    path = tmp_path / "export.ndjson"
    path.write_text("of an earlier run\n" * 2)
    code = {"text": "oxygen saturation"}
    put(
        own_fhir,
        [
            {
                "resourceType": "Observation",
                "id": "o",
                "status": "final",
                "code": code,
                "valueQuantity": {"value": "98.60"},
            }
        ],
    )
    assert export(own_fhir.url, path) == 1
    [line] = path.read_text().splitlines()
    assert '"valueQuantity":{"value":98.60}' in line
