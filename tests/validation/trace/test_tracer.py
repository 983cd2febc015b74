"""The trace of a message: which template took what, step by step, and what it may take."""

import json
from typing import Any

import pytest

from medtech.evaluation_budget import EvaluationBudget
from medtech.mapping.device import load_device_mapping
from medtech.model import DeviceEvent
from medtech.validation.trace.tracer import MOST_BYTES, MOST_MATCHES, MOST_STEPS, ExpressionTrace, TemplateTrace, Tracer
from tests.validation.trace.test_vectors import check

TIME = "2026-03-02T08:00:00Z"


def mapping(*templates: dict[str, Any], kind: str = "CalculatedContent") -> dict[str, Any]:
    return {
        "templateType": "CollectionContent",
        "template": [{"templateType": kind, "template": template} for template in templates],
    }


def template(
    match: Any = "$..[?(@heartRate)]",
    value: Any = "$.matchedToken.heartRate",
    device: Any = "$.matchedToken.device",
    time: Any = "$.matchedToken.time",
    **others: Any,
) -> dict[str, Any]:
    return {
        "typeName": "heartRate",
        "typeMatchExpression": match,
        "deviceIdExpression": device,
        "timestampExpression": time,
        "values": [{"valueName": "heartRate", "valueExpression": value, "required": True}],
        **others,
    }


def jmes(text: str) -> dict[str, str]:
    return {"value": text, "language": "JmesPath"}


def event_of(body: Any, properties: Any = None, system: Any = None) -> DeviceEvent:
    encoded = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return DeviceEvent(encoded, properties or {}, system or {}, 0, "", "0", 0)


def traced(written: dict[str, Any], event: DeviceEvent) -> list[TemplateTrace]:
    device = load_device_mapping(json.dumps(written))
    check(device, event)
    found = Tracer(device).trace(event, device.normalize(event).measurements)
    assert found is not None
    return found


def value_of(written: dict[str, Any], event: DeviceEvent) -> ExpressionTrace:
    """The trace of the last expression of the only match."""
    ((match,),) = [each["matches"] for each in traced(written, event)]
    return match["expressions"][-1]


def test_a_match_and_its_expressions_step_by_step() -> None:
    body = {"readings": [{"heartRate": "78", "device": "d", "time": TIME}]}
    (found,) = traced(mapping(template()), event_of(body))
    assert found == {
        "template": 0,
        "pointer": "/template/0",
        "typeName": "heartRate",
        "matches": found["matches"],
        "matchesLeftOut": 0,
    }
    (match,) = found["matches"]
    assert (match["pointer"], match["measurement"]) == ("/Body/readings/0", 0)
    assert [(each["property"], each["result"], each["pointer"]) for each in match["expressions"]] == [
        ("deviceIdExpression", "d", "/Body/readings/0/device"),
        ("timestampExpression", "2026-03-02T08:00:00.0000000Z", "/Body/readings/0/time"),
        ("values/0/valueExpression", "78", "/Body/readings/0/heartRate"),
    ]
    assert match["expressions"][-1]["steps"] == [
        {
            "expression": "$.matchedToken",
            "count": 1,
            "value": body["readings"][0],
            "cut": False,
            "pointer": "/Body/readings/0",
            "pointers": [],
            "error": None,
        },
        {
            "expression": "$.matchedToken.heartRate",
            "count": 1,
            "value": "78",
            "cut": False,
            "pointer": "/Body/readings/0/heartRate",
            "pointers": [],
            "error": None,
        },
    ]


def test_an_expression_with_a_language_of_its_own_is_at_its_value() -> None:
    found = value_of(
        mapping(template(value=jmes("add(matchedToken.heartRate, `1`)"))),
        event_of({"heartRate": 78, "device": "d", "time": TIME}),
    )
    assert (found["property"], found["language"]) == ("values/0/valueExpression/value", "JmesPath")
    assert (found["result"], found["pointer"]) == ("79", None)
    assert [(step["expression"], step["value"], step["pointer"]) for step in found["steps"]] == [
        ("matchedToken", {"heartRate": 78, "device": "d", "time": TIME}, "/Body"),
        ("matchedToken.heartRate", 78, "/Body/heartRate"),
        ("add(matchedToken.heartRate, `1`)", 79, None),
    ]


