"""The workbook: JSON that the portal takes, over metrics that exist, of resources that are parameters."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.infra.bicep import INFRA, template
from tests.infra.kql import METRICS, Query
from tests.infra.test_alerts import HUB_METRICS

TEXT = (INFRA / "workbook.json").read_text()
WORKBOOK: dict[str, Any] = json.loads(TEXT)
MAX_CHARACTERS = 131_072
"""Of a file that Bicep loads as text."""


def _items(of: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for item in of["items"]:
        yield item
        if item["type"] == GROUP:
            yield from _items(item["content"])


PARAMETERS, QUERY, METRIC_CHART, GROUP = 9, 3, 10, 12
ITEMS = list(_items(WORKBOOK))
QUERIES = [pytest.param(item, id=item["name"]) for item in ITEMS if item["type"] == QUERY]
CHARTS = [pytest.param(item, id=item["name"]) for item in ITEMS if item["type"] == METRIC_CHART]
NAMES_OF_PARAMETERS = {
    parameter["name"] for item in ITEMS if item["type"] == PARAMETERS for parameter in item["content"]["parameters"]
}


def _query(item: dict[str, Any]) -> Query:
    return Query(item["content"]["query"].replace("{timeRange:grain}", "1h"))


def test_its_head_is_that_of_a_workbook() -> None:
    assert WORKBOOK["version"] == "Notebook/1.0"
    assert len(TEXT) <= MAX_CHARACTERS


def test_names_are_unique() -> None:
    names = [item["name"] for item in ITEMS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("item", QUERIES)
def test_a_query_knows_what_it_names(item: dict[str, Any]) -> None:
    assert _query(item).faults() == []


@pytest.mark.parametrize("item", QUERIES)
def test_a_query_runs_on_the_component_that_the_workbook_belongs_to(item: dict[str, Any]) -> None:
    assert item["content"]["resourceType"] == "microsoft.insights/components"
    assert "crossComponentResources" not in item["content"]
    assert item["content"]["timeContextFromParameter"] == "timeRange"
    assert template("workbook.bicep").resources["workbook"].body["properties"]["sourceId"].text == (
        "toLower(applicationInsightsId)"
    )


def test_every_metric_is_shown() -> None:
    shown = set().union(*(_query(item.values[0]).metrics for item in QUERIES))  # type: ignore[attr-defined]
    assert shown == set(METRICS)


@pytest.mark.parametrize("item", CHARTS)
def test_a_chart_shows_metrics_of_the_hub(item: dict[str, Any]) -> None:
    content = item["content"]
    assert content["resourceIds"] == ["{namespace}"]
    assert content["filters"][0]["key"] == "EntityName"
    for metric in content["metrics"]:
        kind, _, name = metric["metric"].partition("--")
        assert kind == metric["namespace"] == content["resourceType"] == "microsoft.eventhub/namespaces"
        assert name in HUB_METRICS


def test_parameters_in_use_exist() -> None:
    used = set(re.findall(r"\{(\w+)(?::\w+)?\}", TEXT)) | set(re.findall(r'FromParameter": "(\w+)"', TEXT))
    used |= set(re.findall(r'"parameterName": "(\w+)"', TEXT))
    assert used == NAMES_OF_PARAMETERS


def test_no_resource_is_written_down() -> None:
    assert "/subscriptions/" not in TEXT
    assert not re.search(r"\.servicebus\.windows\.net|resourceGroups", TEXT)


def test_what_is_filled_in_is_what_the_file_leaves_open() -> None:
    serialized = template("workbook.bicep").resources["workbook"].body["properties"]["serializedData"].text
    assert "loadTextContent('workbook.json')" in serialized
    filled = set(re.findall(r"'(<[^']+>)'", serialized))
    assert filled == set(re.findall(r'"(<[^"]+>)"', TEXT)) == {"<namespace id>", "<hub name>"}
