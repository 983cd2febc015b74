"""Alert rules: each is one that Azure takes, asks for metrics that the app has, and is told in docs/operate.md."""

import re
from datetime import timedelta
from typing import Any

import pytest

from tests.docs.markdown import ROOT, read
from tests.infra.bicep import Choice, Expression, template
from tests.infra.kql import METRICS, Query
from tests.infra.test_resource_types import TYPES, faults

TEMPLATE = template("alerts.bicep")
LOG_RULES: list[dict[str, Any]] = TEMPLATE.variables["logRules"]
HUB_RULES: list[dict[str, Any]] = TEMPLATE.variables["hubRules"]
RULES = LOG_RULES + HUB_RULES
SECTIONS = read(ROOT / "docs" / "operate.md").subsections("alerts")

ON_LOGS = [pytest.param(rule, id=rule["name"]) for rule in LOG_RULES]
ON_HUB = [pytest.param(rule, id=rule["name"]) for rule in HUB_RULES]

# https://learn.microsoft.com/azure/azure-monitor/alerts/alerts-create-log-alert-rule
LOG_WINDOWS = {f"PT{minutes}M" for minutes in (5, 10, 15, 30, 45)} | {f"PT{hours}H" for hours in (1, 2, 3, 4, 5, 6)}
LOG_WINDOWS |= {"P1D", "P2D"}
METRIC_WINDOWS = {"PT5M", "PT15M", "PT30M", "PT1H", "PT6H", "PT12H", "P1D"}

HUB_METRICS = {"IncomingMessages", "OutgoingMessages", "ThrottledRequests", "QuotaExceededErrors", "ServerErrors"}
"""Totals that have the dimension EntityName.

https://learn.microsoft.com/azure/azure-monitor/reference/supported-metrics/microsoft-eventhub-namespaces-metrics
"""


def _duration(text: str) -> timedelta:
    number, unit = re.fullmatch(r"PT?(\d+)([MHD])", text).groups()  # type: ignore[union-attr]
    return timedelta(**{{"M": "minutes", "H": "hours", "D": "days"}[unit]: int(number)})


def _windows(rule: dict[str, Any]) -> set[str]:
    """All that the parameters allow."""
    window = rule["window"]
    match rule["name"]:
        case "no-flush":
            assert window == Expression("'PT${noFlushMinutes}M'")
            return {f"PT{minutes}M" for minutes in TEMPLATE.parameters["noFlushMinutes"].decorators["allowed"]}
        case "no-events":
            assert window.condition == "noEventsHours < 24"
            allowed = TEMPLATE.parameters["noEventsHours"].decorators["allowed"]
            return {f"PT{hours}H" if hours < 24 else f"P{hours // 24}D" for hours in allowed}
    return {window}


def test_all_are_there() -> None:
    assert {rule["name"] for rule in RULES} == {
        *("hub-lag", "oldest-window-overdue", "no-flush", "flush-held-up", "new-dead-letters", "error-rate"),
        *("throttling", "no-events", "hub-not-read", "hub-throttled"),
    }


@pytest.mark.parametrize("rule", ON_LOGS)
def test_a_query_knows_what_it_names(rule: dict[str, Any]) -> None:
    assert Query(TEMPLATE.variables["metrics"] + rule["query"]).faults() == []


@pytest.mark.parametrize(
    ("fault", "query"),
    [
        ("Flushes is no metric", "metrics | where name =~ 'Flushes'"),
        ("server is no dimension of Flush", "metrics | where name =~ 'Flush' | extend customDimensions.server"),
        (") closes nothing", "metrics | where name =~ 'Flush')"),
        ("( is not closed", "metrics | where (name =~ 'Flush'"),
        ("a text is not closed", "metrics | where name =~ 'Flush' and 'x"),
        ("filter is no operator", "metrics | filter name =~ 'Flush'"),
        ("total() is no function", "metrics | where name =~ 'Flush' | summarize total(valueSum)"),
        ("Sum is not known", "metrics | where name =~ 'Flush' and Sum > 0"),
        ("'done' is neither a metric nor a value of a dimension", "metrics | where name =~ 'Flush' and name != 'done'"),
        ("names no metric", "metrics | where valueSum > 0"),
        ("names no metric", "metrics | where name == 'Flush'"),
    ],
)
def test_a_fault_of_a_query_is_named(fault: str, query: str) -> None:
    assert fault in Query(query.replace("metrics", "customMetrics")).faults()


