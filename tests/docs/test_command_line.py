"""docs/command-line.md: its consoles are run as they stand, and its tables have what the code has."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from medtech.command import lines
from medtech.command.line import app
from tests.docs import commands, markdown
from tests.docs.commands import Command
from tests.docs.markdown import ROOT

PAGE = markdown.read(ROOT / "docs" / "command-line.md")
TEXT = PAGE.path.read_text(encoding="utf-8")
CONSOLES = [command for block in PAGE.blocks if block.language == "console" for command in commands.of_block(block)]
NOW = re.compile(r'"ingestionTimeUtc":"[^"]+"')


@pytest.mark.parametrize("command", CONSOLES, ids=lambda command: command.text[:60])
def test_a_console_shows_what_the_command_prints(command: Command, tmp_path: Path) -> None:
    (tmp_path / "python").symlink_to(sys.executable)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        ["bash", "-c", command.text], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert NOW.sub("", done.stdout + done.stderr).rstrip() == NOW.sub("", command.output).rstrip()


def test_the_table_has_every_command() -> None:
    table = TEXT.partition("| command | what it does | asks |")[2].partition("\n\n")[0]
    group = typer.main.get_command(app)
    assert set(re.findall(r"^\| `([\w-]+)` \|", table, re.MULTILINE)) == set(group.commands)  # type: ignore[attr-defined]


def test_the_table_has_every_exit_code() -> None:
    table = TEXT.partition("| code | meaning |")[2].partition("\n\n")[0]
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "medtech" / "command").glob("*.py")]
    written = {int(code) for source in sources for code in re.findall(r"typer\.Exit\((\d+)\)", source)}
    named = {lines.BROKEN_PIPE, lines.INTERRUPTED, typer.BadParameter.exit_code}
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)} == written | named | {0}


def test_the_table_has_every_option_of_validate() -> None:
    table = TEXT.partition("## validate")[2].partition("## normalize")[0]
    shown = set(re.findall(r"^\| `(--[\w-]+)", table, re.MULTILINE)) | {"--json"}
    command = typer.main.get_command(app).commands["validate"]  # type: ignore[attr-defined]
    assert shown == {each.opts[0] for each in command.params if each.opts[0].startswith("--")}
