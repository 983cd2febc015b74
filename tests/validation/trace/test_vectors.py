"""Traces of every vector: what they say was taken is what the pipeline takes."""

from collections.abc import Iterator
from typing import Any

import pytest

from medtech.dotnet import ticks
from medtech.dotnet.json_body import parse_body
from medtech.errors import MappingInvalid
from medtech.evaluation_budget import UNBOUNDED
from medtech.jmespath.errors import ExpressionFailed, ExpressionInvalid
from medtech.jmespath.expression import compile_expression
from medtech.jsonpath.errors import PathInvalid
from medtech.jsonpath.path import compile_path
from medtech.jsonpath.syntax import parse_path
from medtech.mapping.content_template import ContentTemplate
from medtech.mapping.device import DeviceMapping, load_device_mapping
from medtech.model import DeviceEvent, Measurement, Normalized
from medtech.validation.trace.excerpt import Excerpt
from medtech.validation.trace.jmes_path import LocatedExpression, Projection
from medtech.validation.trace.json_path import LocatedPath
from medtech.validation.trace.place import DocumentPlaces, Given
from medtech.validation.trace.tracer import MOST_MATCHES, ExpressionTrace, MatchTrace, Tracer
from medtech.validation.trial import document_of
from tests.conformance.observations import mapping_text
from tests.conformance.vectors import read
from tests.validation.trace.documents import at


def _messages() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for vector in read("normalize"):
        yield vector["id"], mapping_text(vector["mapping"]), vector["event"]
    for vector in read("pipeline"):
        for number, event in enumerate(vector["events"]):
            yield f"{vector['id']}-{number}", mapping_text(vector["device"]), event


MESSAGES = list(_messages())
PATHS = [pytest.param(each["expr"], each["doc"], id=each["id"]) for each in read("jsonpath")]
EXPRESSIONS = [pytest.param(each["expr"], each["doc"], id=each["id"]) for each in read("jmespath")]


@pytest.mark.parametrize(("mapping", "event"), [each[1:] for each in MESSAGES], ids=[each[0] for each in MESSAGES])
def test_a_trace_says_what_the_pipeline_took(mapping: str, event: dict[str, Any]) -> None:
    try:
        device = load_device_mapping(mapping)
    except MappingInvalid:
        return
    check(device, DeviceEvent(event["Body"].encode(), event["Properties"], event["SystemProperties"], 0, "", "0", 0))


def test_the_messages_are_of_every_kind() -> None:
    """So that the test above cannot pass for want of something to compare."""
    matches = measured = failed = several = 0
    for _, mapping, event in MESSAGES:
        try:
            device = load_device_mapping(mapping)
        except MappingInvalid:
            continue
        message = DeviceEvent(event["Body"].encode(), event["Properties"], event["SystemProperties"], 0, "", "0", 0)
        for template in Tracer(device).trace(message, device.normalize(message).measurements) or ():
            matches += len(template["matches"])
            several += len(template["matches"]) > 1
            measured += sum(each["measurement"] is not None for each in template["matches"])
            failed += sum(each["measurement"] is None for each in template["matches"])
    assert matches > 500
    assert min(measured, failed, several) > 50


def check(device: DeviceMapping, event: DeviceEvent) -> None:
    """The trace of a message against what the pipeline makes of it."""
    normalized = device.normalize(event)
    traced = Tracer(device).trace(event, normalized.measurements)
    document = document_of(event)
    assert traced is not None
    if document is None:
        assert traced == []
        return
    found = {
        index: tokens for index, tokens in device.matcher.find(document, UNBOUNDED).items() if isinstance(tokens, list)
    }
    assert [template["template"] for template in traced] == sorted(found)
    numbers: list[int] = []
    for of_template in traced:
        template, tokens = device.templates[of_template["template"]], found[of_template["template"]]
        assert of_template["typeName"] == template.type
        assert len(of_template["matches"]) == min(len(tokens), MOST_MATCHES)
        assert of_template["matchesLeftOut"] == len(tokens) - len(of_template["matches"])
        for number, match in enumerate(of_template["matches"]):
            if match["pointer"] is not None:
                assert_same(at(document, match["pointer"]), tokens[number])
            check_match(template, number, match, normalized)
            check_places(match, document)
            if match["measurement"] is not None:
                numbers.append(match["measurement"])
    assert (
        numbers
        == sorted(numbers)
        == [number for number, each in enumerate(normalized.measurements) if each.match < MOST_MATCHES]
    )