@pytest.mark.parametrize("rule", ON_LOGS)
def test_only_the_window_bounds_the_time(rule: dict[str, Any]) -> None:
    assert not re.search(r"\bago\(|\bnow\(|TimeGenerated", rule["query"])


@pytest.mark.parametrize("rule", ON_LOGS)
def test_what_is_measured_and_split_is_made_by_the_query(rule: dict[str, Any]) -> None:
    made = Query(rule["query"]).columns
    assert set(rule["dimensions"]) <= made
    if rule["timeAggregation"] == "Count":
        assert rule["column"] == ""
    else:
        assert rule["column"] in made


@pytest.mark.parametrize("rule", ON_LOGS)
def test_azure_has_its_windows(rule: dict[str, Any]) -> None:
    for window in _windows(rule):
        assert window in LOG_WINDOWS
        assert _duration(rule["frequency"]) <= _duration(window)


def _filled(value: Any, known: dict[str, Any]) -> Any:
    """A body of a loop or of `map`, with what the item says by itself."""
    match value:
        case Expression(text=text) if text in known:
            return known[text]
        case Choice(values=values):
            return Choice(value.condition, tuple(_filled(each, known) for each in values))
        case dict():
            return {key: _filled(each, known) for key, each in value.items()}
        case list():
            return [_filled(each, known) for each in value]
    return value


def _named(name: str, item: dict[str, Any]) -> dict[str, Any]:
    return {f"{name}.{key}": each for key, each in item.items()}


@pytest.mark.parametrize("rule", ON_LOGS)
def test_azure_takes_a_rule_on_logs(rule: dict[str, Any]) -> None:
    resource = TEMPLATE.resources["onTelemetry"]
    body = _filled(resource.body, _named("rule", rule))
    del body["name"]
    assert faults(body, TYPES[resource.declared_type]["body"], rule["name"]) == []


@pytest.mark.parametrize(
    ("rule", "condition"),
    [
        pytest.param(rule, condition, id=f"{rule['name']}:{condition['metric']}")
        for rule in HUB_RULES
        for condition in rule["conditions"]
    ],
)
def test_azure_takes_a_rule_on_the_hub(rule: dict[str, Any], condition: dict[str, Any]) -> None:
    resource = TEMPLATE.resources["onHub"]
    body = _filled(resource.body, _named("rule", rule) | _named("condition", condition))
    del body["name"]
    assert faults(body, TYPES[resource.declared_type]["body"], rule["name"]) == []


@pytest.mark.parametrize("rule", [pytest.param(rule, id=rule["name"]) for rule in RULES])
def test_it_is_graded(rule: dict[str, Any]) -> None:
    assert rule["severity"] in {1, 2, 3}


@pytest.mark.parametrize("name", ["no-flush", "no-events"])
def test_silence_is_noticed(name: str) -> None:
    rule = next(rule for rule in LOG_RULES if rule["name"] == name)
    assert (rule["timeAggregation"], rule["operator"], rule["threshold"]) == ("Count", "LessThan", 1)
    assert "summarize" not in rule["query"], "It would give a row where there is none."


def test_a_query_stays_valid_while_its_table_is_missing() -> None:
    prefix = Query(TEMPLATE.variables["metrics"])
    assert "union isfuzzy=true" in prefix.text
    (columns,) = re.findall(r"datatable\(([^)]*)\) \[\]", prefix.text)
    (projected,) = re.findall(r"customMetrics \| project ([^)]*)\)", prefix.text)
    assert [each.split(":")[0].strip() for each in columns.split(",")] == projected.split(", ")
    query = TEMPLATE.resources["onTelemetry"].body["properties"]["criteria"]["allOf"][0]["query"]
    assert query == Expression("'${metrics}${rule.query}'")
    assert all(rule["query"].lstrip().startswith("metrics\n") for rule in LOG_RULES)


@pytest.mark.parametrize("rule", ON_LOGS)
def test_what_it_counts_has_the_column_of_the_empty_table(rule: dict[str, Any]) -> None:
    assert not re.search(r"valueCount|valueMin|valueMax", rule["query"])


TICK, SHARD = "tick", "shard"


