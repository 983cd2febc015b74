"""JSON Schemas of the two mappings (draft 7, which editors know), made of the tables that the loader checks by.

A schema refuses nothing that loads. The loader matches names without regard to case and the last of several spellings
wins, which a schema cannot follow: an object that spells one of its names otherwise is checked for unknown and missing
names only. Where the loader takes a text for a number, or a number for a text, so does the schema. What a schema cannot
express (whether an expression parses, whether two templates share a name) is left to `python -m medtech validate`.
"""

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

from medtech.dotnet.text import BLANKS
from medtech.mapping.fhir import (
    CODE_PROPERTIES,
    COMPONENT_PROPERTIES,
    CONCEPT_PROPERTIES,
    INTERVALS,
    TEMPLATE_KIND,
    TEMPLATE_PROPERTIES,
    VALUE_TYPES,
)
from medtech.mapping.schema import DEVICE, FHIR, SUFFIX, CollectionKind
from medtech.mapping.template_reader import KINDS, LANGUAGES, VALUE_PROPERTIES, Kind

Schema = dict[str, Any]

DIALECT: Final = "http://json-schema.org/draft-07/schema#"

DESCRIPTIONS: Final = MappingProxyType(
    {
        "templateType": "The kind of the template, or of the collection.",
        "template": "The templates of a collection, or the properties of a template.",
        "typeName": "The type of the measurements. The template of the other mapping has the same typeName.",
        "typeMatchExpression": "Selects tokens of the message document. Each of them becomes one measurement.",
        "deviceIdExpression": "Finds the device id.",
        "timestampExpression": "Finds the time of the reading. A time without an offset is UTC.",
        "alternateTimestampExpression": "Not used by this kind of template.",
        "patientIdExpression": "Finds the patient id, which Create mode takes for a device without a patient.",
        "encounterIdExpression": "Finds the encounter id.",
        "correlationIdExpression": "Finds the id that groups readings where the FHIR template has periodInterval -1. "
        "Once it is written, every match needs one.",
        "defaultExpressionLanguage": "The language of expressions that name none: JsonPath, unless this says JmesPath.",
        "values": "The readings that a measurement takes.",
        "valueName": "The name of the reading, by which the FHIR template takes it.",
        "valueExpression": "Finds the reading.",
        "required": "Whether a match without this reading is an error. Otherwise the reading is left out.",
        "periodInterval": "How long an Observation lasts: 0 a reading, 60 an hour, 1440 a day (both for SampledData), "
        "-1 as long as a correlation id's readings.",
        "codes": "Codings, each with code, system and display.",
        "category": "The categories of the Observation, as vital-signs.",
        "value": "What becomes the value of the Observation, or of the component.",
        "components": "Readings that become components of the Observation, as systolic and diastolic.",
        "code": "The code, as 8867-4; of a Quantity the code of its unit in UCUM.",
        "system": "The system of the code, as http://loinc.org or http://unitsofmeasure.org.",
        "display": "The code in words.",
        "text": "The concept in words.",
        "valueType": "The FHIR type of the value.",
        "defaultPeriod": "Milliseconds between two samples.",
        "unit": "The unit as people read it.",
        "language": "JsonPath or JmesPath.",
    }
)
"""Of each property, for whoever writes a mapping. A text for every name of the loader's tables."""

_NOT_BLANK: Final = f"[^{BLANKS}]"
_BLANKS: Final = f"[{BLANKS}\x1c-\x1f]*"

_SCALAR: Final[Schema] = {"type": ["string", "number", "boolean", "null"]}
_TEXT: Final[Schema] = {"type": ["string", "number", "boolean"], "pattern": _NOT_BLANK}
"""A text that is needed, which may be written as a number or a boolean."""

_BOOLEAN: Final[Schema] = {
    "anyOf": [
        {"type": ["boolean", "number"]},
        {"type": "string", "pattern": f"^{_BLANKS}([tT][rR][uU][eE]|[fF][aA][lL][sS][eE]){_BLANKS}$"},
    ]
}
_POSITIVE: Final[Schema] = {
    "anyOf": [
        {"type": "number", "exclusiveMinimum": 0},
        {"type": "string", "pattern": f"^{_BLANKS}\\+?([0-9]+\\.?[0-9]*|\\.[0-9]+)([eE][+-]?[0-9]+)?{_BLANKS}$"},
    ]
}


def device_schema() -> Schema:
    """The JSON Schema of a device mapping."""
    return _mapping(DEVICE, "Device mapping of medtech", {kind.name: _device_template(kind) for kind in KINDS})


