"""Reads and checks device templates of the four kinds, one template at a time.

The kinds differ in what their expressions are evaluated on (the message document with `matchedToken`, or the matched
token itself), in their languages, and in what is fixed: the IoT kinds know where device id and time are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from medtech.dotnet.json_reader import Node
from medtech.dotnet.text import is_blank
from medtech.jmespath.expression import Expression, compile_expression
from medtech.jsonpath.path import Path, compile_path
from medtech.mapping.content_template import ContentTemplate, Evaluation, Field, Origin, PropertyLookup
from medtech.mapping.expression import INVALID, MATCHED_TOKEN, SeveralTokens
from medtech.mapping.matching import Scan, Search, finder_of
from medtech.mapping.schema import Container, Issues, Section, describe, shortened

LANGUAGES = {"JsonPath": 0, "JmesPath": 1}
_JSONPATH, _JMESPATH = LANGUAGES.values()

_Compiled = TypeVar("_Compiled")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of device template. If it fixes the paths of device id and time, it ignores the properties for them."""

    name: str
    properties: tuple[str, ...]
    ignored: tuple[str, ...] = ()
    on_document: bool = False
    device_id: str | None = None
    times: tuple[str, ...] = ()


_DEVICE_ID, _TIME, _CORRELATION_ID = "deviceIdExpression", "timestampExpression", "correlationIdExpression"
_COMMON = (
    "typeName",
    "typeMatchExpression",
    "patientIdExpression",
    "encounterIdExpression",
    _CORRELATION_ID,
    "values",
)

KINDS = (
    Kind("CalculatedContent", (*_COMMON, _DEVICE_ID, _TIME, "defaultExpressionLanguage"), on_document=True),
    Kind("JsonPathContent", (*_COMMON, _DEVICE_ID, _TIME)),
    Kind(
        "IotJsonPathContent",
        _COMMON,
        ignored=(_DEVICE_ID, _TIME, "alternateTimestampExpression"),
        device_id="$.SystemProperties.iothub-connection-device-id",
        times=("$.Properties.iothub-creation-time-utc", "$.SystemProperties.iothub-enqueuedtime"),
    ),
    Kind(
        "IotCentralJsonPathContent",
        _COMMON,
        ignored=(_DEVICE_ID, _TIME),
        device_id="$.deviceId",
        times=("$.enqueuedTime",),
    ),
)

VALUE_PROPERTIES = ("valueName", "valueExpression", "required")


def read_template(container: Container, issues: Issues) -> tuple[ContentTemplate, Scan | Search] | None:
    """The template and what finds its matches; None if something is wrong, which is an issue then."""
    kind = next((kind for kind in KINDS if container.matches(kind.name)), None)
    if kind is None:
        names = ", ".join(kind.name for kind in KINDS)
        container.section.fault("template", f"There is no template type '{container.kind}'. Write one of: {names}.")
        return None
    if container.template is None or not isinstance(container.template.value, dict):
        container.section.fault("template", "'template' is not an object. Write the template's properties, {...}.")
        return None
    before = issues.count
    found = _TemplateReader(kind, container.index, Section(container.template, issues)).read()
    return found if issues.count == before else None


@dataclass(frozen=True, slots=True)
class _Written:
    """An expression's text, its language, and the node that an issue of it is reported at."""

    text: str
    language: int
    node: Node


