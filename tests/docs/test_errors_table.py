"""docs/errors.md against the errors of the code, and against the names of the service's documents."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from medtech import errors
from medtech.errors import ErrorType, MedTechError, Stage

PAGE = (Path(__file__).parents[2] / "docs" / "errors.md").read_text(encoding="utf-8")

# What an error is given when it is made, besides what its class says.
STAGES = {"TemplateNotFound": [Stage.NORMALIZATION, Stage.FHIR_CONVERSION]}
_OF_BOTH_MAPPINGS = [ErrorType.DEVICE_TEMPLATE, ErrorType.FHIR_TEMPLATE]
TYPES = {"MappingInvalid": _OF_BOTH_MAPPINGS, "TemplateNotFound": _OF_BOTH_MAPPINGS}

# "Troubleshoot MedTech service errors", table of error names.
EARLIER_NAMES = {
    "MultipleResourceFoundException",
    "TemplateNotFoundException",
    "CorrelationIdNotDefinedException",
    "PatientDeviceMismatchException",
    "PatientNotFoundException",
    "DeviceNotFoundException",
    "PatientIdentityNotDefinedException",
    "DeviceIdentityNotDefinedException",
    "NotSupportedException",
}
# https://learn.microsoft.com/azure/healthcare-apis/iot/troubleshoot-errors-logs, of 2023: whether each is blocking.
LATER_NAMES = {
    "CorrelationIdNotDefinedException": "Blocking",
    "FhirDataMappingException": "Blocking",
    "FhirResourceNotFoundException": "Nonblocking",
    "HealthCheckException": "Blocking",
    "IncompatibleDataException": "Nonblocking",
    "InvalidDataFormatException": "Nonblocking",
    "InvalidEventHubException": "Blocking",
    "InvalidFhirServiceException": "Blocking",
    "InvalidQuantityFhirValueException": "Nonblocking",
    "InvalidTemplateException": "Blocking",
    "ManagedIdentityCredentialNotFound": "Blocking",
    "MultipleResourceFoundException": "Nonblocking",
    "NormalizationDataMappingException": "Blocking",
    "PatientDeviceMismatchException": "Nonblocking",
    "ResourceIdentityNotDefinedException": "Nonblocking",
    "TemplateExpressionException": "Blocking",
    "TemplateNotFoundException": "Nonblocking",
    "UnauthorizedAccessEventHubException": "Blocking",
    "UnauthorizedAccessFhirServiceException": "Blocking",
}
HEALTH_CHECKS = {
    "CredentialStore:IsCustomerFacingMiCredentialBundlePresent",
    "ExternalEventHub:IsAuthenticated",
    "FhirService:IsAuthenticated",
}
SETUP = {"fullyQualifiedEventHubNamespace", "fhirServiceResourceId", "deviceMapping", "iotconnectors", "Location"}


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows(title: str) -> Iterator[list[str]]:
    """The cells of each row of the tables in a section, without headings."""
    for line in section(title).splitlines():
        if line.startswith("| `") or line.startswith("| *`"):
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


def classes(parent: type[MedTechError] = MedTechError) -> Iterator[type[MedTechError]]:
    for child in parent.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from classes(child)


ERRORS = {kind.__name__: kind for kind in classes()}
OURS = {cells[0].strip("`* "): cells for cells in rows("Errors of this app")}


def test_every_error_has_one_row_and_every_row_an_error() -> None:
    assert sorted(cells[0].strip("`* ") for cells in rows("Errors of this app")) == sorted(ERRORS)


@pytest.mark.parametrize("name", sorted(ERRORS))
def test_a_row_says_what_the_code_says(name: str) -> None:
    kind = ERRORS[name]
    _, stage, type_, severity, blocks, *texts = OURS[name]
    assert stage == ", ".join(STAGES.get(name, [kind.stage]))
    assert type_ == ", ".join(TYPES.get(name, [kind.type]))
    assert (severity, blocks) == (kind.severity, "yes" if kind.blocks else "no")
    assert len(texts) == 3
    assert all(texts), "cause, what becomes of the data, and remedy"


@pytest.mark.parametrize("name", sorted(ERRORS))
def test_errors_of_a_group_follow_it(name: str) -> None:
    """As the page says of names in italics; the parents that it shows as errors of their own are raised themselves."""
    names = list(OURS)
    parent = ERRORS[name].__mro__[1].__name__
    if parent in names and OURS[parent][0].startswith("*"):
        between = names[names.index(parent) + 1 : names.index(name)]
        assert all(issubclass(ERRORS[each], ERRORS[parent]) for each in between)


def test_every_name_of_the_service_has_a_row_and_what_it_says_there() -> None:
    found = {cells[0].strip("`"): cells for cells in rows("Names of the MedTech service")}
    assert found.keys() == EARLIER_NAMES | LATER_NAMES.keys() | HEALTH_CHECKS
    for name, blocking in LATER_NAMES.items():
        assert found[name][2] == blocking, name
    for name in EARLIER_NAMES:
        kind = ERRORS[name.removesuffix("Exception")]
        assert f"`{kind.__name__}`" in found[name][3]
        stage = " and ".join(STAGES.get(kind.__name__, [kind.stage]))
        type_ = " and ".join(TYPES.get(kind.__name__, [kind.type]))
        assert found[name][1] == f"{stage}, {type_}, {kind.severity}"


def test_what_stands_for_a_name_of_the_service_exists() -> None:
    for cells in rows("Names of the MedTech service"):
        for name in re.findall(r"`([A-Z]\w+)`", cells[-1]):
            assert name in ERRORS, cells[0]


def test_every_setup_error_of_the_service_has_its_counterpart() -> None:
    told = section("Setup errors of the MedTech service")
    assert {name for name in SETUP if f"`{name}`" not in told} == set()