def test_a_step_that_finds_several_has_the_place_of_each() -> None:
    body = {"heartRate": 1, "device": "d", "time": TIME, "values": [{"v": 5}, {"v": 6}]}
    found = value_of(mapping(template(value=jmes("matchedToken.values[*].v | [1]"))), event_of(body))
    assert found["pointer"] == "/Body/values/1/v"
    several = found["steps"][-2]
    assert (several["count"], several["value"], several["pointer"]) == (2, [5, 6], None)
    assert several["pointers"] == ["/Body/values/0/v", "/Body/values/1/v"]


def test_several_tokens_are_an_error_with_their_places() -> None:
    body = {"heartRate": 1, "device": "d", "time": TIME, "inner": {"v": 5, "deep": {"v": 6}}}
    found = value_of(mapping(template(value="$.matchedToken..v")), event_of(body))
    assert found["error"] is not None
    assert "finds several values where one is needed" in found["error"]
    assert (found["result"], found["pointer"]) == (None, None)
    assert found["steps"][-1]["pointers"] == ["/Body/inner/v", "/Body/inner/deep/v"]


def test_the_step_at_which_nothing_is_found() -> None:
    found = value_of(
        mapping(template(value="$.matchedToken.vitals.rate")), event_of({"heartRate": 1, "device": "d", "time": TIME})
    )
    assert found["error"] is not None
    assert [(step["count"], step["value"]) for step in found["steps"][1:]] == [(0, None), (0, None)]


def test_the_step_at_which_a_function_fails() -> None:
    found = value_of(
        mapping(template(value=jmes("add(multiply(matchedToken.heartRate, `2`), `1`)"))),
        event_of({"heartRate": "fast", "device": "d", "time": TIME}),
    )
    failed = [step["expression"] for step in found["steps"] if step["error"] is not None]
    assert failed == ["multiply(matchedToken.heartRate, `2`)", "add(multiply(matchedToken.heartRate, `2`), `1`)"]
    assert "multiply()" in (found["error"] or "")


@pytest.mark.parametrize("kind", ["JsonPathContent", "CalculatedContent"])
@pytest.mark.parametrize(
    ("match", "pointers"),
    [
        ("$.Body.rates[*]", ["/Body/rates/0", "/Body/rates/1", "/Body/rates/2"]),
        ("$..[?(@ == 71)]", ["/Body/rates/0", "/Body/rates/1", "/Body/rates/2"]),
        ("$.Body.rates[1:]", ["/Body/rates/1", "/Body/rates/2"]),
        ("$", [""]),
    ],
)
def test_matches_that_are_no_objects(kind: str, match: str, pointers: list[str]) -> None:
    value = "$.matchedToken" if kind == "CalculatedContent" else "$"
    written = mapping(template(match=match, value=value, device=value, time=value), kind=kind)
    (found,) = traced(written, event_of({"rates": [71, 71, 71]}))
    assert [each["pointer"] for each in found["matches"]] == pointers
    if match != "$":
        assert [each["expressions"][-1]["pointer"] for each in found["matches"]] == pointers
        assert {each["expressions"][-1]["result"] for each in found["matches"]} == {"71"}


@pytest.mark.parametrize(
    ("match", "pointers"),
    [
        ("Body.readings[]", ["/Body/readings/0", "/Body/readings/1"]),
        ("Body.readings[].heartRate", ["/Body/readings/0/heartRate", "/Body/readings/1/heartRate"]),
        ("Body.readings[0].heartRate", ["/Body/readings/0/heartRate"]),
        ("Body.readings[].{heartRate: heartRate, device: device, time: time}", [None, None]),
        ("[Body.readings[0]]", [None]),
    ],
)
def test_matches_of_jmespath(match: str, pointers: list[str | None]) -> None:
    reading = {"heartRate": 71, "device": "d", "time": TIME}
    (found,) = traced(mapping(template(match=jmes(match))), event_of({"readings": [reading, reading]}))
    assert [each["pointer"] for each in found["matches"]] == pointers


