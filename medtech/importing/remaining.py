"""What an import leaves to people, with what to do about it."""

from __future__ import annotations

from collections.abc import Iterator

from medtech.importing import names
from medtech.importing.app_settings import FIRST_WRITE, consumer_group
from medtech.importing.old_service import OldService


def by_hand(old: OldService) -> list[str]:
    """Whole sentences. They may hold names as the resources have them, which nobody has checked."""
    return [*old.by_hand, *_writing(), *_group(old), *_identity(old), *_deploying(old)]


def _writing() -> Iterator[str]:
    yield (
        f"FHIR_WRITE is {FIRST_WRITE} in local.settings.json and, unless azd's environment says otherwise, in "
        "main.parameters.json: the app writes nothing to the FHIR server, and says in what it would differ from the "
        "service. Set it to write when you switch."
    )


def _group(old: OldService) -> Iterator[str]:
    theirs = f"'{old.consumer_group}', which the service reads" if old.consumer_group else "the service's"
    yield (
        f"Consumer group: the app has one of its own, '{consumer_group(old)}', and never {theirs}: two readers of one "
        "group take the partitions from each other. The templates in infra/ create it, and roles.sh does. A namespace "
        "of the Basic tier takes no further group; scale it to Standard first."
    )


def _identity(old: OldService) -> Iterator[str]:
    yield (
        "Identity: the templates in infra/ create one for the app and give it its roles. For a function app that you "
        "have, run roles.sh. The local run signs in as you (`az login`), so you need the same roles."
    )
    for each in old.identities:
        if each.resource_id:
            client_id = f" {each.client_id}" if each.client_id else ""
            yield (
                f"The service's user-assigned identity {each.resource_id} has roles on hub and FHIR service already. A "
                "function app that you have can take it over: assign it there, and set AZURE_CLIENT_ID and "
                f"EventHubConnection__clientId to its client id{client_id}."
            )
        else:
            yield "The service's system-assigned identity ends with the service. It is not taken over."


def _deploying(old: OldService) -> Iterator[str]:
    yield (
        "Deploying: copy the two mappings into mappings/ and main.parameters.json over infra/main.parameters.json. "
        "Look what other parameters the latter had."
    )
    if old.hub_namespace and not names.is_built_in(old.hub_namespace):
        yield (
            f"The resource id of the namespace {old.hub_namespace} is not in the service's resource. Before `azd up`: "
            "`azd env set EVENT_HUB_NAMESPACE_ID ID`. Without it a new namespace would be created."
        )
    if old.fhir_service is not None:
        yield (
            "FHIR_SERVICE_URL is the usual address of the FHIR service. Compare it with the one that "
            "`az resource show` prints of the FHIR service, `properties.authenticationConfiguration.audience`."
        )
    elif old.fhir_url is not None:
        yield (
            "The FHIR server is known by its address alone, so no role is given on it. If it is a FHIR service of "
            "Azure Health Data Services, give fhirServiceId in place of fhirServiceUrl."
        )
    if "${" in old.device_identifier_system:
        yield (
            "DEFAULT_DEVICE_IDENTIFIER_SYSTEM holds '${', where azd would put something else. It is in "
            "local.settings.json, and not among the parameters."
        )
