"""docs/deploy.md says what infra/ does."""

import json
import re

import pytest

from tests.docs.markdown import read
from tests.infra import parameter_table
from tests.infra.bicep import INFRA, ROOT, template, templates

PAGE = read(ROOT / "docs" / "deploy.md")
TEXT = PAGE.path.read_text()
APP_SETTINGS = template("app.bicep").variables["ownSettings"]


def test_the_table_of_parameters_is_that_of_the_template() -> None:
    section = TEXT.partition("\n## Parameters\n")[2].partition("\n## ")[0]
    table = [line for line in section.splitlines() if line.startswith("|")]
    assert table == parameter_table.lines(), "Put in what `.venv/bin/python -m tests.infra` prints."


def test_every_parameter_has_a_meaning() -> None:
    for parameter in template("main.bicep").parameters.values():
        assert parameter.description, parameter.name
        assert parameter.description.endswith("."), parameter.name


@pytest.mark.parametrize("type_", sorted({each.type for read in templates() for each in read.created}))
def test_everything_that_is_created_is_told(type_: str) -> None:
    assert f"`{type_}`" in TEXT


DEPLOYMENTS = [
    command
    for block in PAGE.blocks
    for command in block.text.replace("\\\n", " ").splitlines()
    if "--template-file" in command
]


def test_every_template_that_is_deployed_by_itself_is_told() -> None:
    files = {re.findall(r"--template-file infra/(\S+)", command)[0] for command in DEPLOYMENTS}
    assert files == {"main.bicep", "alerts.bicep", "workbook.bicep"}


@pytest.mark.parametrize("command", DEPLOYMENTS)
def test_a_command_gives_the_parameters_that_its_template_takes(command: str) -> None:
    takes = template(re.findall(r"--template-file infra/(\S+)", command)[0]).parameters
    given = set(re.findall(r" (\w+)=", command.partition("--parameters")[2]))
    assert {each.name for each in takes.values() if each.default is None} <= given <= set(takes)


def test_values_of_the_environment_in_commands_are_read_by_the_parameter_file() -> None:
    read = set(re.findall(r"\$\{(\w+)", (INFRA / "main.parameters.json").read_text()))
    set_in_commands = set(re.findall(r"azd env set (\w+)", TEXT))
    assert set_in_commands
    assert set_in_commands <= read | {"AZURE_RESOURCE_GROUP"}


@pytest.mark.parametrize("block", PAGE.code("json"))
def test_a_json_block_holds_parameters(block: str) -> None:
    assert set(json.loads("{" + block + "}")) <= set(template("main.bicep").parameters)


def test_an_app_that_is_there_already_exports_as_a_deployed_one_does() -> None:
    """What telemetry needs besides where it goes, which Azure sets as it makes a function app."""
    deployed = {name for name in APP_SETTINGS if name.startswith(("OTEL_", "PYTHON_"))}
    assert deployed
    [by_hand] = [block.text for block in PAGE.blocks if "func azure functionapp publish APP\n" in block.text]
    assert deployed == set(re.findall(r"((?:OTEL|PYTHON)_\w+)=", by_hand))


def test_azd_finds_the_app_by_the_name_of_its_service() -> None:
    service = re.search(r"^services:\n  (\w+):", (ROOT / "azure.yaml").read_text(), re.MULTILINE)
    assert service is not None
    tags = template("app.bicep").resources["app"].body["tags"].text
    assert tags == f"union(tags, {{ 'azd-service-name': '{service.group(1)}' }})"
