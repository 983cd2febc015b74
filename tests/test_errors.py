"""The error tree against the names, types, severities and stages that the MedTech service documents."""

import re
from collections.abc import Iterator

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
    error = getattr(errors, name)("what, where and how to mend it")
    assert (error.name, error.type, error.severity, error.stage) == (name, kind, severity, stage)


@pytest.mark.parametrize(
    ("stage", "kind"),
    [(Stage.NORMALIZATION, ErrorType.DEVICE_TEMPLATE), (Stage.FHIR_CONVERSION, ErrorType.FHIR_TEMPLATE)],
)
def test_a_template_that_is_not_found_belongs_to_the_mapping_of_its_stage(stage: Stage, kind: ErrorType) -> None:
    error = TemplateNotFound("what", stage=stage)
    assert (error.type, error.severity, error.stage) == (kind, Severity.CRITICAL, stage)


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


def _tree(root: type[MedTechError]) -> Iterator[type[MedTechError]]:
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from _tree(child)


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    branches = re.findall(r"^    [│├└─ ]*([A-Z]\w+(?:, [A-Z]\w+)*)", errors.__doc__ or "", re.MULTILINE)
    drawn = [name for branch in branches for name in branch.split(", ")]
    assert sorted(drawn) == sorted(error.__name__ for error in [MedTechError, *_tree(MedTechError)])


def test_only_what_has_to_be_mended_outside_the_data_blocks() -> None:
    blocking = {error.__name__ for error in _tree(MedTechError) if error.blocks}
    away = {error.__name__ for error in _tree(Unavailable)} | {"Unavailable"}
    # One Observation that others keep changing holds up nothing else.
    assert blocking == away - {"FhirConflict"} | {"MappingInvalid", "SettingInvalid"}
