"""`python -m medtech mapping accept`: which mapping is put in force, and what came of it."""

import json
from typing import Annotated

import typer

from medtech.errors import MedTechError

KINDS = ("device", "fhir")

app = typer.Typer(no_args_is_help=True)


@app.callback()
def mapping() -> None:
    """The mappings in force."""


@app.command()
def accept(
    kind: Annotated[
        str | None, typer.Option(help="Only this mapping, device or fhir; both if it is left out.", metavar="KIND")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Put this deployment's mappings in force although newer ones are: a rollback.

    Reads the app's settings (DEVICE_MAPPING, FHIR_MAPPING, BufferStorage) from the environment. Instances that offer
    the displaced mapping hold it back from then on; a deployment to come displaces what is accepted here. The exit code
    is 0 if each mapping is in force, 1 if one is not: it is broken, or storage cannot be reached.
    """
    if kind is not None and kind.lower() not in KINDS:
        raise typer.BadParameter(f"'{kind}' is neither {' nor '.join(KINDS)}.", param_hint="--kind")
    results = []
    for each in KINDS if kind is None else (kind.lower(),):
        try:
            results.append(_accept(each))
        except MedTechError as error:
            results.append({"kind": each, "accepted": False, "error": error.message})
    if as_json:
        typer.echo(json.dumps(results))
    else:
        for result in results:
            typer.echo(_sentence(result), err=not result["accepted"])
    if not all(result["accepted"] for result in results):
        raise typer.Exit(1)


def _accept(kind: str) -> dict[str, str | bool | None]:
    from medtech import parts

    store = parts.device_mapping() if kind == "device" else parts.fhir_mapping()
    accepted = store.accept()
    return {"kind": kind, "accepted": True, "inForce": accepted.text, "before": accepted.before}


def _sentence(result: dict[str, str | bool | None]) -> str:
    if not result["accepted"]:
        return f"The {result['kind']} mapping is not accepted, and nothing has changed: {result['error']}"
    text, before = str(result["inForce"])[:12], result["before"]
    if before == result["inForce"]:
        return f"The {result['kind']} mapping {text} was in force already."
    replaced = f", in place of {str(before)[:12]}" if before else ""
    return f"The {result['kind']} mapping {text} is in force{replaced}. Instances take it within 30 seconds."