def test_paths_that_the_kind_of_template_fixes_have_their_property() -> None:
    written = mapping(
        {
            "typeName": "heartRate",
            "typeMatchExpression": "$..[?(@Body)]",
            "values": [{"valueName": "v", "valueExpression": "$.Body.hr"}],
        },
        kind="IotJsonPathContent",
    )
    system = {"iothub-connection-device-id": "d", "iothub-enqueuedtime": TIME}
    ((match,),) = [each["matches"] for each in traced(written, event_of({"hr": 7}, {}, system))]
    assert [(each["property"], each["result"], each["pointer"], each["error"]) for each in match["expressions"]] == [
        ("deviceIdExpression", "d", "/SystemProperties/iothub-connection-device-id", None),
        ("timestampExpression", None, None, None),
        ("timestampExpression", "2026-03-02T08:00:00.0000000Z", "/SystemProperties/iothub-enqueuedtime", None),
        ("values/0/valueExpression", "7", "/Body/hr", None),
    ]
    ((match,),) = [
        each["matches"] for each in traced(written, event_of({"hr": 7}, {}, {**system, "iothub-enqueuedtime": 5}))
    ]
    assert [each["error"] is None for each in match["expressions"]] == [True, True, False, True]


def test_pointers_of_a_mapping_as_the_resource_manager_hands_it_out() -> None:
    written = {"properties": {"deviceMapping": {"content": mapping(template())}}}
    (found,) = traced(written, event_of({"heartRate": 71, "device": "d", "time": TIME}))
    assert found["pointer"] == "/properties/deviceMapping/content/template/0"
    assert found["matches"][0]["expressions"][-1]["property"] == "values/0/valueExpression"


def test_names_of_properties_in_another_case() -> None:
    upper = {name.upper(): value for name, value in template().items()}
    written = {
        "templateType": "CollectionContent",
        "Template": [{"templateType": "CalculatedContent", "TEMPLATE": upper}],
    }
    (found,) = traced(written, event_of({"heartRate": 71, "device": "d", "time": TIME}))
    assert found["pointer"] == "/Template/0"
    assert found["matches"][0]["expressions"][0]["property"] == "DEVICEIDEXPRESSION"


def test_a_text_that_is_a_date_is_shown_as_sent_and_taken_as_read() -> None:
    found = value_of(
        mapping(template()), event_of({"heartRate": "2026-03-02T08:00:00.5Z", "device": "d", "time": TIME})
    )
    assert found["result"] == "03/02/2026 08:00:00"
    assert found["steps"][-1]["value"] == "2026-03-02T08:00:00.5Z"


@pytest.mark.parametrize(
    "body",
    [
        "{'heartRate': 71, 'device': 'd', 'time': '" + TIME + "'}",
        '{/* rate */ "heartRate": 71, device: "d", // who\n "time": "' + TIME + '"}',
        '\ufeff{"heartRate": 70, "heartRate": 71, "device": "d", "time": "' + TIME + '"}',
        '{"heartRate": 71, "device": "d", "time": "' + TIME + '"} and more',
    ],
    ids=["single quotes", "comments", "twice the same name", "text after it"],
)
def test_bodies_that_only_json_net_reads(body: str) -> None:
    found = value_of(mapping(template()), event_of(body))
    assert (found["result"], found["pointer"]) == ("71", "/Body/heartRate")


def test_names_with_slashes_and_tildes() -> None:
    body = {"a/b~c": {"m~1": {"heartRate": 71, "device": "d", "time": TIME, "é": 0}}}
    found = value_of(mapping(template()), event_of(body))
    assert found["pointer"] == "/Body/a~1b~0c/m~01/heartRate"


def test_a_body_that_is_no_json_and_one_without_a_match_have_no_entries() -> None:
    assert traced(mapping(template()), event_of("{")) == []
    assert traced(mapping(template()), event_of({"other": 1})) == []


def test_long_values_are_cut() -> None:
    body = {"heartRate": "9" * 5000, "device": "d", "time": TIME, "more": list(range(1000))}
    device = load_device_mapping(json.dumps(mapping(template())))
    event = event_of(body)
    ((match,),) = [each["matches"] for each in Tracer(device).trace(event, device.normalize(event).measurements) or ()]
    found = match["expressions"][-1]
    assert (found["cut"], found["result"]) == (True, "9" * 1000 + "…")
    assert [step["cut"] for step in found["steps"]] == [True, True]
    assert len(json.dumps(found)) < 4000


