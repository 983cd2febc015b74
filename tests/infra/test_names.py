"""A name that a user gives is checked before anything is deployed, as strictly as the service does."""

import re
from typing import Any

import pytest

from tests.infra.bicep import Expression, Parameter, Resource, template, templates
from tests.infra.test_resource_types import TYPES

UNIQUE = "a1b2c3d4e5f6g"
"""What `uniqueString` makes: 13 small letters and digits."""


def _named() -> list[tuple[str, Parameter, Resource]]:
    """The parameters of main.bicep that name resources, through the modules that create them."""
    main = template("main.bicep")
    found: list[tuple[str, Parameter, Resource]] = []
    for module in main.modules.values():
        given = {
            inner: main.parameters[each.text]
            for inner, each in module.parameters.items()
            if isinstance(each, Expression) and each.text in main.parameters
        }
        for resource in template(module.path).created:
            name = resource.body["name"]
            if isinstance(name, Expression) and name.text in given:
                found.append((f"{module.path}:{resource.symbol}", given[name.text], resource))
    return found


NAMED = _named()
IDS = [where for where, _, _ in NAMED]


def test_every_kind_of_name_is_found() -> None:
    assert {parameter.name for _, parameter, _ in NAMED} == {
        *("functionAppName", "storageAccountName", "eventHubNamespaceName", "eventHubName", "eventHubConsumerGroup"),
        *("iotHubName", "healthWorkspaceName", "fhirServiceName", "logAnalyticsName", "applicationInsightsName"),
    }


@pytest.mark.parametrize(("where", "parameter", "resource"), NAMED, ids=IDS)
def test_its_length_is_bounded_as_the_service_bounds_it(where: str, parameter: Parameter, resource: Resource) -> None:
    rule: dict[str, Any] = TYPES[resource.declared_type]["name"]
    assert parameter.minimum is not None
    assert parameter.maximum is not None
    assert rule.get("minLength", 1) <= parameter.minimum <= parameter.maximum <= rule.get("maxLength", 260), where


@pytest.mark.parametrize(("where", "parameter", "resource"), NAMED, ids=IDS)
def test_its_default_is_a_name_that_the_service_takes(where: str, parameter: Parameter, resource: Resource) -> None:
    default = re.sub(r"\$\{uniqueString\([^}]*\)\}", UNIQUE, (parameter.default or "").strip("'"))
    assert re.search(TYPES[resource.declared_type]["name"].get("pattern", r"^[\w.-]+$"), default), where
    assert (parameter.minimum or 0) <= len(default) <= (parameter.maximum or 0)


def test_names_that_follow_from_the_apps_name_stay_within_64_characters() -> None:
    longest = template("main.bicep").parameters["functionAppName"].maximum or 0
    texts = "\n".join((read.tree.text or b"").decode() for read in templates())
    prefixes = re.findall(r"'([a-z-]+-)\$\{(?:functionAppName|name)\}'", texts)
    assert prefixes
    assert max(map(len, [*prefixes, "pe--table"])) + longest <= 64