def fhir_schema() -> Schema:
    """The JSON Schema of a FHIR mapping."""
    return _mapping(FHIR, "FHIR mapping of medtech", {TEMPLATE_KIND: _fhir_template()})


def _mapping(kind: CollectionKind, title: str, templates: Mapping[str, Schema]) -> Schema:
    """A collection, by itself or as Azure's resource manager hands it out."""
    content = _wrapper({"content": {"$ref": "#/definitions/collection"}})
    holder = _wrapper({kind.property: content})
    others = _any_case(("properties", kind.property))
    return {
        "$schema": DIALECT,
        "title": title,
        "type": "object",
        "if": {"propertyNames": {"not": {"pattern": _any_case(("properties", "content", kind.property))}}},
        "then": {"$ref": "#/definitions/collection"},
        "else": {
            "if": _has("templateType"),
            "then": {"$ref": "#/definitions/collection"},
            "else": {
                "allOf": [
                    {"if": {"propertyNames": {"not": {"pattern": others}}}, "then": content},
                    {
                        "if": {"propertyNames": {"not": {"pattern": _any_case(("properties",))}}},
                        "then": holder,
                        "else": _wrapper({"properties": holder}),
                    },
                ]
            },
        },
        "definitions": {"collection": _collection(kind, templates)},
    }


def _wrapper(properties: Mapping[str, Schema]) -> Schema:
    """An object of the resource manager's, looked into where its names are spelled as they are there."""
    return {"if": _spelled(properties), "then": {"properties": dict(properties)}}


def _collection(kind: CollectionKind, templates: Mapping[str, Schema]) -> Schema:
    container = _object(
        {
            "templateType": _one_of(templates, suffixed=True),
            "template": {"type": "object"},
        },
        required=("templateType", "template"),
        others_ignored=True,
    )
    container["then"]["allOf"] = [
        {
            "if": {"properties": {"templateType": {"pattern": _any_case([name, name + SUFFIX])}}},
            "then": {"properties": {"template": template}},
        }
        for name, template in templates.items()
    ]
    return _object(
        {
            "templateType": _one_of([kind.name], suffixed=True),
            "template": {"type": "array", "items": container},
        },
        required=("templateType", "template"),
        others_ignored=True,
    )


def _device_template(kind: Kind) -> Schema:
    checks: dict[str, Schema] = {}
    for name in kind.properties:
        if name == "defaultExpressionLanguage":
            checks[name] = _enumeration(LANGUAGES)
        elif name == "values":
            checks[name] = _list(_value_of_device(kind), empty_text=not kind.on_document)
        elif name == "typeName":
            checks[name] = _TEXT
        else:
            checks[name] = _expression(kind, is_required=name in _required(kind))
    return _object(checks, required=("typeName", *_required(kind)), ignored=kind.ignored)


def _required(kind: Kind) -> tuple[str, ...]:
    """The expressions that a template of a kind must have; what the kind fixes is not written."""
    wanted = ("typeMatchExpression", "deviceIdExpression", "timestampExpression")
    return tuple(name for name in wanted if name in kind.properties)


def _value_of_device(kind: Kind) -> Schema:
    checks = {"valueName": _TEXT, "valueExpression": _expression(kind, is_required=True), "required": _BOOLEAN}
    return _object({name: checks[name] for name in VALUE_PROPERTIES}, required=("valueName", "valueExpression"))


def _expression(kind: Kind, *, is_required: bool) -> Schema:
    if not kind.on_document:
        return _TEXT if is_required else _SCALAR
    language: Schema = {"anyOf": [{"enum": [None, ""]}, _enumeration(LANGUAGES)]}
    with_language = _object({"value": _TEXT, "language": language}, required=("value",), others_ignored=True)
    with_language["properties"]["value"] = {"description": "The expression."}
    written: list[Schema] = [{"type": "string", "pattern": _NOT_BLANK}, with_language]
    return {"anyOf": written if is_required else [*written, {"type": "null"}]}


def _fhir_template() -> Schema:
    value = _value_of_fhir()
    component = _object(
        _checks(COMPONENT_PROPERTIES, {"codes": _list(_code(), empty_text=True), "value": value}), required=("value",)
    )
    concept = _object(_checks(CONCEPT_PROPERTIES, {"text": _SCALAR, "codes": _list(_code(), empty_text=True)}))
    checks = {
        "typeName": _TEXT,
        "periodInterval": _enumeration(INTERVALS),
        "codes": {"type": "array", "items": _code()},
        "category": _list(concept, empty_text=True),
        "value": value,
        "components": _list(component, empty_text=True),
    }
    return _object(_checks(TEMPLATE_PROPERTIES, checks), required=("typeName", "codes"))


