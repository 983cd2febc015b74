"""`python -m medtech schema`: the JSON Schema of a mapping, for editors."""

import json
from enum import StrEnum
from typing import Annotated

import typer


class Kind(StrEnum):
    DEVICE = "device"
    FHIR = "fhir"


def schema(kind: Annotated[Kind, typer.Argument(help="Of which mapping.", case_sensitive=False)]) -> None:
    """Print the JSON Schema of a mapping: editors complete names by it and mark what the app would refuse.

    Example: python -m medtech schema device > device-mapping.schema.json
    """
    from medtech.mapping.json_schema import device_schema, fhir_schema

    made = device_schema() if kind is Kind.DEVICE else fhir_schema()
    typer.echo(json.dumps(made, indent=2))
