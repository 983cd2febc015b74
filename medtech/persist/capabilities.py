"""What the FHIR server says it can do (CapabilityStatement)."""

from typing import Any, NamedTuple

from medtech.errors import FhirAccessDenied
from medtech.persist.answers import Resource


class Capabilities(NamedTuple):
    """`batch`: the server takes bundles; otherwise each interaction is a request of its own.

    `search_in_batch`: it takes searches in them too. No statement says so; it is assumed until the server refuses them.
    """

    batch: bool
    search_in_batch: bool = True


def read_capabilities(statement: Resource) -> Capabilities:
    """Raises FhirAccessDenied for a server that this product cannot write to without losing data.

    Without versions two writers overwrite each other; without create-by-PUT an Observation does not get the id by
    which it is found again. What a statement leaves out is assumed to be supported; if it is not, the server's answers
    will show it.
    """
    fhir_version = str(statement.get("fhirVersion", ""))
    if not fhir_version.startswith("4."):
        raise FhirAccessDenied(
            f"The server at FHIR_SERVICE_URL speaks FHIR {fhir_version or '(no version)'}. Set it to one of FHIR "
            "R4 (4.0.1)."
        )
    rest: dict[str, Any] = next((rest for rest in statement.get("rest") or [] if rest.get("mode") == "server"), {})
    resources = rest.get("resource") or []
    observation: dict[str, Any] | None = next((each for each in resources if each.get("type") == "Observation"), None)
    if observation is None:
        raise FhirAccessDenied(
            "The server at FHIR_SERVICE_URL does not serve Observations. Set it to a FHIR R4 server that does."
        )
    if observation.get("versioning") == "no-version":
        raise FhirAccessDenied(
            "The server at FHIR_SERVICE_URL keeps no versions of Observations, so two writers would overwrite each "
            "other. Turn versioning on, or use another server."
        )
    if observation.get("updateCreate") is False:
        raise FhirAccessDenied(
            "The server at FHIR_SERVICE_URL does not let a client create an Observation under an id of its own "
            "(updateCreate). Allow it, or use another server."
        )
    system_interactions = {each.get("code") for each in rest.get("interaction") or []}
    return Capabilities(batch=bool(system_interactions & {"batch", "transaction"}))
