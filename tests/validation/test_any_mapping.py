"""No mapping and no message, however odd, keeps a validation from its answer; every fix is well-formed."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from medtech.dotnet import ticks
from medtech.validation.finding import Level
from medtech.validation.message import BadRequest, read_message
from medtech.validation.validator import read_mappings, validate
from tests.validation import applying
from tests.validation.test_findings import (
    LOINC,
    MESSAGE,
    UCUM,
    all_findings,
    device_mapping,
    device_template,
    fhir_mapping,
    fhir_template,
)

_ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 1500),
    st.sampled_from([[], {}, "", " ", "rate", "heartRate", LOINC, UCUM, "8867-4", "59408-5", "/min", "mmHg", "ä/ö~"]),
    st.sampled_from(["$..[?(@heartRte)]", "$.matchedToken.Time", "add(x, 5)", "x == true", "$.", "divide(a, '2')"]),
    st.fixed_dictionaries(
        {"value": st.sampled_from(["add(x, 5)", "matchedToken.tme"]), "language": st.just("JmesPath")}
    ),
)
_NAMES = st.sampled_from([*device_template(), *fhir_template(), "components", "defaultExpressionLanguage", "other"])


@st.composite
def _templates(draw: st.DrawFn, template: dict[str, Any]) -> dict[str, Any]:
    """A template with some of its properties, or of those of its value, replaced or removed."""
    for name in draw(st.lists(_NAMES, max_size=3)):
        inner = template.get("value")
        holder = inner if isinstance(inner, dict) and draw(st.booleans()) else template
        if draw(st.booleans()):
            holder[draw(st.sampled_from([name, "unit", "code", "system", "valueName", "valueType"]))] = draw(_ODD)
        else:
            holder.pop(name, None)
    return template


_DEVICES = st.builds(device_template).flatmap(_templates)
_FHIRS = st.builds(fhir_template).flatmap(_templates)
_MESSAGES = st.one_of(
    _ODD,
    st.builds(lambda name, odd: {**MESSAGE, name: odd}, st.sampled_from([*MESSAGE, "Body", "bodyBase64"]), _ODD),
    st.just(MESSAGE),
)


@given(st.lists(_DEVICES, max_size=2), st.lists(_FHIRS, max_size=2), st.lists(_MESSAGES, max_size=3), st.booleans())
@settings(max_examples=150, deadline=None)
def test_it_is_answered_and_its_fixes_are_json(devices: Any, fhirs: Any, messages: Any, aggregate: bool) -> None:
    device, fhir = device_mapping(*devices), fhir_mapping(*fhirs)
    mappings = read_mappings(device, fhir)
    try:
        events = [read_message(message, number) for number, message in enumerate(messages)]
    except BadRequest:
        events = []
    outcome = validate(mappings, events, aggregate=aggregate, issued=ticks.now())
    levels = [finding.level for finding in outcome.findings]
    assert levels == sorted(levels, key=[Level.ERROR, Level.WARNING].index)
    for finding in all_findings(outcome):
        if finding.fix is not None:
            text = device if finding.mapping == "deviceMapping" else fhir
            assert json.loads(applying.to_text(text, finding.fix)) == applying.to_document(text, finding.fix)
