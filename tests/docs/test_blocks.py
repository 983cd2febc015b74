"""Every code block is checked by its language; a block that nothing can check says so by the language `text`."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from medtech.mapping.device import read_device_templates
from medtech.mapping.fhir import read_fhir_templates
from tests.docs import commands, examples, markdown
from tests.docs.commands import Command
from tests.docs.markdown import ROOT, Block, Page
from tests.infra.kql import Query

CHECKED = {"sh", "console", "json", "python", "kusto", "yaml"}
NOT_CHECKED = {"text"}
"""Drawings, excerpts of logs, forms of answers."""

RUN_ELSEWHERE = {("docs/develop.md", "send-from-a-device-or-an-sdk")}
"""Python that needs the local event hub: `tests/dev/test_event_hubs.py` runs it."""

SETTING = re.compile(r"([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)(?:=.*)?")

PAGES = markdown.pages()
BLOCKS = [(page, block) for page in PAGES for block in page.blocks]


def _of(*languages: str) -> pytest.MarkDecorator:
    """A test for each block in one of the languages."""
    chosen = [(page, block) for page, block in BLOCKS if block.language in languages]
    return pytest.mark.parametrize(
        ("page", "block"), chosen, ids=[f"{page.name}:{block.line}" for page, block in chosen]
    )


@pytest.mark.parametrize(("page", "block"), BLOCKS, ids=[f"{page.name}:{block.line}" for page, block in BLOCKS])
def test_a_block_names_its_language(page: Page, block: Block) -> None:
    assert block.language in CHECKED | NOT_CHECKED


@_of("yaml")
def test_yaml_is_a_mapping(page: Page, block: Block) -> None:
    assert isinstance(yaml.safe_load(block.text), dict)


@_of("sh", "console")
def test_the_commands_of_a_block_exist(page: Page, block: Block) -> None:
    faults = {command.line: fault for command in commands.of_block(block) if (fault := commands.fault(command))}
    assert not faults


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        ("make nothing", "no target"),
        ("make torture SPEED=1", "make reads no SPEED"),
        ("python -m medtech fly", "no command 'fly'"),
        ("python -m medtech dead-letters eat", "no command 'eat'"),
        ("python -m medtech simulate --gently", "--gently"),
        ("python -m medtech simulate --devices none", "valid integer"),
        ("python -m medtech dead-letters show", "Missing"),
        ("python -m bench.nothing", "no module"),
        ("python run.py", "runs modules"),
        ("NO_SUCH_SETTING=1 make run", "NO_SUCH_SETTING"),
        ("az functionapp config appsettings set --settings NO_SUCH_SETTING=1", "no app setting"),
        ("az deployment group create --parameters nothing=1", "no parameter"),
        ("az deployment group create --template-file infra/app.bicep --parameters environmentName=a", "no parameter"),
        ("az deployment group create --template-file infra/nothing.bicep", "no template"),
        ("az role assignment create --role 00000000-0000-0000-0000-000000000000", "no role"),
        ("echo 'unended", "no shell command"),
        ("rm -rf /", "no program"),
    ],
)
def test_a_wrong_command_is_found(command: str, fault: str) -> None:
    assert fault in commands.fault(Command(1, command))


def test_a_console_is_commands_and_what_they_print() -> None:
    block = Block(7, "console", "$ make demo\nall is well\n$ make \\\n  test\n", "")
    assert commands.of_block(block) == [Command(7, "make demo", "all is well\n"), Command(9, "make    test", "")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_setting_in_a_sentence_exists(page: Page) -> None:
    """Any name in capitals, with or without a value."""
    named = {(code.line, found.group(1)) for code in page.codes if (found := SETTING.fullmatch(code.text))}
    assert not {(line, name) for line, name in named if name not in commands.known_names()}


@_of("json")
def test_json_is_json(page: Page, block: Block) -> None:
    assert examples.parsed(block) is not None


@_of("json")
def test_a_mapping_loads(page: Page, block: Block) -> None:
    match examples.kind_of_mapping(examples.parsed(block)):
        case "deviceMapping":
            assert not read_device_templates(block.text).issues
        case "fhirMapping":
            assert not read_fhir_templates(block.text).issues


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_messages_become_what_the_page_shows(page: Page) -> None:
    for example in examples.examples(page):
        request = {"deviceMapping": example.device_mapping, "deviceMessages": [example.message]}
        if "observations" in example.shown:
            request["fhirMapping"] = example.fhir_mapping
        (result,) = examples.validated(request)["deviceResults"]
        assert not examples.difference(example.shown, result), f"line {example.line}"


def test_examples_are_found() -> None:
    shown = {page.name for page in PAGES if list(examples.examples(page))}
    assert shown >= {"docs/migrate.md", "docs/devices.md", "docs/observations.md"}


def test_what_is_shown_and_not_so_is_found() -> None:
    real = {"a": [{"b": 1, "c": 2}], "d": []}
    assert not examples.difference({"a": [{"b": 1}]}, real)
    assert "/a/0/b" in examples.difference({"a": [{"b": 2}]}, real)
    assert "/e" in examples.difference({"e": None}, real)
    assert "elements" in examples.difference({"d": [1]}, real)


@_of("kusto")
def test_queries_know_their_metrics(page: Page, block: Block) -> None:
    assert Query(block.text).faults() == []


@_of("python")
def test_python_runs(page: Page, block: Block, tmp_path: Path) -> None:
    if (page.name, block.section) in RUN_ELSEWHERE:
        compile(block.text, page.name, "exec")
        return
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", block.text], check=True, timeout=120, cwd=tmp_path, env=environment)
