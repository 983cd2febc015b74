"""What both mappings share: how a collection is found in a text, and what is said where there is none."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medtech.errors import MappingIssue
from medtech.mapping.device import read_device_templates
from medtech.mapping.fhir import read_fhir_templates
from medtech.mapping.schema import PartialMapping


class Kind(NamedTuple):
    """One of the two mappings, with a template that has no fault and the property whose absence is one."""

    read: Callable[[str], PartialMapping[Any]]
    collection: str
    property: str
    container: dict[str, Any]
    required: str

    def mapping(self, **changes: Any) -> dict[str, Any]:
        """A mapping of one template."""
        template = {name: value for name, value in (self.container["template"] | changes).items() if value is not None}
        return {"templateType": self.collection, "template": [self.container | {"template": template}]}

    def read_json(self, document: Any) -> PartialMapping[Any]:
        return self.read(json.dumps(document, indent=1))

    def issues(self, document: Any) -> list[MappingIssue]:
        return self.read_json(document).issues


DEVICE = Kind(
    read_device_templates,
    "CollectionContent",
    "deviceMapping",
    {
        "templateType": "JsonPathContent",
        "template": {
            "typeName": "heartRate",
            "typeMatchExpression": "$..[?(@heartRate)]",
            "deviceIdExpression": "$.deviceId",
            "timestampExpression": "$.time",
        },
    },
    "deviceIdExpression",
)
FHIR = Kind(
    read_fhir_templates,
    "CollectionFhir",
    "fhirMapping",
    {"templateType": "CodeValueFhir", "template": {"typeName": "heartRate", "codes": [{"code": "8867-4"}]}},
    "codes",
)

both_kinds = pytest.mark.parametrize("kind", [DEVICE, FHIR], ids=lambda kind: kind.property)

Wrapping = Callable[[Kind, Any], Any]


def _resource(kind: Kind, mapping: Any) -> dict[str, Any]:
    """As Azure's resource manager answers a GET of the resource."""
    return {
        "id": "/subscriptions/s/resourceGroups/g/providers/Microsoft.HealthcareApis/workspaces/w/iotconnectors/c",
        "name": "c",
        "properties": {kind.property: {"content": mapping}, "provisioningState": "Succeeded"},
    }


WRAPPINGS: dict[str, tuple[Wrapping, str]] = {
    "plain": (lambda kind, mapping: mapping, ""),
    "content": (lambda kind, mapping: {"content": mapping}, "/content"),
    "resource": (_resource, "/properties/{property}/content"),
    "resource without properties": (
        lambda kind, mapping: {"name": "c", kind.property: {"content": mapping}},
        "/{property}/content",
    ),
    "other case": (
        lambda kind, mapping: {"Properties": {kind.property.upper(): {"CONTENT": mapping}}},
        "/Properties/{PROPERTY}/CONTENT",
    ),
}

wrapped = pytest.mark.parametrize(("wrap", "pointer"), WRAPPINGS.values(), ids=WRAPPINGS)


@both_kinds
@wrapped
def test_a_mapping_is_taken_as_the_resource_manager_hands_it_out(kind: Kind, wrap: Wrapping, pointer: str) -> None:
    templates, issues, _ = kind.read_json(wrap(kind, kind.mapping()))
    assert (len(templates), issues) == (1, [])


@both_kinds
@wrapped
def test_a_fault_is_placed_in_the_text_as_it_was_given(kind: Kind, wrap: Wrapping, pointer: str) -> None:
    text = json.dumps(wrap(kind, kind.mapping(**{kind.required: None})), indent=1)
    [issue] = kind.read(text).issues
    start = pointer.format(property=kind.property, PROPERTY=kind.property.upper())
    assert issue.pointer == f"{start}/template/0/template/{kind.required}"
    lines = text.splitlines()
    assert '"template": {' in lines[issue.line - 1]
    assert lines[issue.line - 1][: issue.position].endswith("{")


@both_kinds
def test_a_collection_with_a_property_of_a_resource_is_still_the_mapping(kind: Kind) -> None:
    templates, issues, _ = kind.read_json(kind.mapping() | {"content": "what is it for", "properties": {}})
    assert (len(templates), issues) == (1, [])


@pytest.mark.parametrize(("kind", "other"), [(DEVICE, FHIR), (FHIR, DEVICE)], ids=["device", "fhir"])
@wrapped
def test_the_other_mapping_is_one_fault_that_says_so(kind: Kind, other: Kind, wrap: Wrapping, pointer: str) -> None:
    [issue] = kind.issues(wrap(other, other.mapping()))
    assert "the other" in issue.message
    assert kind.collection in issue.message or kind.property in issue.message


