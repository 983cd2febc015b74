"""The GitHub Action and the pre-commit hook, by running the commands that they run; completion of the shell."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ACTION = yaml.safe_load((ROOT / ".github" / "actions" / "check-mappings" / "action.yml").read_text(encoding="utf-8"))
[HOOK] = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

BROKEN = '{"templateType": "CollectionFhir", "template": [{"templateType": "CodeValueFhir", "template": {}}]}'
WARNED = """{"templateType": "CollectionFhir", "template": [{"templateType": "CodeValueFhir", "template": {
"typeName": "a", "codes": [{"code": "1"}]}}]}"""


def step(name: str, folder: Path, **inputs: str) -> subprocess.CompletedProcess[str]:
    """Runs a step of the action as the runner does: its expressions are filled in, and bash runs it."""
    [found] = [each for each in ACTION["runs"]["steps"] if each["name"] == name]
    values = {key: each["default"] for key, each in ACTION["inputs"].items()} | inputs

    def filled(match: re.Match[str]) -> str:
        context, _, key = match[1].partition(".")
        return {"inputs": values.get(key, ""), "runner": str(folder), "github": str(ROOT)}[context]

    environment: dict[str, Any] = os.environ | {
        key: re.sub(r"\$\{\{ (\S+) \}\}", filled, text) for key, text in found["env"].items()
    }
    environment |= {"PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}
    command = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", found["run"]]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("text", "inputs", "code"),
    [(BROKEN, {}, 1), (WARNED, {}, 0), (WARNED, {"strict": "true"}, 1)],
)
def test_the_action_fails_on_errors_and_if_asked_to_on_warnings(
    tmp_path: Path, text: str, inputs: dict[str, str], code: int
) -> None:
    (tmp_path / "fhir.json").write_text(text)
    done = step("Check", tmp_path, **inputs)
    assert done.returncode == code, done.stderr
    assert "fhir.json:" in done.stdout


def test_the_action_takes_paths_messages_and_writes_sarif(tmp_path: Path) -> None:
    folder = tmp_path / "with blanks"
    folder.mkdir()
    (folder / "fhir.json").write_text(BROKEN)
    mapping = (ROOT / "mappings" / "deviceMapping.json").read_text(encoding="utf-8")
    (tmp_path / "device.json").write_text(mapping)
    (tmp_path / "m.jsonl").write_text('{"x": 1}\n')
    inputs = {"paths": "with blanks\ndevice.json\n", "messages": "m.jsonl\n", "sarif-file": "found.sarif"}
    done = step("Check", tmp_path, **inputs)
    assert done.returncode == 1, done.stderr
    [run] = json.loads((tmp_path / "found.sarif").read_text())["runs"]
    places = {each["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for each in run["results"]}
    assert "with%20blanks/fhir.json" in places


def test_the_action_installs_this_repository_with_the_command_line() -> None:
    [install] = [each for each in ACTION["runs"]["steps"] if each["name"] == "Install"]
    assert install["run"].rstrip().endswith('pip install --quiet "$ROOT[cli]"')
    place = install["env"]["ROOT"].replace("${{ github.action_path }}", ".github/actions/check-mappings")
    assert (ROOT / place / "pyproject.toml").is_file()


@pytest.mark.parametrize(("text", "code"), [(BROKEN, 1), (WARNED, 0)])
def test_the_hook_checks_the_folder_that_it_runs_in(tmp_path: Path, text: str, code: int) -> None:
    (tmp_path / "fhir.json").write_text(text)
    program, *arguments = shlex.split(HOOK["entry"])
    assert program == "python"
    done = subprocess.run(
        [sys.executable, *arguments, *HOOK["args"]],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "fhir.json:" in done.stdout


def test_the_hook_installs_what_the_command_line_needs() -> None:
    """pre-commit installs a hook's repository without its extras."""
    assert HOOK["additional_dependencies"] == PROJECT["project"]["optional-dependencies"]["cli"]


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The script that installing the package makes."""
    module, function = PROJECT["project"]["scripts"]["medtech"].split(":")
    script = tmp_path / "medtech"
    script.write_text(f"#!{sys.executable}\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n")
    script.chmod(0o755)
    return script


def complete(script: Path, words: str) -> list[str]:
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "_MEDTECH_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    done = subprocess.run([script], env=environment, capture_output=True, text=True, check=False)
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("medtech va", ["validate"]),
        ("medtech schema ", ["device", "fhir"]),
        ("medtech validate --format s", ["sarif"]),
        ("medtech dead-letters ex", ["export"]),
    ],
)
def test_the_installed_command_completes(installed: Path, words: str, found: list[str]) -> None:
    assert complete(installed, words) == found


def test_the_installed_command_installs_its_completion(installed: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([installed, "--help"], env=environment, capture_output=True, text=True, check=False)
    assert "--install-completion" in done.stdout
    assert "Usage: medtech " in done.stdout


@pytest.mark.parametrize("arguments", [["--help"], ["validate", "mappings"], ["validate", "--nonsense"]])
def test_a_pipe_gets_no_colours(arguments: list[str]) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "PY_COLORS")}
    environment["TERM"] = "xterm-256color"
    environment.pop("GITHUB_ACTIONS", None)
    done = subprocess.run(
        [sys.executable, "-m", "medtech", *arguments], cwd=ROOT, env=environment, capture_output=True, check=False
    )
    assert b"\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize("no_color", ["", "1"])
def test_a_terminal_gets_colours_unless_no_color_is_set(tmp_path: Path, no_color: str) -> None:
    (tmp_path / "fhir.json").write_text(BROKEN)
    ours, theirs = os.openpty()
    environment = os.environ | {"TERM": "xterm-256color", "NO_COLOR": no_color, "COLUMNS": "80"}
    command = [sys.executable, "-m", "medtech", "validate", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, env=environment, stdout=theirs, stderr=theirs, check=False)
    os.close(theirs)
    written = b""
    try:
        while chunk := os.read(ours, 65536):
            written += chunk
    except OSError:
        pass  # Linux answers so at the end of a terminal.
    finally:
        os.close(ours)
    colours = re.findall(rb"\x1b\[[0-9;]*3[0-7][0-9;]*m", written)
    assert bool(colours) == (not no_color)
