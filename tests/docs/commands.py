"""The commands of `sh` and `console` blocks, and what is wrong with them.

What of them belongs to this repository has to exist: targets of make, modules, commands and options, files, app
settings, ids of roles, parameters of the Bicep template. Of other programs only the shell's syntax is read.
"""

import importlib.util
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import typer
from opentelemetry.sdk import environment_variables

from dev.cli import app as dev_app
from medtech.command.line import app as medtech_app
from tests.docs import markdown
from tests.docs.markdown import ROOT, Block
from tests.infra.bicep import template

PROMPT = "$ "

PYTHONS = {"python", ".venv/bin/python", "python3"}
OTHER_PROGRAMS = {
    "az",
    "azd",
    "func",
    "curl",
    "java",
    "mvn",
    "docker",
    "echo",
    "jq",
    "sed",
    "cp",
    "git",
    "export",
    "openssl",
    "dev/node_modules/.bin/azurite",
}
"""Of these only the form is checked, and what is named in `_WORDS`."""

MAIN_TEMPLATE = "infra/main.bicep"

_UsageError: Any = typer.BadParameter.__base__
"""Typer has its own copy of click, in which this class has no public name."""

_APPS = {"medtech": medtech_app, "dev": dev_app}
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_MISSING_FILE = re.compile(r"(?:[Ff]ile|[Pp]ath) '[^']+' does not exist")
_ROLE_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Command:
    """`output` is what a console showed after it."""

    line: int
    text: str
    output: str = ""


def of_block(block: Block) -> list[Command]:
    """The commands of a block; those of a console stand after a prompt."""
    return list(_prompted(block) if block.language == "console" else _lines(block))


def _lines(block: Block) -> Iterator[Command]:
    held, first = "", 0
    for number, line in enumerate(block.text.splitlines(), block.line):
        first = first if held else number
        held += line
        if held.endswith("\\"):
            held = held[:-1]
        else:
            if held.strip() and not held.lstrip().startswith("#"):
                yield Command(first, held)
            held = ""
    if held:
        yield Command(first, held)


def _prompted(block: Block) -> Iterator[Command]:
    """Raises ValueError if the block does not begin with a prompt."""
    if not block.text.startswith(PROMPT):
        raise ValueError(f"line {block.line}: a console begins with '{PROMPT}' and a command")
    for part in re.split(rf"^{re.escape(PROMPT)}", block.text, flags=re.MULTILINE)[1:]:
        command, _, output = re.sub(r"\\\n", " ", part).partition("\n")
        yield Command(block.line + block.text[: block.text.index(part)].count("\n"), command, output)


def fault(command: Command) -> str:
    """What is wrong with a command; empty if nothing is."""
    try:
        words = shlex.split(command.text, comments=True)
    except ValueError as error:
        return f"this is no shell command: {error}"
    if ends := [words.index(mark) for mark in ("|", ">", "<") if mark in words]:
        words = words[: min(ends)]
    while words and (assigned := _ASSIGNMENT.fullmatch(words[0])):
        if assigned.group(1) not in known_names():
            return f"nothing reads the variable {assigned.group(1)}"
        del words[0]
    if not words:
        return ""
    program, *arguments = words
    if program == "make":
        return _make_fault(arguments)
    if program in PYTHONS:
        return _python_fault(arguments)
    if program in OTHER_PROGRAMS:
        return _words_fault(arguments)
    return f"'{program}' is no program that the documentation uses; if it is, name it in {Path(__file__).name}"


def _make_fault(arguments: list[str]) -> str:
    for argument in arguments:
        if assigned := _ASSIGNMENT.fullmatch(argument):
            if assigned.group(1) not in makefile():
                return f"make reads no {assigned.group(1)}"
        elif not re.search(rf"^{re.escape(argument)}:", makefile(), re.MULTILINE):
            return f"make has no target '{argument}'"
    return ""


def _python_fault(arguments: list[str]) -> str:
    if arguments[:1] != ["-m"]:
        return f"python runs modules here (-m), not '{arguments[0]}'"
    module, *arguments = arguments[1:]
    if module in _APPS:
        return _typer_fault(module, arguments)
    if module == "pytest":
        missing = [each for each in arguments if not each.startswith("-") and not (ROOT / each).exists()]
        return f"{missing[0]} does not exist" if missing else ""
    if module == "pip":
        return ""
    return "" if importlib.util.find_spec(module) else f"there is no module {module}"


