"""Roles: each by its id, at the narrowest scope, all in one file."""

import re

import pytest

from tests.infra.bicep import FILES, ROOT, template

# https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
ROLES = {
    "storageBlobDataOwner": ("Storage Blob Data Owner", "b7e6dc6d-f1e8-4753-8033-0f276bb0955b"),
    "storageTableDataContributor": ("Storage Table Data Contributor", "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3"),
    "storageQueueDataContributor": ("Storage Queue Data Contributor", "974c5e8b-45b9-4653-ba55-5f855dd0fb88"),
    "eventHubsDataReceiver": ("Azure Event Hubs Data Receiver", "a638d3c7-ab3a-418d-83e6-5f17a39d4fde"),
    "eventHubsDataSender": ("Azure Event Hubs Data Sender", "2b629674-e913-4c01-ae53-ef4638d8f975"),
    "fhirDataWriter": ("FHIR Data Writer", "3f88fce4-5892-4214-ae73-ba5294559913"),
    "monitoringMetricsPublisher": ("Monitoring Metrics Publisher", "3913510d-42f4-4e42-8a64-420c390055eb"),
    "keyVaultSecretsUser": ("Key Vault Secrets User", "4633458b-17de-408a-b874-0445c86b69e6"),
}

# Role: resource, who gets it, and when. A role is on each resource once.
FURTHER_TABLES = ("furtherStorageAccounts[position]", "appPrincipalId", None)
ASSIGNED = {
    "storageBlobDataOwner": ("storageAccount", "appPrincipalId", "!empty(storageAccountName)"),
    "storageTableDataContributor": ("storageAccount", "appPrincipalId", "!empty(storageAccountName)"),
    "storageQueueDataContributor": ("storageAccount", "appPrincipalId", "!empty(storageAccountName) && queues"),
    "monitoringMetricsPublisher": ("applicationInsights", "appPrincipalId", "!empty(applicationInsightsName)"),
    "eventHubsDataReceiver": ("eventHub", "appPrincipalId", "!empty(eventHubName)"),
    "eventHubsDataSender": (
        "eventHub",
        "senderPrincipalId",
        "!empty(eventHubName) && !empty(senderPrincipalId)",
    ),
    "fhirDataWriter": ("fhirService", "appPrincipalId", "!empty(fhirServiceName)"),
    "keyVaultSecretsUser": ("keyVaultSecrets[position]", "appPrincipalId", "!empty(keyVaultName)"),
}

ASSIGNMENT = "Microsoft.Authorization/roleAssignments"


def test_ids_are_the_documented_ones() -> None:
    assert template("roles.bicep").variables["roles"] == {name: role_id for name, (_, role_id) in ROLES.items()}


def test_each_is_assigned_on_one_resource_to_one_identity() -> None:
    found: dict[str, list[tuple[str, str, str | None]]] = {}
    for resource in template("roles.bicep").created:
        assert resource.type == ASSIGNMENT
        role = re.findall(r"roles\.(\w+)", resource.body["properties"]["roleDefinitionId"].text)[0]
        scope, principal = resource.body["scope"].text, resource.body["properties"]["principalId"].text
        # Else two assignments would share a name, or one would be made again by each deployment.
        assert resource.body["name"].text == f"guid({scope}.id, {principal}, roles.{role})"
        assert scope not in [other for other, _, _ in found.get(role, [])]
        found.setdefault(role, []).append((scope, principal, resource.condition))
    expected = {role: [assigned] for role, assigned in ASSIGNED.items()}
    expected["storageTableDataContributor"].append(FURTHER_TABLES)
    assert found == expected


@pytest.mark.parametrize("name", sorted({*FILES} - {"roles.bicep"}))
def test_no_other_file_assigns_a_role(name: str) -> None:
    assert ASSIGNMENT not in {resource.type for resource in template(name).created}


def test_queues_may_be_used_only_where_asked_for() -> None:
    main = template("main.bicep")
    assert main.parameters["flushFanout"].default == "'timer'"
    given = {
        symbol: module.parameters["queues"].text
        for symbol, module in main.modules.items()
        if "queues" in module.parameters
    }
    assert given == {"ownRoles": "flushFanout == 'queue'"}


@pytest.mark.parametrize("page", ["deploy.md", "settings.md"])
def test_ids_in_the_docs_are_these(page: str) -> None:
    ids = dict(ROLES.values())
    for line in (ROOT / "docs" / page).read_text().splitlines():
        for role_id in re.findall(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", line):
            named = [name for name in [*ids, "Storage Blob Data Reader"] if name in line]
            assert named, line
            assert role_id in {ids.get(name, "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1") for name in named}


@pytest.mark.parametrize(("name", "role_id"), ROLES.values())
def test_every_role_is_in_the_docs(name: str, role_id: str) -> None:
    assert any(name in line and role_id in line for line in (ROOT / "docs" / "deploy.md").read_text().splitlines())
