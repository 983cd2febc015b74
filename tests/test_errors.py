"""The error tree against the names, types, severities and stages that the MedTech service documents."""

import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from medtech import errors
from medtech.errors import ErrorType, MedTechError, Severity, Stage, TemplateNotFound, Unavailable

# "Troubleshoot MedTech service errors", table of error names.
DOCUMENTED = [
    ("MultipleResourceFound", "FHIRResourceError", "Error", "FHIRConversion"),
    ("CorrelationIdNotDefined", "DeviceMessageError", "Error", "Normalization"),
    ("PatientDeviceMismatch", "FHIRResourceError", "Error", "FHIRConversion"),
    ("PatientNotFound", "FHIRConversionError", "Error", "FHIRConversion"),
    ("DeviceNotFound", "DeviceMessageError", "Error", "Normalization"),
    ("PatientIdentityNotDefined", "DeviceTemplateError", "Critical", "Normalization"),
    ("DeviceIdentityNotDefined", "DeviceTemplateError", "Critical", "Normalization"),
    ("NotSupported", "DeviceMessageError", "Error", "Normalization"),
]


@pytest.mark.parametrize(("name", "kind", "severity", "stage"), DOCUMENTED)
def test_documented_errors(name: str, kind: str, severity: str, stage: str) -> None:
    error = getattr(errors, name)("what, where and how to fix it")
    assert (error.name, error.type, error.severity, error.stage) == (name, kind, severity, stage)


@pytest.mark.parametrize(
    ("stage", "kind"),
    [(Stage.NORMALIZATION, ErrorType.DEVICE_TEMPLATE), (Stage.FHIR_CONVERSION, ErrorType.FHIR_TEMPLATE)],
)
def test_a_template_that_is_not_found_belongs_to_the_mapping_of_its_stage(stage: Stage, kind: ErrorType) -> None:
    error = TemplateNotFound("what", stage=stage)
    assert (error.type, error.severity, error.stage) == (kind, Severity.CRITICAL, stage)


@pytest.mark.parametrize(
    ("device_id", "told"),
    [
        ("a\r\nERROR forged", r"a\r\nERROR forged"),
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("\u202egpj.exe\u2028", r"\u202egpj.exe\u2028"),
        ("\ud800", r"\ud800"),
        ("Gerät 7", "Gerät 7"),
    ],
)
def test_a_message_is_one_line_that_can_be_printed(device_id: str, told: str) -> None:
    error = errors.DeviceNotFound(f"No Device has the identifier '{device_id}'.")
    assert error.message == str(error) == f"No Device has the identifier '{told}'."


def test_words_are_those_of_the_service() -> None:
    assert list(Stage) == ["Setup", "Normalization", "Grouping", "FHIRConversion", "Unknown"]
    assert list(Severity) == ["Warning", "Error", "Critical"]
    assert list(ErrorType) == [
        "DeviceTemplateError",
        "DeviceMessageError",
        "FHIRTemplateError",
        "FHIRConversionError",
        "FHIRResourceError",
        "FHIRServerError",
        "GeneralError",
    ]


class Drawn(NamedTuple):
    """A class of the tree: its name, its parent's, and whether it blocks."""

    name: str
    parent: str
    blocks: bool


def _classes(parent: type[MedTechError]) -> Iterator[Drawn]:
    for child in parent.__subclasses__():
        if child.__module__ == errors.__name__:
            assert child.__bases__ == (parent,)
            yield Drawn(child.__name__, parent.__name__, child.blocks)
            yield from _classes(child)


def _drawing(text: str) -> Iterator[Drawn]:
    """The branches of a drawn tree: four characters a level, several names on one line are siblings."""
    path: list[str] = []
    for line in text.splitlines():
        branch = re.match(r"    ((?:[│├└ ][ ─]{2} )*)([A-Z]\w+(?: \*)?(?:, [A-Z]\w+(?: \*)?)*)(?:  |$)", line)
        if branch is None:
            continue
        depth = len(branch[1]) // 4
        assert depth <= len(path), f"{line}: no parent is drawn"
        for name in branch[2].split(", "):
            path[depth:] = [name.removesuffix(" *")]
            if depth:
                yield Drawn(path[depth], path[depth - 1], name.endswith(" *"))


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    """Names, parents and what blocks."""
    assert sorted(_drawing(errors.__doc__ or "")) == sorted(_classes(MedTechError))


def test_only_what_has_to_be_fixed_outside_the_data_blocks() -> None:
    away = {each.name for each in _classes(Unavailable)} | {"Unavailable"}
    # One Observation that others keep changing, and one shard, hold up nothing else; the next flush has time again.
    passing = {"FhirConflict", "OutOfTime", "PoisonShard"}
    blocking = {each.name for each in _classes(MedTechError) if each.blocks}
    assert blocking == away - passing | {"MappingInvalid", "SettingInvalid"}


@pytest.mark.parametrize(
    ("drawn", "changed"),
    [
        ("    │   └── PeriodTooLong", "    ├── PeriodTooLong"),
        ("Unavailable *    ", "Unavailable      "),
        ("ObservationWithdrawn, ", ""),
        ("        ├── FhirConflict", "    ├── FhirConflict"),
    ],
)
def test_a_drawing_that_is_wrong_is_noticed(drawn: str, changed: str) -> None:
    text = errors.__doc__ or ""
    assert drawn in text
    assert sorted(_drawing(text.replace(drawn, changed, 1))) != sorted(_classes(MedTechError))
