"""Everything that an import is given, read together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medtech.dotnet.json_reader import Node
from medtech.importing import connector, document, resource, service
from medtech.importing.document import Document, Place, Refused
from medtech.importing.expression import Deployment
from medtech.importing.old_service import OldService
from medtech.importing.resource import Resource


def read_all(paths: Sequence[Path], deployment: Deployment) -> OldService:
    """The service that the files configure; what each of them is, its content tells. Raises Refused."""
    try:
        return _read_all(paths, deployment)
    except RecursionError:
        raise Refused(Place(paths[0]), "The files are nested too deeply. No resource is nested so.") from None


def _read_all(paths: Sequence[Path], deployment: Deployment) -> OldService:
    folders = [path for path in paths if path.is_dir()]
    documents = [document.read(path) for path in paths if path not in folders]
    found = _of_documents(paths, folders, documents, deployment)
    # What a file of the connector repeats, validation tells: such a file is taken over as it is.
    resources = [each for each in documents if not connector.is_mapping(each)]
    found.by_hand += [told for each in resources for told in each.repetitions()]
    return found


def _of_documents(
    paths: Sequence[Path], folders: Sequence[Path], documents: Sequence[Document], deployment: Deployment
) -> OldService:
    settings = [each for each in documents if connector.is_app_settings(each)]
    mappings = [each for each in documents if connector.is_mapping(each)]
    if folders or mappings:
        return _connector(folders, mappings, settings, documents)
    if settings:
        raise Refused(
            settings[0].place(settings[0].root),
            "These are app settings of the open-source connector. Give the files of its container 'template', or the "
            "folder with them, too.",
        )
    given: dict[str, Node] = {}
    for each in documents:
        if resource.is_parameters(each):
            given |= resource.given_parameters(each)
    templates = [each for each in documents if resource.is_template(each)]
    found: list[Resource] = []
    for each in templates:
        found += resource.of_template(each, given, deployment)
    if given and not templates:
        raise Refused(
            Place(paths[0]), "There are only parameters of a template. Give the template that they are for, too."
        )
    if templates and not found:
        raise Refused(
            templates[0].place(templates[0].root),
            "The template deploys neither a MedTech service nor a FHIR destination. Give the one that does, with the "
            "parameters of its conditions.",
        )
    for each in documents:
        if not resource.is_parameters(each) and each not in templates:
            found += resource.as_shown(each)
    if not found:
        raise Refused(Place(paths[0]), "There is no resource in it. Give what `az resource show` prints.")
    return service.of_resources(found)


def _connector(
    folders: Sequence[Path], mappings: Sequence[Document], settings: Sequence[Document], documents: Sequence[Document]
) -> OldService:
    wanted = settings if folders else [*settings, *mappings]
    others = [each for each in documents if each not in wanted]
    if others:
        raise Refused(
            others[0].place(others[0].root),
            "Beside the open-source connector's mappings, or the folder with them, only its app settings are read. "
            "Give the MedTech service's resources by themselves.",
        )
    if len(folders) > 1 or len(settings) > 1:
        raise Refused(Place((folders if len(folders) > 1 else [each.path for each in settings])[1]), _ONE)
    given = settings[0] if settings else None
    return connector.of_folder(folders[0], given) if folders else connector.of_files(mappings, given)


_ONE = "One connector is imported at a time. Give one folder, and one list of app settings."
