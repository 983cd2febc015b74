"""Loading a device mapping: what is taken, and every fault with its place."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from medtech.errors import MappingInvalid, MappingIssue, Stage
from medtech.jmespath.functions import ANY, FUNCTIONS, Function
from medtech.mapping.device import load_device_mapping, read_device_templates
from medtech.model import DeviceEvent

TABLE = json.loads((Path(__file__).parent / "device_faults.json").read_text(encoding="utf-8"))


def _text(case: dict[str, Any]) -> str:
    template = {name: value for name, value in TABLE["base"].items() if name not in case.get("remove", ())}
    template |= case.get("set", {})
    container = {"templateType": case.get("kind", "CalculatedContent"), "template": template}
    return json.dumps({"templateType": "CollectionContent", "template": [container]}, indent=2)


def _issues(text: str) -> list[MappingIssue]:
    try:
        load_device_mapping(text)
    except MappingInvalid as error:
        return error.issues
    return []


@pytest.mark.parametrize("case", TABLE["cases"], ids=lambda case: case["case"])
def test_faults_of_a_template(case: dict[str, Any]) -> None:
    issues = _issues(_text(case))
    assert [(issue.template, issue.pointer, issue.line, issue.position) for issue in issues] == [
        (0, f"/template/0/template{pointer}", line, position) for pointer, line, position, _ in case["issues"]
    ]
    for issue, (_, _, _, words) in zip(issues, case["issues"], strict=True):
        assert words in issue.message


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("", (1, 0), "not JSON"),
        ("{", (1, 1), "not JSON"),
        ('{"template": []}}', (1, 16), "text follows"),
        ("[]", (1, 1), "is a list"),
        ("null", (1, 4), "is null"),
        ("{}", (1, 1), "'templateType' is not CollectionContent"),
        (
            '{"templateType": "CollectionFhir", "template": []}',
            (1, 16),
            "This is a CollectionFhir, the other",
        ),
        ('{"templateType": "CollectionContent"}', (1, 1), "Write the templates as a list"),
        ('{"templateType": "CollectionContent", "template": {}}', (1, 49), "Write the templates as a list"),
        ('{"templateType": "CollectionContent", "template": [5]}', (1, 52), "number 5"),
        ('{"templateType": "CollectionContent", "template": [null]}', (1, 55), "null"),
        ('{"templateType": "CollectionContent", "template": [{}]}', (1, 52), "no template type ''"),
        ('{"templateType": "CollectionContent", "template": [{"templateType": "X", "template": 1}]}', (1, 84), "'X'"),
        (
            '{"templateType": "CollectionContent", "template": [{"templateType": "JsonPathContent"}]}',
            (1, 52),
            "'template' is not an object",
        ),
    ],
)
def test_faults_of_the_collection(text: str, place: tuple[int, int], words: str) -> None:
    issue = _issues(text)[0]
    assert (issue.line, issue.position) == place
    assert words in issue.message


@pytest.mark.parametrize(
    "text",
    [
        '{"templateType": "CollectionContent", "template": []}',
        '\ufeff// a comment\n{"TEMPLATETYPE": "collectioncontenttemplate", /* another */ "Template": [],}',
        '{"templateType": "CollectionContent", "template": [], "comment": "the service does not look at it"}',
        "{'templateType': 'CollectionContent', template: []} // end",
    ],
)
def test_collections_that_the_service_takes(text: str) -> None:
    assert load_device_mapping(text).templates == ()


def test_every_fault_of_every_template_at_once_in_order_of_place() -> None:
    containers = [
        {"templateType": "CalculatedContent", "template": {"typeName": "a"}},
        {"templateType": "JsonPathContent", "template": TABLE["base"]},
        {"templateType": "Nope", "template": {}},
        {"templateType": "JsonPathContent", "template": {**TABLE["base"], "typeMatchExpression": "$["}},
        {"templateType": "JsonPathContent", "template": {**TABLE["base"], "timestampExpression": "$["}},
    ]
    text = json.dumps({"templateType": "CollectionContent", "template": containers}, indent=2)
    with pytest.raises(MappingInvalid) as caught:
        load_device_mapping(text)
    issues = caught.value.issues
    assert [issue.template for issue in issues] == [0, 0, 0, 2, 3, 4]
    assert [issue.line for issue in issues] == sorted(issue.line for issue in issues)
    assert all(issue.message.endswith(".") for issue in issues)
    assert caught.value.stage is Stage.SETUP
    assert [template.index for template, _ in read_device_templates(text).templates] == [1]


def test_an_expression_that_does_not_parse_is_shown_with_the_place_in_it() -> None:
    (issue,) = _issues(_text({"set": {"deviceIdExpression": "$.a[?(@b = 1)]"}}))
    assert "'$.a[?(@b = 1)]' is not a JsonPath expression" in issue.message
    assert "at character 10" in issue.message


def test_a_mapping_of_a_thousand_templates_loads() -> None:
    containers = [
        {
            "templateType": "JsonPathContent",
            "template": {**TABLE["base"], "typeName": f"t{number}", "typeMatchExpression": f"$..[?(@t{number})]"},
        }
        for number in range(1000)
    ]
    mapping = load_device_mapping(json.dumps({"templateType": "CollectionContent", "template": containers}))
    assert [template.type for template in mapping.templates] == [f"t{number}" for number in range(1000)]


def test_a_mapping_nested_without_end_is_refused() -> None:
    assert _issues('{"templateType":' + '{"a":' * 100_000)


_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
_JSON = st.recursive(
    _SCALARS | st.sampled_from(["$.a", "$..[?(@a)]", "$[", "a.b", "JmesPath", "true"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["value", "language", "valueName", "valueExpression", "required"]) | st.text(max_size=5),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
_NAMES = st.sampled_from([*TABLE["base"], "defaultExpressionLanguage", "correlationIdExpression", "x"])
_KINDS = st.sampled_from(["CalculatedContent", "JsonPathContent", "IotJsonPathContent", "IotCentralJsonPathContent"])


@given(_KINDS | _JSON, st.dictionaries(_NAMES, _JSON))
@example(2**63, {})
def test_any_template_loads_or_is_refused_with_places(kind: Any, changes: dict[str, Any]) -> None:
    text = json.dumps(
        {
            "templateType": "CollectionContent",
            "template": [{"templateType": kind, "template": {**TABLE["base"], **changes}}],
        },
        indent=1,
    )
    for issue in _issues(text):
        assert issue.line > 0
        assert issue.message


@given(st.text(alphabet="{}[],:\"'/*\n \\ut0a$.", max_size=60))
def test_any_text_loads_or_is_refused(text: str) -> None:
    for issue in _issues(text):
        assert issue.line > 0


@pytest.mark.parametrize(
    ("expression", "asked"),
    [
        ("counted(Body.rows[].n)", 1),
        ("Body.rows[?n == `1`] | counted(@)", 1),
        ("counted(matchedToken.n)", 20),
        ("counted(Body.rows[].n) || matchedToken.n", 20),
        ("counted(@)", 20),
    ],
)
def test_an_expression_that_does_not_use_the_match_is_evaluated_once_a_message(
    expression: str, asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def counted(value: Any) -> int:
        calls.append(value)
        return len(calls)

    monkeypatch.setitem(FUNCTIONS, "counted", Function("counted", (ANY,), False, False, counted))
    template = {
        "typeName": "t",
        "typeMatchExpression": "$..[?(@.n)]",
        "deviceIdExpression": "$.Body.device",
        "timestampExpression": "$.Body.time",
        "values": [{"valueName": "v", "valueExpression": {"value": expression, "language": "JmesPath"}}],
    }
    container = {"templateType": "CalculatedContent", "template": template}
    mapping = load_device_mapping(json.dumps({"templateType": "CollectionContent", "template": [container]}))
    body = {"device": "d", "time": "2026-03-02T08:00:00Z", "rows": [{"n": n} for n in range(20)]}
    for message in range(1, 3):
        event = DeviceEvent(json.dumps(body).encode(), {}, {}, 0, "", "0", message)
        measurements, failures = mapping.normalize(event)
        assert (len(measurements), failures) == (20, [])
        assert len(calls) == message * asked