def _code() -> Schema:
    return _object(dict.fromkeys(CODE_PROPERTIES, _SCALAR))


def _value_of_fhir() -> Schema:
    """A value by its type. What a type does not know is ignored, so each type checks its own properties."""
    codes: Schema = {"anyOf": [{"type": "array", "items": {"type": "object"}}, {"enum": [None, ""]}]}
    by_type: dict[str, dict[str, Schema]] = {
        "SampledData": {"valueName": _TEXT, "defaultPeriod": _POSITIVE, "unit": _SCALAR},
        "Quantity": {"valueName": _TEXT, "unit": _SCALAR, "code": _SCALAR, "system": _SCALAR},
        "String": {"valueName": _TEXT},
        "CodeableConcept": {"valueName": {"anyOf": [_TEXT, {"type": "null"}]}, "text": _SCALAR, "codes": codes},
    }
    required = {"SampledData": ["valueName", "defaultPeriod"], "Quantity": ["valueName"], "String": ["valueName"]}
    names = dict.fromkeys(name for checks in by_type.values() for name in checks)
    value = _object(
        {"valueType": _one_of(VALUE_TYPES), **{name: {} for name in names}},
        required=("valueType",),
        others_ignored=True,
    )
    value["then"]["allOf"] = [
        {
            "if": {"properties": {"valueType": {"pattern": _any_case([name])}}},
            "then": {"properties": by_type[name], "required": required.get(name, [])},
        }
        for name in VALUE_TYPES
    ]
    return value


def _checks(names: Iterable[str], checks: Mapping[str, Schema]) -> dict[str, Schema]:
    """A check for each name of the loader's table."""
    return {name: checks[name] for name in names}


def _object(
    properties: Mapping[str, Schema],
    *,
    required: Collection[str] = (),
    ignored: Collection[str] = (),
    others_ignored: bool = False,
) -> Schema:
    """An object whose names match without regard to case.

    The descriptions stand outside of the condition, so that an editor proposes names before the first one is written.
    """
    names = (*properties, *ignored)
    schema: Schema = {
        "type": "object",
        "properties": {name: {"description": DESCRIPTIONS[name]} for name in names},
        "if": _spelled(properties),
        "then": {"properties": dict(properties), "required": list(required)},
        "else": {"allOf": [_has(name) for name in required]} if required else True,
    }
    if not others_ignored:
        schema["patternProperties"] = {_any_case(names): True}
        schema["additionalProperties"] = False
    return schema


def _spelled(names: Iterable[str]) -> Schema:
    """That no name is another spelling of one of `names`."""
    canonical = list(names)
    return {"propertyNames": {"anyOf": [{"enum": canonical}, {"not": {"pattern": _any_case(canonical)}}]}}


def _has(name: str) -> Schema:
    """That a property is there, in whatever case."""
    return {"not": {"propertyNames": {"not": {"pattern": _any_case([name])}}}}


def _list(items: Schema, *, empty_text: bool) -> Schema:
    """A list that may be absent; where Json.NET reads "" as null, that is one too."""
    return {"anyOf": [{"type": "array", "items": items}, {"enum": [None, ""] if empty_text else [None]}]}


def _one_of(names: Iterable[str], *, suffixed: bool = False) -> Schema:
    canonical = list(names)
    further = [name + SUFFIX for name in canonical] if suffixed else []
    return {"type": "string", "anyOf": [{"enum": canonical}, {"pattern": _any_case([*canonical, *further])}]}


def _enumeration(members: Mapping[str, int]) -> Schema:
    """One of `members`, by its name or by its number, also as text."""
    numbers = "|".join(
        ("-0*" if number < 0 else "[+-]?0*" if number == 0 else "\\+?0*") + str(abs(number))
        for number in members.values()
    )
    names = "|".join(map(_letters, members))
    return {
        "anyOf": [
            {"enum": [int(number) for number in members.values()]},
            {"enum": list(members)},
            {"type": "string", "pattern": f"^{_BLANKS}({names}|{numbers}){_BLANKS}$"},
        ]
    }


def _any_case(names: Iterable[str]) -> str:
    """A pattern that takes `names` in any case: the patterns of JSON Schema have no options."""
    return f"^({'|'.join(map(_letters, names))})$"


def _letters(name: str) -> str:
    return "".join(f"[{each.lower()}{each.upper()}]" if each.isalpha() else each for each in name)