@pytest.mark.parametrize(
    ("fires", "flushes"),
    [
        pytest.param(False, [], id="nothing"),
        pytest.param(False, [("completed", TICK), ("heldUp", TICK)], id="timer, once"),
        pytest.param(True, [("heldUp", TICK), ("heldUp", TICK)], id="timer, always"),
        pytest.param(False, [("put", TICK), ("completed", SHARD), ("heldUp", SHARD)], id="queue, one shard"),
        pytest.param(True, [("put", TICK), ("heldUp", SHARD)], id="queue, every shard"),
        pytest.param(False, [("completed", TICK), ("heldUp", SHARD)], id="queue, once, with nothing due otherwise"),
        pytest.param(True, [("heldUp", TICK), ("completed", SHARD)], id="queue, an account is away"),
        pytest.param(False, [("heldUp", TICK), ("put", TICK), ("completed", SHARD)], id="queue, an account was away"),
        pytest.param(True, [("heldUp", ""), ("failed", "")], id="of a version without scopes"),
    ],
)
def test_what_holds_up_every_tick_is_not_hidden_by_the_shards_that_go_on(
    fires: bool, flushes: list[tuple[str, str]]
) -> None:
    """The conditions of this query mean the same in Kusto and in Python."""
    query = next(rule["query"] for rule in LOG_RULES if rule["name"] == "flush-held-up")
    where = re.findall(r"^\| where (.*)$", query, re.MULTILINE)[-1]
    counts = {
        name: sum(eval(condition, {"outcome": outcome, "scope": scope}) for outcome, scope in flushes)
        for name, condition in re.findall(r"(\w+) = countif\((.*?)\)(?=,?$|, \w+ =)", query, re.MULTILINE)
    }
    assert eval(where, counts) is fires


@pytest.mark.parametrize("rule", ON_HUB)
def test_the_namespace_has_its_metrics(rule: dict[str, Any]) -> None:
    assert {condition["metric"] for condition in rule["conditions"]} <= HUB_METRICS
    assert rule["window"] in METRIC_WINDOWS


def test_the_hub_is_one_of_its_namespace() -> None:
    criterion = TEMPLATE.resources["onHub"].body["properties"]["criteria"]["allOf"][0]
    assert criterion["dimensions"] == [
        {"name": "EntityName", "operator": "Include", "values": [Expression("eventHubName")]}
    ]


def test_a_hub_that_is_not_read_has_events_coming_in() -> None:
    conditions = {
        condition["metric"]: (condition["operator"], condition["threshold"])
        for rule in HUB_RULES
        if rule["name"] == "hub-not-read"
        for condition in rule["conditions"]
    }
    assert conditions == {"IncomingMessages": ("GreaterThan", 10), "OutgoingMessages": ("LessThanOrEqual", 0)}


def test_the_lag_is_measured_against_half_of_the_retention() -> None:
    given = template("main.bicep").modules["alertRules"].parameters["hubLagMinutes"]
    assert given.condition == "alertHubLagMinutes > 0"
    # Half of so many hours, in minutes.
    assert "30 * consumer!.outputs.retentionHours" in given.values[1].values[0].text
    rule = next(rule for rule in LOG_RULES if rule["name"] == "hub-lag")
    assert rule["threshold"] == Expression("hubLagMinutes * 60")


@pytest.mark.parametrize("rule", [pytest.param(rule, id=rule["name"]) for rule in RULES])
def test_its_description_leads_to_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["name"] in {heading.anchor for heading in SECTIONS}
    assert rule["title"].lower().replace(" ", "-") == rule["name"]
    for resource in ("onTelemetry", "onHub"):
        description = TEMPLATE.resources[resource].body["properties"]["description"]
        assert description == Expression("'${rule.description} See docs/operate.md#${rule.name}.'")


def test_no_section_is_of_a_rule_that_is_gone() -> None:
    assert {heading.text for heading in SECTIONS} == {rule["title"] for rule in RULES}


def test_thresholds_of_main_are_those_of_the_rules() -> None:
    main = template("main.bicep").parameters
    given = template("main.bicep").modules["alertRules"].parameters
    for inner, each in given.items():
        if isinstance(each, Expression) and each.text.startswith("alert"):
            assert main[each.text].default == TEMPLATE.parameters[inner].default, inner
            assert main[each.text].decorators.get("allowed") == TEMPLATE.parameters[inner].decorators.get("allowed")


def test_the_alerts_watch_metrics_that_the_app_has() -> None:
    watched = set().union(*(Query(rule["query"]).metrics for rule in LOG_RULES))
    assert watched <= set(METRICS)
    assert {"HubLagSeconds", "OldestWindowSeconds", "Flush", "DeadLetters", "TotalErrors", "Throttled"} <= watched