def check_match(template: ContentTemplate, number: int, match: MatchTrace, normalized: Normalized) -> None:
    failures = [each for each in normalized.failures if (each.template, each.match) == (template.index, number)]
    if match["measurement"] is not None:
        measurement = normalized.measurements[match["measurement"]]
        assert (measurement.template, measurement.match) == (template.index, number)
        assert not failures
        assert [each["error"] for each in match["expressions"]] == [None] * len(match["expressions"])
        check_measurement(template, match["expressions"], measurement)
    else:
        (failure,) = failures
        assert str(failure.error) in errors_of(match)


def errors_of(match: MatchTrace) -> list[str]:
    return [each["error"] for each in match["expressions"] if each["error"] is not None]


def check_measurement(template: ContentTemplate, traced: list[ExpressionTrace], measurement: Measurement) -> None:
    results = [each["result"] for each in traced]
    assert not any(each["cut"] for each in traced)
    values = results[len(results) - len(template.values) :]
    names = [field.origin.name for field in template.values]
    pairs = tuple((name, text) for name, text in zip(names, values, strict=True) if text is not None)
    assert pairs == measurement.properties
    ids = [results.pop(0)]
    times = [each["result"] for each in traced[1 : 1 + len(template.time)] if "timestamp" in each["property"].lower()]
    assert times[-1] == ticks.format_iso(measurement.occurrence_time)
    assert times[:-1] == [None] * (len(times) - 1)
    results = results[len(times) :]
    optional = (template.patient_id, template.encounter_id, template.correlation_id)
    ids += [None if field is None else results.pop(0) for field in optional]
    assert ids == [measurement.device_id, measurement.patient_id, measurement.encounter_id, measurement.correlation_id]


def check_places(match: MatchTrace, document: dict[str, Any]) -> None:
    """Each value lies where its pointer points."""
    for expression in match["expressions"]:
        assert expression["steps"][-1]["pointer"] == expression["pointer"]
        for step in expression["steps"]:
            # The root has the matched token beside the document; NaN equals nothing, and is shown as a text.
            if step["pointer"]:
                assert Excerpt(at(document, step["pointer"])).value == step["value"]
            if step["pointers"] and not step["cut"]:
                for pointer, value in zip(step["pointers"], step["value"], strict=True):
                    assert pointer is None or Excerpt(at(document, pointer)).value == value


@pytest.mark.parametrize(("expression", "body"), PATHS)
def test_a_located_path_finds_the_same_tokens(expression: str, body: str) -> None:
    try:
        path = compile_path(expression)
    except PathInvalid:
        return
    document = parse_body(body.encode())
    places = DocumentPlaces(document, UNBOUNDED)
    located = LocatedPath(parse_path(expression)).find(Given.whole(places), UNBOUNDED)
    tokens = path.find(document)
    found = located[-1] if located else []
    if located:
        assert len(found) == len(tokens)
    for each, token in zip(found, tokens, strict=False):
        assert_same(each.token, token)
        assert each.place is not None
        assert_same(at(document, each.place.pointer() or ""), token)


@pytest.mark.parametrize(("expression", "body"), EXPRESSIONS)
def test_a_located_expression_finds_the_same_value(expression: str, body: str) -> None:
    try:
        compiled = compile_expression(expression)
    except ExpressionInvalid:
        return
    document = parse_body(body.encode())
    located = LocatedExpression(expression, None, UNBOUNDED)
    found = located.find(Given.whole(DocumentPlaces(document, UNBOUNDED)), UNBOUNDED)
    assert located.parts[-1].expression == expression.strip()
    try:
        value = compiled.search(document)
    except ExpressionFailed as error:
        assert found[-1].error == str(error)
        return
    assert found[-1].error is None
    assert repr(found[-1].value) == repr(value)
    for each in found:
        if each.place is not None:
            assert_same(at(document, each.place.pointer() or ""), each.value)
        if each.places is not None:
            assert isinstance(each.value, list | Projection)
            for place, element in zip(each.places, each.value, strict=True):
                if place is not None:
                    assert_same(at(document, place.pointer() or ""), element)


def assert_same(one: Any, other: Any) -> None:
    """The same object, or the same text or number."""
    if isinstance(one, dict | list):
        assert one is other or (one == other and id(one) != id(other) and type(one) is type(other))
    else:
        assert type(one) is type(other)
        assert repr(one) == repr(other)