@pytest.mark.parametrize(
    ("raw", "shown"),
    [("NaN", "NaN"), ("123456789012345678901", "123456789012345678901"), ('"\\ud800"', "\ufffd"), ("null", None)],
)
def test_values_that_json_does_not_have(raw: str, shown: Any) -> None:
    body = f'{{"heartRate": 1, "v": {raw}, "device": "d", "time": "{TIME}"}}'
    device = load_device_mapping(json.dumps(mapping(template(value="$.matchedToken.v"))))
    event = event_of(body)
    ((match,),) = [each["matches"] for each in Tracer(device).trace(event, device.normalize(event).measurements) or ()]
    assert match["expressions"][-1]["steps"][-1]["value"] == shown
    assert match["expressions"][-1]["pointer"] == "/Body/v"


def test_matches_past_the_limit_are_counted() -> None:
    reading = {"heartRate": 71, "device": "d", "time": TIME}
    (found,) = traced(mapping(template()), event_of([reading] * (MOST_MATCHES + 7)))
    assert len(found["matches"]) == MOST_MATCHES
    assert found["matchesLeftOut"] == 7


READING: dict[str, Any] = {"heartRate": 71, "device": "d", "time": TIME}
DEEP: dict[str, Any] = {"a": READING}
for _ in range(450):
    DEEP = {"a": DEEP}


@pytest.mark.parametrize(
    ("written", "body"),
    [
        pytest.param(mapping(*[template()] * 300), [{**READING, "pad": "x" * 10_000}] * 400, id="4 MiB of matches"),
        pytest.param(mapping(template(value="$..a..a..a")), {**READING, "b": DEEP}, id="scans within scans"),
        pytest.param(
            mapping(template(value=jmes("Body.r[*].[r[*].[r[*].v]]")), template(value="$..[?(@..v == $..v)]")),
            {**READING, "r": [{"r": [{"r": [{"v": 1}] * 40}] * 40}] * 40},
            id="products",
        ),
        pytest.param(
            mapping(template(value="$..x")),
            {"k" * 200_000: {"j" * 200_000: [{**READING, "x": number} for number in range(2000)]}},
            id="names of 200,000 characters",
        ),
        pytest.param(mapping(template(value="$.matchedToken" + ".a" * 5000)), READING, id="a path of 5,000 steps"),
        pytest.param(
            mapping(template(value=jmes("(" * 80 + "matchedToken.heartRate" + ")" * 80))), READING, id="80 parentheses"
        ),
        pytest.param(
            mapping(template(value=jmes(" || ".join(["matchedToken.a"] * 60)))), READING, id="60 alternatives"
        ),
        pytest.param(
            mapping(template(value="$.matchedToken.t[?(@ =~ /(a+)+b/)]")),
            {**READING, "t": ["a" * 40]},
            id="a slow regex",
        ),
        pytest.param(
            mapping(
                {
                    **template(),
                    "values": [
                        {"valueName": f"v{number}", "valueExpression": "$.matchedToken.heartRate"}
                        for number in range(5000)
                    ],
                }
            ),
            [READING] * 100,
            id="5,000 values",
        ),
        pytest.param(mapping(template(value="$..heartRate")), [DEEP] * 3, id="deep"),
    ],
)
def test_hostile_input_is_answered_within_the_limits(written: dict[str, Any], body: Any) -> None:
    device = load_device_mapping(json.dumps(written))
    event = event_of(body)
    measurements = device.normalize(event).measurements
    budget = EvaluationBudget(MOST_STEPS)
    tracer = Tracer(device, budget)
    for _ in range(3):
        found = tracer.trace(event, measurements)
        assert found is None or len(json.dumps(found)) < 1.2 * MOST_BYTES
    # What is charged in one go is small, so that little is done after the last step.
    assert 0 < budget.spent < 1.2 * MOST_STEPS


def test_messages_after_the_limit_have_no_trace() -> None:
    device = load_device_mapping(json.dumps(mapping(*[template()] * 300)))
    event = event_of([{**READING, "number": number} for number in range(400)])
    tracer = Tracer(device)
    found = tracer.trace(event, ())
    assert found is not None
    assert all(len(each["matches"]) + each["matchesLeftOut"] == 400 for each in found)
    assert found[0]["matches"]
    assert not found[-1]["matches"]
    assert tracer.trace(event_of(READING), ()) is None
