"""The service and its destination: every form that they are had in, and every fault of their setup."""

import json
from pathlib import Path
from typing import Any

import pytest

from medtech.importing import sources
from medtech.importing.document import Refused
from medtech.importing.expression import Deployment
from medtech.importing.old_service import OldService
from tests.importing import resources
from tests.importing.resources import (
    DESTINATION_TYPE,
    DEVICE_MAPPING,
    FHIR_MAPPING,
    FHIR_SERVICE_ID,
    GROUP,
    SERVICE_TYPE,
    SUBSCRIPTION,
    destination,
    endpoint,
    flattened,
    service,
    written,
)

DEPLOYED = Deployment(SUBSCRIPTION, GROUP)


def read(folder: Path, *contents: Any, deployment: Deployment = Deployment()) -> OldService:  # noqa: B008
    paths = [written(folder, f"{number}.json", content) for number, content in enumerate(contents)]
    return sources.read_all(paths, deployment)


def declared(resource: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A resource as a template has it."""
    return {name: resource[name] for name in ("type", "name", "location", "properties")} | more


def assert_whole(old: OldService) -> None:
    assert old.faults == []
    assert (old.hub_namespace, old.hub) == ("ward7-hub.servicebus.windows.net", "telemetry")
    assert old.fhir_service is not None
    assert old.fhir_service.resource_id == FHIR_SERVICE_ID
    assert old.resolution_type == "Create"
    assert json.loads(old.device_mapping or "") == DEVICE_MAPPING
    assert json.loads(old.fhir_mapping or "") == FHIR_MAPPING


@pytest.mark.parametrize(
    "contents",
    [
        (service(), destination()),
        (destination(), service()),
        (flattened(service()), flattened(destination())),
        (service(), {"value": [destination()]}),
        ([service()], [destination()]),
        ([service(), destination()],),
        ({name: value for name, value in service().items() if name != "type"}, destination()),
        (service() | {"type": SERVICE_TYPE.upper()}, destination()),
        (service(), destination(fhirServiceResourceId=FHIR_SERVICE_ID[1:])),
        (service(), destination(resourceIdentityResolutionType="create")),
        (service(deviceMapping={"content": json.dumps(DEVICE_MAPPING)}), destination()),
    ],
)
def test_what_az_prints_is_read(tmp_path: Path, contents: tuple[Any, ...]) -> None:
    old = read(tmp_path, *contents)
    assert_whole(old)
    assert old.consumer_group == "$Default"
    assert [each.principal_id for each in old.identities] == ["03fe6ae0-952c-4e4b-954b-cc0364dd252e"]


def test_a_template_is_read_with_its_parameters(tmp_path: Path) -> None:
    declared = resources.template(
        {
            "type": SERVICE_TYPE,
            "apiVersion": "2022-06-01",
            "name": "[format('{0}/{1}', parameters('workspace'), 'monitors')]",
            "location": "[resourceGroup().location]",
            "properties": {
                "ingestionEndpointConfiguration": {
                    "eventHubName": "telemetry",
                    "consumerGroup": "[variables('group')]",
                    "fullyQualifiedEventHubNamespace": "[concat(parameters('hub'), '.servicebus.windows.net')]",
                },
                "deviceMapping": {"content": "[parameters('deviceMapping')]"},
            },
            "resources": [
                {
                    "type": "fhirdestinations",
                    "name": "records",
                    "properties": {
                        "resourceIdentityResolutionType": "Create",
                        "fhirServiceResourceId": "[resourceId('Microsoft.HealthcareApis/workspaces/fhirservices', "
                        "parameters('workspace'), 'records')]",
                        "fhirMapping": {"content": "[json(variables('$fxv#0'))]"},
                    },
                }
            ],
        },
        parameters={
            "workspace": {"type": "string"},
            "hub": {"type": "string"},
            "deviceMapping": {"type": "object"},
        },
        variables={"group": "$Default", "$fxv#0": json.dumps(FHIR_MAPPING)},
    )
    given = resources.parameters(workspace="ward7", hub="ward7-hub", deviceMapping=DEVICE_MAPPING)
    assert_whole(read(tmp_path, declared, given, deployment=DEPLOYED))

    alone = read(tmp_path, declared)
    assert {each.name for each in alone.faults} == {
        "fullyQualifiedEventHubNamespace",
        "deviceMapping",
        "fhirServiceResourceId",
    }
    assert all("only a deployment can evaluate" in each.message for each in alone.faults)


def test_a_compiled_bicep_module_with_symbolic_names_is_read(tmp_path: Path) -> None:
    inner = resources.template(parameters={"hub": {"type": "string"}}) | {
        "languageVersion": "2.0",
        "resources": {
            "there": {"existing": True, "type": SERVICE_TYPE, "name": "other"},
            "connector": {
                "type": SERVICE_TYPE,
                "name": "ward7/monitors",
                "properties": service()["properties"]
                | {
                    "ingestionEndpointConfiguration": endpoint(
                        fullyQualifiedEventHubNamespace="[format('{0}.servicebus.windows.net', parameters('hub'))]"
                    )
                },
            },
            "target": {
                "type": DESTINATION_TYPE,
                "name": "ward7/monitors/records",
                "properties": destination()["properties"],
            },
        },
    }
    module = {
        "type": "Microsoft.Resources/deployments",
        "name": "medtech",
        "properties": {
            "expressionEvaluationOptions": {"scope": "inner"},
            "mode": "Incremental",
            "parameters": {"hub": {"value": "[parameters('name')]"}},
            "template": inner,
        },
    }
    whole = resources.template(module, parameters={"name": {"type": "string", "defaultValue": "ward7-hub"}})
    assert_whole(read(tmp_path, whole))


NAMED_BY_PARAMETER = endpoint(fullyQualifiedEventHubNamespace="[concat(parameters('hub'), '.servicebus.windows.net')]")
FHIR_SERVICE_OF_THE_GROUP = "[resourceId('Microsoft.HealthcareApis/workspaces/fhirservices', 'ward7', 'records')]"


def test_a_nested_template_has_the_parameters_of_the_one_around_it(tmp_path: Path) -> None:
    inner = resources.template(
        declared(service(ingestionEndpointConfiguration=NAMED_BY_PARAMETER)),
        declared(destination()),
        # Of no use to Azure either, unless the template is evaluated by itself.
        parameters={"hub": {"type": "string", "defaultValue": "another-hub"}},
    )
    nested = {"type": "Microsoft.Resources/deployments", "name": "nested", "properties": {"template": inner}}
    outer = resources.template(nested, parameters={"hub": {"type": "string"}})
    assert_whole(read(tmp_path, outer, resources.parameters(hub="ward7-hub")))

    nested["properties"] = {"template": inner, "expressionEvaluationOptions": {"scope": "Inner"}}
    alone = read(tmp_path, resources.template(nested, parameters={"hub": {"type": "string"}}))
    assert alone.hub_namespace == "another-hub.servicebus.windows.net"


def test_a_module_that_goes_to_another_group_has_its_ids_there(tmp_path: Path) -> None:
    target = destination(fhirServiceResourceId=FHIR_SERVICE_OF_THE_GROUP)
    inner = resources.template(declared(service()), declared(target))
    module = {
        "type": "Microsoft.Resources/deployments",
        "name": "module",
        "subscriptionId": SUBSCRIPTION,
        "resourceGroup": "[parameters('group')]",
        "properties": {"template": inner, "expressionEvaluationOptions": {"scope": "inner"}},
    }
    template = resources.template(module, parameters={"group": {"type": "string"}})
    elsewhere = Deployment("99999999-2222-3333-4444-555566667777", "elsewhere")
    assert_whole(read(tmp_path, template, resources.parameters(group=GROUP), deployment=elsewhere))
    assert [each.name for each in read(tmp_path, template, deployment=elsewhere).faults] == ["fhirServiceResourceId"]


def test_names_that_are_made_of_one_another_are_read(tmp_path: Path) -> None:
    """As in Microsoft's quickstart of the service, with everything named after one parameter."""
    target = destination(fhirServiceResourceId="[variables('fhirServiceId')]")
    source = service(
        ingestionEndpointConfiguration=endpoint(
            fullyQualifiedEventHubNamespace="[format('{0}-hub.servicebus.windows.net', variables('workspace'))]"
        )
    )
    template = resources.template(
        declared(source, name="[variables('serviceName')]"),
        declared(target, name="[format('{0}/records', variables('serviceName'))]"),
        parameters={"base": {"type": "string"}},
        variables={
            "workspace": "[replace(parameters('base'), '-', '')]",
            "serviceName": "[format('{0}/monitors', variables('workspace'))]",
            "fhirName": "[format('{0}/records', variables('workspace'))]",
            "fhirServiceId": "[resourceId('Microsoft.HealthcareApis/workspaces/fhirservices', "
            "variables('workspace'), split(variables('fhirName'), '/')[1])]",
        },
    )
    old = read(tmp_path, template, resources.parameters(base="ward-7"), deployment=DEPLOYED)
    assert_whole(old)
    assert old.name == "ward7/monitors"


def fault(folder: Path, *contents: Any) -> tuple[str, str, int | None]:
    [found] = read(folder, *contents).faults
    return found.name, found.message, found.place.line


@pytest.mark.parametrize("value", [None, "", "  ", "ward7-hub", "sb://ward7-hub.servicebus.windows.net/", "a b", 7, {}])
def test_a_namespace_that_is_none_is_a_fault_of_the_setup(tmp_path: Path, value: Any) -> None:
    broken = service(ingestionEndpointConfiguration=endpoint(fullyQualifiedEventHubNamespace=value))
    name, message, line = fault(tmp_path, broken, destination())
    assert name == "fullyQualifiedEventHubNamespace"
    assert "Write" in message
    text = (tmp_path / "0.json").read_text().splitlines()
    assert line is not None
    assert "fullyQualifiedEventHubNamespace" in text[line - 1]


@pytest.mark.parametrize(
    ("properties", "name"),
    [
        ({"ingestionEndpointConfiguration": endpoint(eventHubName=None)}, "eventHubName"),
        ({"ingestionEndpointConfiguration": endpoint(eventHubName="a'; rm -rf /")}, "eventHubName"),
        ({"ingestionEndpointConfiguration": endpoint(eventHubName="hub\n")}, None),
        ({"deviceMapping": None}, "deviceMapping"),
        ({"deviceMapping": {}}, "deviceMapping"),
        ({"deviceMapping": {"content": None}}, "deviceMapping"),
        ({"deviceMapping": {"content": []}}, "deviceMapping"),
        ({"deviceMapping": {"content": "{"}}, "deviceMapping"),
    ],
)
def test_each_fault_of_the_service_has_its_name(tmp_path: Path, properties: Any, name: str | None) -> None:
    found = read(tmp_path, service(**properties), destination())
    assert [each.name for each in found.faults] == ([] if name is None else [name])
    assert found.hub in (None, "telemetry", "hub")


@pytest.mark.parametrize(
    ("properties", "name"),
    [
        ({"fhirServiceResourceId": None}, "fhirServiceResourceId"),
        ({"fhirServiceResourceId": "https://ward7-records.fhir.azurehealthcareapis.com"}, "fhirServiceResourceId"),
        ({"fhirServiceResourceId": f"{FHIR_SERVICE_ID}/x"}, "fhirServiceResourceId"),
        ({"fhirServiceResourceId": FHIR_SERVICE_ID.replace("records", "$(id)")}, "fhirServiceResourceId"),
        (
            {"fhirServiceResourceId": f"/subscriptions/{SUBSCRIPTION}/resourceGroups/g/providers/"
            "Microsoft.HealthcareApis/services/old"},
            "fhirServiceResourceId",
        ),
        ({"resourceIdentityResolutionType": None}, "resourceIdentityResolutionType"),
        ({"resourceIdentityResolutionType": "Guess"}, "resourceIdentityResolutionType"),
        ({"fhirMapping": {}}, "fhirMapping"),
    ],
)  # fmt: skip
def test_each_fault_of_the_destination_has_its_name(tmp_path: Path, properties: Any, name: str) -> None:
    assert fault(tmp_path, service(), destination(**properties))[0] == name


def test_a_half_of_the_two_is_a_fault(tmp_path: Path) -> None:
    assert fault(tmp_path, service())[0] == "fhirdestinations"
    assert fault(tmp_path, destination())[0] == "iotconnectors"


def test_a_destination_of_another_service_is_a_fault(tmp_path: Path) -> None:
    other = destination() | {"id": f"{SERVICE_ID_OF_ANOTHER}/fhirdestinations/records"}
    assert fault(tmp_path, service(), other)[0] == "fhirdestinations"
    moved = destination() | {"location": "eastus"}
    assert fault(tmp_path, service(), moved)[0] == "location"
    assert read(tmp_path, service() | {"location": "West Europe"}, destination()).faults == []


@pytest.mark.parametrize(
    ("condition", "is_told"),
    [(True, False), ("[true()]", False), ("[parameters('wanted')]", True), ("[equals(uniqueString('a'), 'b')]", True)],
)
def test_a_condition_that_nothing_decides_needs_a_hand(tmp_path: Path, condition: Any, is_told: bool) -> None:
    there = [declared(service(), condition=condition), declared(destination())]
    not_there = declared(service(), condition="[not(true())]") | {"name": "ward7/another"}
    template = resources.template(*there, not_there, parameters={"wanted": {"type": "bool"}})
    old = read(tmp_path, template)
    assert_whole(old)
    assert any("only under a condition" in each for each in old.by_hand) is is_told


def test_a_module_in_a_loop_or_under_a_condition_counts_for_what_it_deploys(tmp_path: Path) -> None:
    properties = {"template": resources.template(declared(service()), declared(destination()))}
    module = {"type": "Microsoft.Resources/deployments", "name": "module", "properties": properties}
    assert (
        read(tmp_path, resources.template(module | {"condition": "[reference('x')]"})).by_hand[0].startswith("The te")
    )
    for deployed, told in ((module | {"condition": False}, "deploys neither"), (module | {"copy": {}}, "in a loop")):
        with pytest.raises(Refused, match=told):
            read(tmp_path, resources.template(deployed))


SERVICE_ID_OF_ANOTHER = resources.SERVICE_ID + "2"


def test_what_is_not_provisioned_needs_a_hand(tmp_path: Path) -> None:
    old = read(tmp_path, service(provisioningState="Failed"), destination())
    assert old.faults == []
    assert "'provisioningState' is Failed" in old.by_hand[0]


def test_a_user_assigned_identity_is_read(tmp_path: Path) -> None:
    identity_id = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/g/providers/Microsoft.ManagedIdentity/x/app"
    ids = {"clientId": "03fe6ae0-952c-4e4b-954b-cc0364dd252e", "principalId": "no id"}
    identity = {"type": "UserAssigned", "userAssignedIdentities": {identity_id: ids}}
    [found] = read(tmp_path, service() | {"identity": identity}, destination()).identities
    assert found == (identity_id, "", ids["clientId"])


def test_an_identity_that_a_template_names_by_an_expression_is_read(tmp_path: Path) -> None:
    kind = "Microsoft.ManagedIdentity/userAssignedIdentities"
    users: dict[str, Any] = {f"[format('{{0}}', resourceId('{kind}', 'app'))]": {}}
    identity = {"type": "UserAssigned", "userAssignedIdentities": users}
    template = resources.template(declared(service(), identity=identity), declared(destination()))
    [found] = read(tmp_path, template, deployment=DEPLOYED).identities
    assert found.resource_id == f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/{kind}/app"


@pytest.mark.parametrize(
    ("contents", "told"),
    [
        ([{"type": "Microsoft.Storage/storageAccounts", "properties": {}}], "type 'Microsoft.Storage/storageAccounts'"),
        ([{"error": {"code": "ResourceNotFound"}}], "an error that Azure answered"),
        ([{"a": 1}], "neither a resource"),
        ([7], "neither a resource"),
        (["null"], "neither a resource"),
        ([[]], "no resource in it"),
        ([{"value": []}], "no resource in it"),
        ([service(), service()], "2 MedTech services"),
        ([[destination(), destination()]], "2 FHIR destinations"),
        ([resources.parameters(a=1)], "only parameters"),
        ([resources.template()], "deploys neither"),
        ([resources.template(declared(service(), condition=False))], "deploys neither"),
        ([resources.template(declared(service(), copy={"name": "all", "count": 2}))], "in a loop (copy)"),
        ([[service() | {"properties": None}, destination() | {"properties": None}]], "without its properties"),
        ([resources.parameters() | {"parameters": 7}], "no 'parameters'"),
        ([[{"name": "InputEventHub", "value": "x"}]], "app settings of the open-source connector"),
    ],
)
def test_what_is_no_such_resource_is_refused(tmp_path: Path, contents: list[Any], told: str) -> None:
    with pytest.raises(Refused) as refused:
        read(tmp_path, *contents)
    assert told in str(refused.value)
    assert str(tmp_path) in str(refused.value)


def test_a_name_that_is_there_twice_needs_a_hand(tmp_path: Path) -> None:
    text = json.dumps(service(), indent=1).replace('"eventHubName"', '"eventHubName": "another", "eventHubName"')
    old = read(tmp_path, text, destination())
    assert_whole(old)
    assert (
        "/properties/ingestionEndpointConfiguration/eventHubName: this name is in its object before" in old.by_hand[0]
    )


def test_a_mapping_keeps_its_numbers_and_its_texts(tmp_path: Path) -> None:
    text = json.dumps(destination()).replace("5000", "1000.50").replace('"/min"', '"\\u00b0C \\u2028"')
    old = read(tmp_path, service(), text)
    assert old.fhir_mapping is not None
    assert '"defaultPeriod": 1000.50,' in old.fhir_mapping
    assert '"unit": "°C \u2028"' in old.fhir_mapping