@both_kinds
@pytest.mark.parametrize(
    ("document", "pointer", "words"),
    [
        ({"properties": {"provisioningState": "Succeeded"}}, "/properties", "'properties' has no '{property}'"),
        ({"properties": None}, "/properties", "'properties' has no '{property}'"),
        ({"properties": {"{property}": {}}}, "/properties/{property}", "'{property}' has no 'content'"),
        ({"properties": {"{property}": None}}, "/properties/{property}", "'{property}' has no 'content'"),
        ({"properties": {"{property}": {"content": None}}}, "/properties/{property}/content", "'content' is null"),
        ({"content": '{"templateType": "x"}'}, "/content", "'content' is the text"),
        ({"content": []}, "/content", "'content' is a list"),
    ],
)
def test_a_resource_without_a_mapping_is_one_fault(
    kind: Kind, document: dict[str, Any], pointer: str, words: str
) -> None:
    [issue] = kind.issues(json.loads(json.dumps(document).replace("{property}", kind.property)))
    assert issue.pointer == pointer.replace("{property}", kind.property)
    assert words.replace("{property}", kind.property) in issue.message
    assert issue.message.endswith(".")


@both_kinds
@wrapped
@pytest.mark.parametrize("contained", [True, False], ids=["with its container", "alone"])
def test_a_single_template_is_one_fault_that_says_how_to_wrap_it(
    kind: Kind, wrap: Wrapping, pointer: str, contained: bool
) -> None:
    [issue] = kind.issues(wrap(kind, kind.container if contained else kind.container["template"]))
    assert "a single template" in issue.message
    assert f'"templateType": "{kind.collection}"' in issue.message
    assert issue.line > 0


_NUMBERS = st.sampled_from(
    [
        "1e1000000",
        "-1e1000000",
        "1e-1000000",
        "1e999999",
        "1e400",
        f"1e{'9' * 30}",
        "9" * 380,
        "9" * 5_000,
        "0" * 5_000 + "1",
        f"0.{'0' * 5_000}1",
        f"1.{'0' * 5_000}1",
        f"0x{'f' * 17}",
        "NaN",
        "-Infinity",
        "-0",
        "5.",
        "०",
    ]
)


@given(number=_NUMBERS, quoted=st.booleans(), index=st.booleans(), place=st.integers(0, 30))
def test_any_number_anywhere_is_taken_or_an_issue_that_can_be_read(
    number: str, quoted: bool, index: bool, place: int
) -> None:
    """Each text of a mapping in turn is such a number, as a text, as a JSON number, or inside an expression."""
    for mapping, read in ((_DEVICE_OF_NUMBERS, read_device_templates), (_FHIR_OF_NUMBERS, read_fhir_templates)):
        pieces = json.dumps(mapping).split('"?"')
        written = f'"x[{number}]"' if index else f'"{number}"' if quoted else number
        chosen = place % (len(pieces) - 1)
        text = '"$.x"'.join(pieces[: chosen + 1]) + written + '"$.x"'.join(pieces[chosen + 1 :])
        found = read(text)
        assert all(len(issue.message) < 1_000 for issue in found.issues)


_DEVICE_OF_NUMBERS = {
    "templateType": "CollectionContent",
    "template": [
        {
            "templateType": "CalculatedContent",
            "template": {
                "typeName": "?",
                "typeMatchExpression": "?",
                "deviceIdExpression": {"value": "?", "language": "JmesPath"},
                "timestampExpression": "?",
                "defaultExpressionLanguage": "?",
                "values": [
                    {"valueName": "?", "valueExpression": {"value": "x", "language": "?"}, "required": "?"},
                    "?",
                ],
            },
        },
        "?",
    ],
}
_VALUE_OF_NUMBERS = {"valueType": "SampledData", "valueName": "?", "defaultPeriod": "?", "unit": "?"}
_FHIR_OF_NUMBERS = {
    "templateType": "CollectionFhir",
    "template": [
        {
            "templateType": "CodeValueFhir",
            "template": {
                "typeName": "?",
                "periodInterval": "?",
                "codes": [{"code": "?", "system": "?", "display": "?"}],
                "category": [{"text": "?", "codes": "?"}],
                "value": _VALUE_OF_NUMBERS,
                "components": [{"codes": "?", "value": _VALUE_OF_NUMBERS | {"valueType": "?"}}],
            },
        }
    ],
}
