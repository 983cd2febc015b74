"""The commands that give the app what the service had: a consumer group, and roles on hub, FHIR service and storage."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from medtech.importing import names
from medtech.importing.app_settings import consumer_group
from medtech.importing.old_service import OldService

# Of infra/roles.bicep, which gives the same roles where the templates in infra/ are deployed.
EVENT_HUBS_DATA_RECEIVER = "a638d3c7-ab3a-418d-83e6-5f17a39d4fde"
FHIR_DATA_WRITER = "3f88fce4-5892-4214-ae73-ba5294559913"
STORAGE_BLOB_DATA_OWNER = "b7e6dc6d-f1e8-4753-8033-0f276bb0955b"
STORAGE_TABLE_DATA_CONTRIBUTOR = "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3"

_BEFORE = """\
#!/bin/sh
# Roles of the app, and its consumer group, for a function app that you have. The templates in infra/ do all of this by
# themselves. Set before: PRINCIPAL_ID, the object id of the app's identity; STORAGE_ACCOUNT_ID, the resource id of the
# app's storage account.
set -eu
: "${PRINCIPAL_ID:?Set it to the object id of the identity of the app}"
: "${STORAGE_ACCOUNT_ID:?Set it to the resource id of the storage account of the app}"
"""


def commands(old: OldService) -> str:
    """A shell script. Names of the service are in it only where they have the form of such names, and quoted."""
    return "\n".join([_BEFORE, *_hub(old), *_fhir(old), *_storage()])


def _hub(old: OldService) -> Iterator[str]:
    namespace = names.namespace_of(old.hub_namespace or "")
    if namespace is None or not old.hub:
        yield "# The hub of the service is not known: give the app Azure Event Hubs Data Receiver on it.\n"
        return
    if names.is_built_in(old.hub_namespace or ""):
        yield (
            "# The hub is the built-in endpoint of an IoT hub, which has no roles. Its consumer group, with the IoT "
            "hub's own name:\n"
            f"# az iot hub consumer-group create --hub-name IOT-HUB --name {shlex.quote(consumer_group(old))}\n"
        )
        return
    yield (
        "# The hub. Set EVENT_HUB_NAMESPACE_ID to its namespace's resource id if that is in another subscription.\n"
        'if [ -z "${EVENT_HUB_NAMESPACE_ID:-}" ]; then\n'
        "  EVENT_HUB_NAMESPACE_ID=$(az resource list --resource-type Microsoft.EventHub/namespaces "
        f"--name {shlex.quote(namespace)} --query '[0].id' --output tsv)\n"
        "fi\n"
        ': "${EVENT_HUB_NAMESPACE_ID:?Set it to the resource id of the namespace}"'
    )
    yield (
        'az eventhubs eventhub consumer-group create --subscription "$(echo "$EVENT_HUB_NAMESPACE_ID" | cut -d/ -f3)" '
        f'--resource-group "$(echo "$EVENT_HUB_NAMESPACE_ID" | cut -d/ -f5)" --namespace-name {shlex.quote(namespace)} '
        f"--eventhub-name {shlex.quote(old.hub)} --name {shlex.quote(consumer_group(old))}\n"
    )
    hub = shlex.quote(f"/eventhubs/{old.hub}")
    yield _assignment("Azure Event Hubs Data Receiver", EVENT_HUBS_DATA_RECEIVER, f'"$EVENT_HUB_NAMESPACE_ID"{hub}')


def _fhir(old: OldService) -> Iterator[str]:
    if old.fhir_service is None:
        yield "# The FHIR service is not known by its resource id: give the app FHIR Data Writer on it.\n"
    else:
        yield _assignment("FHIR Data Writer", FHIR_DATA_WRITER, shlex.quote(old.fhir_service.resource_id))


def _storage() -> Iterator[str]:
    yield _assignment("Storage Blob Data Owner", STORAGE_BLOB_DATA_OWNER, '"$STORAGE_ACCOUNT_ID"')
    yield _assignment("Storage Table Data Contributor", STORAGE_TABLE_DATA_CONTRIBUTOR, '"$STORAGE_ACCOUNT_ID"')


def _assignment(name: str, role: str, scope: str) -> str:
    return (
        f"# {name}\n"
        'az role assignment create --assignee-object-id "$PRINCIPAL_ID" --assignee-principal-type ServicePrincipal '
        f"--role {role} --scope {scope}\n"
    )