class _TemplateReader:
    """Reads as much as possible of one template, so that all its faults become issues."""

    def __init__(self, kind: Kind, index: int, section: Section) -> None:
        self._kind = kind
        self._index = index
        self._section = section
        self._language = _JSONPATH

    def read(self) -> tuple[ContentTemplate, Scan | Search] | None:
        kind, section = self._kind, self._section
        section.refuse_others(*kind.properties, ignored=kind.ignored)
        if kind.on_document and section.find("defaultExpressionLanguage") is not None:
            self._language = section.enumeration("defaultExpressionLanguage", LANGUAGES) or _JSONPATH
        type_name = section.required_text("typeName")
        matched = self._type_match()
        device_id = self._required_or_fixed(_DEVICE_ID, kind.device_id)
        times = [self._required_or_fixed(_TIME, path) for path in kind.times or (None,)]
        patient_id = self._optional("patientIdExpression")
        encounter_id = self._optional("encounterIdExpression")
        # A template that names a correlation id needs one from every match.
        correlation_id = self._optional(_CORRELATION_ID, required=True)
        values = self._values()
        if type_name is None or matched is None or device_id is None:
            return None
        type_match, finder = matched
        template = ContentTemplate(
            index=self._index,
            type=type_name,
            type_match=type_match,
            device_id=device_id,
            time=tuple(time for time in times if time is not None),
            patient_id=patient_id,
            encounter_id=encounter_id,
            correlation_id=correlation_id,
            values=values,
            on_document=kind.on_document,
        )
        return template, finder

    def _type_match(self) -> tuple[Origin, Scan | Search] | None:
        written = self._written(self._section, "typeMatchExpression", required=True)
        if written is None:
            return None
        origin = _origin("typeMatchExpression", written)
        if written.language == _JMESPATH:
            expression = self._compiled(written, compile_expression, None)
            return None if expression is None else (origin, finder_of(self._index, expression))
        path = self._compiled(written, compile_path, None)
        return None if path is None else (origin, finder_of(self._index, path))

    def _required_or_fixed(self, name: str, fixed: str | None) -> Field | None:
        if fixed is not None:
            origin = _origin(name, _Written(fixed, _JSONPATH, self._section.node))
            return Field(origin, self._jsonpath_source(compile_path(fixed)), required=True)
        written = self._written(self._section, name, required=True)
        return None if written is None else self._field(name, written, required=True)

    def _optional(self, name: str, *, required: bool = False) -> Field | None:
        """The field of an expression that may be absent; if it is there, `required` holds for its token."""
        written = self._written(self._section, name, required=False)
        return None if written is None else self._field(name, written, required=required)

    def _values(self) -> tuple[Field, ...]:
        node = self._section.find("values")
        if node is not None and node.value == "" and not self._kind.on_document:
            return ()  # Json.NET reads "" as null here
        fields: list[Field] = []
        for section in self._section.sections("values") or ():
            section.refuse_others(*VALUE_PROPERTIES)
            name = section.required_text("valueName")
            written = self._written(section, "valueExpression", required=True)
            required = section.boolean("required")
            field = None if written is None else self._field(name or "", written, required=required is True)
            if field is not None:
                fields.append(field)
        return tuple(fields)

    def _written(self, section: Section, name: str, *, required: bool) -> _Written | None:
        """The expression of the property `name`: a text, in CalculatedContent also `{"value", "language"}`."""
        node = section.find(name)
        if not self._kind.on_document:
            text = section.required_text(name) if required else section.text(name)
            # To the service a blank optional path is absent.
            return None if node is None or text is None or is_blank(text) else _Written(text, _JSONPATH, node)
        if node is None or node.value is None or (node.value == "" and required):
            if required:
                section.missing(name)
            return None
        if isinstance(node.value, dict):
            return self._with_language(Section(node, section.issues))
        if not isinstance(node.value, str):
            section.issues.add(node, f"'{name}' is {describe(node)}. Write an expression, or value and language.")
            return None
        if is_blank(node.value):
            section.issues.add(node, f"'{name}' is blank. Write an expression, or remove it.")
            return None
        return _Written(node.value, self._language, node)

    def _with_language(self, section: Section) -> _Written | None:
        text = section.required_text("value")
        language = section.find("language")
        chosen: int | None = self._language
        if language is not None and language.value is not None and language.value != "":
            chosen = section.enumeration("language", LANGUAGES)
        value = section.find("value")
        return None if text is None or chosen is None or value is None else _Written(text, chosen, value)

    def _field(self, name: str, written: _Written, *, required: bool) -> Field | None:
        origin = _origin(name, written)
        if written.language == _JMESPATH:
            expression = self._compiled(written, compile_expression, MATCHED_TOKEN)
            return None if expression is None else Field(origin, _jmespath_source(expression), required)
        path = self._compiled(written, compile_path, MATCHED_TOKEN if self._kind.on_document else None)
        return None if path is None else Field(origin, self._jsonpath_source(path), required)

    def _compiled(
        self, written: _Written, compile_text: Callable[[str, str | None], _Compiled], further_name: str | None
    ) -> _Compiled | None:
        try:
            return compile_text(written.text, further_name)
        except INVALID as error:
            self._section.issues.add_at_name(
                written.node,
                f"'{shortened(written.text)}' is not a {_language_name(written.language)} expression: {error.message}, "
                f"at character {error.position + 1}. Fix it there.",
            )
            return None

    def _jsonpath_source(self, path: Path) -> PropertyLookup | Evaluation:
        if path.names is not None:
            return _document_lookup(path.names) if self._kind.on_document else PropertyLookup(True, path.names)
        find = path.find
        if self._kind.on_document:
            return Evaluation(
                path.reads_further_name,
                lambda document, token, budget: _only(find(document, token, budget)),
                path.weight,
            )
        return Evaluation(True, lambda document, token, budget: _only(find(token, None, budget)), path.weight)


def _origin(name: str, written: _Written) -> Origin:
    node = written.node
    return Origin(name, written.text, _language_name(written.language), node.line, node.position, node.pointer)


def _language_name(language: int) -> str:
    return next(name for name, number in LANGUAGES.items() if number == language)


def _document_lookup(names: tuple[str, ...]) -> PropertyLookup:
    from_match = names[:1] == (MATCHED_TOKEN,)
    return PropertyLookup(from_match, names[1:] if from_match else names)


def _only(tokens: list[Any]) -> Any:
    if len(tokens) > 1:
        raise SeveralTokens
    return tokens[0] if tokens else None


def _jmespath_source(expression: Expression) -> PropertyLookup | Evaluation:
    if expression.names is not None:
        return _document_lookup(expression.names)
    return Evaluation(expression.reads_further_name, expression.single, expression.weight)