def _typer_fault(name: str, arguments: list[str]) -> str:
    """Parses the arguments as the command itself would, and runs nothing."""
    command: Any = typer.main.get_command(_APPS[name])
    path = f"python -m {name}"
    while hasattr(command, "commands"):
        options = {name for each in command.params for name in each.opts if name != "--help"}
        while len(arguments) > 1 and arguments[0] in options and not command.invoke_without_command:
            arguments = arguments[2:]  # each of the commands' own options has a value
        if not arguments or arguments[0] in ("--help", "..."):
            return ""
        if arguments[0] not in command.commands:
            if getattr(command, "invoke_without_command", False) and arguments[0].startswith("-"):
                break
            return f"'{path}' has no command '{arguments[0]}'"
        path = f"{path} {arguments[0]}"
        command, arguments = command.commands[arguments[0]], arguments[1:]
        if hasattr(command, "commands") and not arguments and command.invoke_without_command:
            return ""
    try:
        command.make_context(path, list(arguments))
    except _UsageError as error:
        if _MISSING_FILE.search(error.format_message()):  # the reader's own
            return ""
        return f"'{path}': {error.format_message()}"
    return ""


def _words_fault(arguments: list[str]) -> str:
    """Of a program in the cloud: settings after `--settings`, ids of roles, parameters after `--parameters`."""
    option, path = "", MAIN_TEMPLATE
    for argument in arguments:
        if argument.startswith("--"):
            option = argument
            continue
        if option == "--template-file":
            if not (ROOT / argument).is_file():
                return f"there is no template {argument}"
            path = argument
        assigned = _ASSIGNMENT.fullmatch(argument)
        if option == "--settings" and assigned and assigned.group(1).partition("__")[0] not in setting_names():
            return f"there is no app setting {assigned.group(1)}"
        if option == "--parameters" and assigned and assigned.group(1) not in _parameters(path):
            return f"{path} has no parameter {assigned.group(1)}"
        if option == "--role" and _ROLE_ID.fullmatch(argument) and argument not in roles():
            return f"infra/roles.bicep assigns no role {argument}"
    return ""


def _parameters(path: str) -> set[str]:
    return set(template(path.removeprefix("infra/")).parameters)


@cache
def makefile() -> str:
    return (ROOT / "Makefile").read_text(encoding="utf-8")


@cache
def setting_names() -> set[str]:
    """App settings by the tables of docs/settings.md, which are compared with the code, and of docs/telemetry.md; those
    of the host and of OpenTelemetry's SDK."""
    pages = [markdown.read(ROOT / "docs" / name) for name in ("settings.md", "telemetry.md")]
    tables = [table for page in pages for table in page.tables if table.head[0] == "setting"]
    of_the_app = {name for table in tables for row in table.rows for name in re.findall(r"`(\w+)", row[0])}
    return of_the_app | _of_the_sdk() | {"AzureWebJobsStorage", "AzureFunctionsJobHost"}


@cache
def _of_the_sdk() -> set[str]:
    return {name for name in vars(environment_variables) if name.startswith("OTEL_")} | {"OTEL_LOGS_EXPORTER"}


@cache
def known_names() -> set[str]:
    """Settings and variables: those of docs/settings.md, the Makefile, the workflows and OpenTelemetry's SDK, and texts
    and keys in code and infra/."""
    folders = ("bench", "dev", "infra", "medtech", "tests")
    files = [file for folder in folders for kind in ("py", "bicep") for file in (ROOT / folder).rglob(f"*.{kind}")]
    name = re.compile(r"""["'](?P<text>[A-Z]\w*_\w+)["']|^ *(?P<key>[A-Z]\w*_\w+):""", re.MULTILINE)
    own = ROOT / "tests" / "docs"
    read = (file.read_text(encoding="utf-8") for file in files if not file.is_relative_to(own))
    found = {each["text"] or each["key"] for text in read for each in name.finditer(text)}
    workflows = "".join(file.read_text(encoding="utf-8") for file in (ROOT / ".github" / "workflows").glob("*.yml"))
    found |= set(re.findall(r"\bvars\.(\w+)", workflows)) | set(re.findall(r"\$\((\w+)\)", makefile()))
    return setting_names() | found | _of_the_sdk()


@cache
def roles() -> set[str]:
    texts = (ROOT / "infra" / "roles.bicep", ROOT / "docs" / "settings.md")
    return {each for path in texts for each in _ROLE_ID.findall(path.read_text(encoding="utf-8"))}
