"""`python -m medtech import`: what a MedTech service or a connector was configured with, as files of this app."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medtech.command.terminal import console, printable

if TYPE_CHECKING:
    from medtech.command.import_report import ImportReport
    from medtech.importing.old_service import OldService

LOCAL_SETTINGS = "local.settings.json"
PARAMETERS = "main.parameters.json"
ROLES = "roles.sh"
REPORT = "report.md"


def import_service(
    paths: Annotated[
        list[Path],
        typer.Argument(
            help="What az prints of the MedTech service and of its FHIR destination; or a template, and its "
            "parameters; or the connector's mappings, or a folder with them, and its app settings. Which a file is, "
            "its content tells.",
            metavar="SERVICE.json [DESTINATION.json]",
            exists=True,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(help="The folder to write to. It is made if it is not there.", metavar="DIR", file_okay=False),
    ],
    force: Annotated[bool, typer.Option("--force", help="Write over files of an earlier import.")] = False,
    subscription: Annotated[
        str, typer.Option(help="The subscription that a template is deployed to, for its resourceId().", metavar="ID")
    ] = "",
    resource_group: Annotated[
        str, typer.Option(help="The resource group that a template is deployed to.", metavar="NAME")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Take over a MedTech service: its mappings, its settings, parameters for infra/, its roles, and a report.

    Nothing outside is asked, and no secret is written. The exit code is 0, 1 if something of the service or its
    mappings is wrong, 2 if a file cannot be imported.

    Example: python -m medtech import service.json destination.json --out imported
    """
    from medtech.command import import_report
    from medtech.importing import names, sources
    from medtech.importing.document import Refused
    from medtech.importing.expression import Deployment

    if subscription and not names.is_uuid(subscription):
        raise typer.BadParameter("Give the id of a subscription, 32 hex digits.", param_hint="--subscription")
    if resource_group and not names.is_resource_group(resource_group):
        raise typer.BadParameter("Give the name of a resource group.", param_hint="--resource-group")
    try:
        old = sources.read_all(paths, Deployment(subscription, resource_group))
    except Refused as refusal:
        raise typer.BadParameter(printable(str(refusal)), param_hint="SERVICE.json") from None
    files = _files(old, out)
    if not force:
        _refuse_to_overwrite(out, [*files, REPORT])
    report = import_report.of_service(old, out, [*files, REPORT])
    _write(out, {**files, REPORT: import_report.markdown(report)}, force=force)
    _show(report, as_json=as_json)
    if report.is_faulty:
        raise typer.Exit(1)


def _files(old: OldService, out: Path) -> dict[str, str]:
    """What is written besides the report, by the names of the files."""
    from medtech.importing import app_settings, parameters, roles

    texts = {
        app_settings.DEVICE_MAPPING_FILE: old.device_mapping,
        app_settings.FHIR_MAPPING_FILE: old.fhir_mapping,
        LOCAL_SETTINGS: _json(app_settings.local_settings(old, out)),
        PARAMETERS: _json(parameters.main_parameters(old)),
        ROLES: roles.commands(old),
    }
    return {name: text for name, text in texts.items() if text is not None}


def _json(document: Mapping[str, object]) -> str:
    return json.dumps(document, indent=2) + "\n"


def _refuse_to_overwrite(out: Path, names: list[str]) -> None:
    there = [name for name in names if (out / name).exists() or (out / name).is_symlink()]
    if there:
        raise typer.BadParameter(
            f"{out} has {', '.join(there)} already. Nothing was written. Give another folder, or --force.",
            param_hint="--out",
        )


def _write(out: Path, texts: Mapping[str, str], *, force: bool) -> None:
    """Writes the files, never through a link to another file."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            path = out / name
            if force:
                path.unlink(missing_ok=True)
            with path.open("x", encoding="utf-8", newline="\n") as file:
                file.write(text)
    except OSError as error:
        raise typer.BadParameter(f"A file cannot be written there: {error.strerror}.", param_hint="--out") from None


def _show(report: ImportReport, *, as_json: bool) -> None:
    from medtech.command import import_report

    if as_json:
        typer.echo(json.dumps(import_report.document(report)))
        return
    for line in import_report.lines(report):
        console().print(line, soft_wrap=True)
