"""The function that is written for a template gives what its fields, read one by one, give."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from medtech.dotnet.text import is_blank
from medtech.dotnet.tokens import NoReading, Text, text_reading, time_reading
from medtech.evaluation_budget import UNBOUNDED, EvaluationBudget
from medtech.jmespath.errors import ExpressionFailed
from medtech.mapping.content_template import ContentTemplate, Evaluation, Field, Origin, PropertyLookup
from medtech.mapping.expression import FAILED
from medtech.mapping.extraction import compile_extraction
from medtech.model import Measurement, NormalizationFailure

_NAMES = st.sampled_from(["a", "b", "c"])
_TEXTS = st.sampled_from(
    [
        "",
        " ",
        "\u00a0\u2003",
        "\x1c",
        "a",
        "device-12",
        "2020-01-01T00:00:00Z",
        "2020-01-01T00:00:00.1234567Z",
        "2020-01-01T00:00:00.250Z",
        "2020-01-01T00:00:00.061144Z",
        "2020-13-01T00:00:00.250Z",
        "2020-01-01T00:00:00.25aZ",
        "2020-01-01T00:00:00.0611a4Z",
        "2020-01-01T00:00:00+0200",
        "2020-01-01T00:00:00+02:00",
        "02/01/2019 22:46",
        "/Date(0)/",
        "/Date(no)/",
        "123456789",
        "10:00",
        "\ud800x",
        "\ud83d\ude00",
        "😀",
        "nul\0",
    ]
)
_SCALARS = (
    st.none()
    | st.booleans()
    | st.sampled_from([0, 1, 2**63, 98.6, 1e400, float("nan")])
    | st.sampled_from([24, 27]).map(lambda length: [0] * length)  # as long as usual times are
    | st.sampled_from([24, 27]).map(lambda length: dict.fromkeys(map(str, range(length)), 0))
    | _TEXTS
    | _TEXTS.map(Text)
    | st.text(max_size=20)
)
_TOKENS = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_NAMES, inner, max_size=3), max_leaves=6
)
_OBJECTS = st.dictionaries(_NAMES, _TOKENS, max_size=3)


@st.composite
def _sources(draw: st.DrawFn) -> PropertyLookup | Evaluation:
    kind = draw(st.integers(0, 4))
    if kind < 3:
        return PropertyLookup(draw(st.booleans()), tuple(draw(st.lists(_NAMES, max_size=2))))
    answer = draw(_TOKENS)
    return Evaluation(draw(st.booleans()), _fails if kind == 4 else lambda document, token, budget: answer, 1)


def _fails(document: Any, token: Any, budget: EvaluationBudget) -> Any:
    raise ExpressionFailed("fails")


def _origin(name: str, expression: str, line: int, position: int) -> Origin:
    return Origin(name, expression, "JsonPath", line, position, "/template/3/template")


@st.composite
def _fields(draw: st.DrawFn, required: bool | None = None) -> Field:
    name = draw(_NAMES)
    wanted = draw(st.booleans()) if required is None else required
    return Field(_origin(name, f"$.{name}", 7, 20), draw(_sources()), wanted)


_REQUIRED, _OPTIONAL = _fields(required=True), st.none() | _fields(required=False)
_TEMPLATES = st.builds(
    ContentTemplate,
    index=st.just(3),
    type=st.just("heartRate"),
    type_match=st.just(_origin("typeMatchExpression", "$", 1, 1)),
    device_id=_REQUIRED,
    time=st.lists(_REQUIRED, min_size=1, max_size=2).map(tuple),
    patient_id=_OPTIONAL,
    encounter_id=_OPTIONAL,
    correlation_id=st.none() | _REQUIRED,
    values=st.lists(_fields(), max_size=3).map(tuple),
    on_document=st.booleans(),
)


class _Unreadable(Exception):
    pass


def _token(source: PropertyLookup | Evaluation, document: Any, matched: Any) -> Any:
    if isinstance(source, Evaluation):
        return source.evaluate(document, matched, UNBOUNDED)
    token = matched if source.from_match else document
    for name in source.names:
        token = token.get(name) if isinstance(token, dict) else None
    return token


def _text(field: Field | None, document: Any, matched: Any) -> str | None:
    if field is None:
        return None
    token = _token(field.source, document, matched)
    try:
        text = text_reading(token)
    except NoReading:
        if field.required:
            raise
        text = None
    if field.required and (text is None or is_blank(text)):
        raise _Unreadable
    return text if text is None else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _time(template: ContentTemplate, document: Any, matched: Any) -> int:
    *alternatives, last = template.time
    for field in alternatives:
        try:
            return time_reading(_token(field.source, document, matched))
        except NoReading:
            continue
    return time_reading(_token(last.source, document, matched))


def _measurement(template: ContentTemplate, document: Any, matched: Any, match: int) -> Measurement:
    return Measurement(
        template.type,
        _time(template, document, matched),
        _text(template.device_id, document, matched) or "",
        _text(template.patient_id, document, matched),
        _text(template.encounter_id, document, matched),
        _text(template.correlation_id, document, matched),
        tuple(
            (field.origin.name, text)
            for field in template.values
            if (text := _text(field, document, matched)) is not None
        ),
        5,
        "p",
        9,
        template.index,
        match,
    )


def _extracted(
    template: ContentTemplate, document: Any, tokens: list[Any], *, matches_once: bool
) -> tuple[list[Measurement], list[NormalizationFailure]]:
    measurements: list[Measurement] = []
    failures: list[NormalizationFailure] = []
    extract, constants = compile_extraction(template, matches_once=matches_once)
    extract(constants, document, tokens, 5, "p", 9, measurements, failures, UNBOUNDED)
    return measurements, failures


@given(template=_TEMPLATES, document=_OBJECTS, tokens=st.lists(_OBJECTS | _TOKENS, min_size=1, max_size=3))
def test_written_function_equals_reading_field_by_field(
    template: ContentTemplate, document: dict[str, Any], tokens: list[Any]
) -> None:
    expected, failed = [], []
    for match, matched in enumerate(tokens):
        try:
            expected.append(_measurement(template, document, matched, match))
        except (NoReading, *FAILED, _Unreadable):
            failed.append((3, match))
    only_objects = all(type(token) is dict for token in tokens)
    for matches_once in {only_objects, False}:
        measurements, failures = _extracted(template, document, tokens, matches_once=matches_once)
        # Half characters in plain look-ups cannot come from a message: its reader replaces them.
        assert [_encodable(each) for each in measurements] == expected
        assert [(failure.template, failure.match) for failure in failures] == failed
        assert all(type(text) is str for each in measurements for _, text in each.properties)


def _encodable(measurement: Measurement) -> Measurement:
    def repaired(text: str | None) -> str | None:
        return text and text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    return measurement._replace(
        device_id=repaired(measurement.device_id) or "",
        patient_id=repaired(measurement.patient_id),
        encounter_id=repaired(measurement.encounter_id),
        correlation_id=repaired(measurement.correlation_id),
        properties=tuple((name, repaired(text) or "") for name, text in measurement.properties),
    )


def _template(**changes: Any) -> ContentTemplate:
    fields = {
        "index": 3,
        "type": "heartRate",
        "type_match": _origin("typeMatchExpression", "$", 1, 1),
        "device_id": Field(_origin("deviceIdExpression", "$.d", 4, 9), PropertyLookup(False, ("d",)), True),
        "time": (Field(_origin("timestampExpression", "$.t", 5, 9), PropertyLookup(True, ("t",)), True),),
        "patient_id": None,
        "encounter_id": None,
        "correlation_id": None,
        "values": (Field(_origin("hr", "$.v", 8, 9), PropertyLookup(True, ("v",)), True),),
        "on_document": True,
    }
    return ContentTemplate(**{**fields, **changes})


def test_a_failure_says_template_expression_line_and_reason_and_no_value() -> None:
    tokens = [{"t": "secret", "v": "1"}, {"t": "2020-01-01T00:00:00Z", "v": {"secret": 1}}]
    _, failures = _extracted(_template(), {"d": "secret"}, tokens, matches_once=True)
    texts = [failure.error.message for failure in failures]
    assert [failure.error.name for failure in failures] == ["IncompatibleData", "IncompatibleData"]
    assert "Template 3 ('heartRate'), 'timestampExpression': the text is not a time" in texts[0]
    assert "read by $.t (line 5 of" in texts[0]
    assert "'hr': an object has no text reading" in texts[1]
    assert "secret" not in "".join(texts)


def test_a_message_without_device_id_has_the_error_the_service_documents_for_it() -> None:
    tokens = [{"t": "2020-01-01T00:00:00Z", "v": "1"}] * 2
    measurements, failures = _extracted(_template(), {}, tokens, matches_once=True)
    assert not measurements
    assert [(failure.error.name, failure.match) for failure in failures] == [
        ("DeviceIdentityNotDefined", 0),
        ("DeviceIdentityNotDefined", 1),
    ]


def test_half_characters_that_a_function_made_are_replaced() -> None:
    value = Field(
        _origin("hr", "reverse(v)", 8, 9), Evaluation(True, lambda document, token, budget: "\ude00\ud83d", 1), True
    )
    tokens = [{"t": "2020-01-01T00:00:00Z"}]
    measurements, _ = _extracted(_template(values=(value,)), {"d": "x"}, tokens, matches_once=True)
    assert measurements[0].properties == (("hr", "\ufffd\ufffd"),)


def test_what_does_not_depend_on_the_match_is_evaluated_once_a_message() -> None:
    calls: list[str] = []

    def evaluation(name: str, *, from_match: bool, found: Any) -> Field:
        def evaluate(document: Any, token: Any, budget: EvaluationBudget) -> Any:
            calls.append(name)
            return found

        return Field(_origin(name, name, 4, 9), Evaluation(from_match, evaluate, 1), True)

    template = _template(
        device_id=evaluation("device", from_match=False, found="d"),
        time=(evaluation("time", from_match=False, found="2020-01-01T00:00:00Z"),),
        values=(evaluation("all", from_match=False, found=7), evaluation("each", from_match=True, found=8)),
    )
    measurements, failures = _extracted(template, {}, [{}] * 3, matches_once=True)
    assert [each.properties for each in measurements] == [(("all", "7"), ("each", "8"))] * 3
    assert (sorted(calls), failures) == (["all", "device", *["each"] * 3, "time"], [])


def test_a_failure_that_all_matches_share_is_told_where_no_earlier_part_fails() -> None:
    template = _template(
        device_id=Field(_origin("deviceIdExpression", "$.d", 4, 9), PropertyLookup(True, ("d",)), True),
        time=(Field(_origin("timestampExpression", "now()", 5, 9), Evaluation(False, _fails, 1), True),),
    )
    _, failures = _extracted(template, {}, [{"d": "x"}, {}, {"d": "y"}], matches_once=True)
    assert [(failure.match, failure.error.name, failure.error.line) for failure in failures] == [
        (0, "IncompatibleData", 5),
        (1, "DeviceIdentityNotDefined", 4),
        (2, "IncompatibleData", 5),
    ]


_DATES = st.sampled_from(["2020-01-01T00:00:00", "2020-01-01T00:00:00.123456789Z", "/Date(0)/", "/Date(-1+0100)/"])


@given(_DATES | st.text(max_size=30) | st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T.{0,20}|/Date.{0,9}"))
def test_a_date_in_a_plain_look_up_is_seen_by_the_test_written_into_the_source(text: str) -> None:
    """The function asks what `json_date` asks first, to save the call: it must let every date through."""
    measurements, _ = _extracted(
        _template(), {"d": "x"}, [{"t": "2020-01-01T00:00:00Z", "v": f"{text}"}], matches_once=True
    )
    assert [dict(each.properties)["hr"] for each in measurements] == ([] if is_blank(text) else [text_reading(text)])


def test_text_of_a_mapping_never_becomes_code() -> None:
    evil = "'\"\\\n__import__('os').abort()#{}%s"
    template = _template(
        type=evil,
        device_id=Field(_origin(evil, evil, 1, 1), PropertyLookup(False, (evil, evil)), True),
        values=(Field(_origin(evil, evil, 1, 1), PropertyLookup(True, (evil,)), True),),
    )
    tokens = [{"t": "2020-01-01T00:00:00Z", evil: "1"}]
    measurements, failures = _extracted(template, {evil: {evil: "x"}}, tokens, matches_once=True)
    assert (measurements[0].type, measurements[0].device_id, measurements[0].properties) == (evil, "x", ((evil, "1"),))
    assert not failures
