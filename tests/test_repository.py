"""The files around the code: workflows, licence, changelog, dev container."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from medtech import __version__

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))
NEWEST_PYTHON = "3.13"


def read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(path.read_text())
    return document


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in read(path)["jobs"].values() for step in job["steps"]]


def commands(path: Path) -> list[str]:
    """What is run, with each value of a matrix in its place."""
    found: list[str] = []
    for job in read(path)["jobs"].values():
        matrix = job.get("strategy", {}).get("matrix", {})
        for step in job["steps"]:
            reference = re.fullmatch(r"\$\{\{ matrix\.(\w+) \}\}", step.get("run", ""))
            found += matrix[reference[1]] if reference else [step["run"]] if "run" in step else []
    return found


workflows = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


def test_there_is_a_workflow_for_each_purpose() -> None:
    assert [path.stem for path in WORKFLOWS] == ["package", "publish", "test"]


def test_the_two_commands_of_the_readme_are_run() -> None:
    assert commands(ROOT / ".github/workflows/test.yml") == ["make demo", "make test"]
    readme = (ROOT / "README.md").read_text()
    assert "make run " in readme and "`make demo` does the same as `make run`" in readme and "make test " in readme


def test_the_package_is_tried_on_every_python_that_it_is_made_for() -> None:
    from tests.package.__main__ import PYTHONS

    path = ROOT / ".github/workflows/package.yml"
    [installed] = [step["with"]["python-version"] for step in steps(path) if "setup-python" in step.get("uses", "")]
    assert tuple(installed.split()) == PYTHONS
    assert commands(path) == ["make package", "make sbom", "make audit"]


@workflows
def test_every_make_target_that_is_run_exists(path: Path) -> None:
    run = [target for command in commands(path) for target in re.findall(r"\bmake ([a-z-]+)", command)]
    assert run
    assert set(run) <= TARGETS


@workflows
def test_every_action_is_pinned_by_its_commit(path: Path) -> None:
    """A tag can be moved to other code. The version behind it is for people, and for Dependabot."""
    used = re.findall(r"^ *- uses: (.*)$|^ +uses: (.*)$", path.read_text(), re.MULTILINE)
    assert len(used) == len([step for step in steps(path) if "uses" in step]) > 0
    for each in map("".join, used):
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each), each


def test_an_action_has_one_commit_everywhere() -> None:
    pins = {pin for path in WORKFLOWS for pin in re.findall(r"uses: (\S+@\S+ # \S+)", path.read_text())}
    assert len({pin.partition("@")[0] for pin in pins}) == len(pins)


@workflows
def test_a_workflow_may_read_the_code_and_nothing_else(path: Path) -> None:
    document = read(path)
    assert document["permissions"] == {"contents": "read"}
    for name, job in document["jobs"].items():
        if "permissions" in job:
            assert (path.stem, name) == ("publish", "publish")
            assert job["permissions"] == {"contents": "read", "id-token": "write"}
            assert job["environment"] == "production"
    checkouts = [step for step in steps(path) if step.get("uses", "").startswith("actions/checkout@")]
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


@workflows
def test_no_workflow_has_a_secret_or_pastes_text_into_a_shell(path: Path) -> None:
    """A `${{ }}` in `run` is pasted before the shell reads it: whoever names a branch or a tag would run commands."""
    text = path.read_text()
    assert "secrets." not in text
    assert "pull_request_target" not in text
    for step in steps(path):
        assert re.sub(r"\$\{\{ matrix\.\w+ \}\}", "", step.get("run", "")).count("${{") == 0


@workflows
def test_no_job_runs_for_ever(path: Path) -> None:
    assert all(job["timeout-minutes"] <= 60 for job in read(path)["jobs"].values())


def test_only_a_tag_is_published() -> None:
    # YAML 1.1 reads the word `on` as true.
    assert read(ROOT / ".github/workflows/publish.yml")[True] == {"push": {"tags": ["v*"]}}  # type: ignore[index]


def test_dependabot_looks_at_every_list_of_packages() -> None:
    updates = read(ROOT / ".github/dependabot.yml")["updates"]
    assert {(each["package-ecosystem"], each["directory"]) for each in updates} == {
        ("pip", "/"),
        ("npm", "/dev"),
        ("github-actions", "/"),
    }


def test_the_newest_version_of_the_changelog_is_the_version() -> None:
    headings = re.findall(r"^## \[(.*?)\](?: - (.*))?$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == ("Unreleased", "")
    version, date = headings[1]
    assert version == __version__
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", date)


def test_the_version_is_written_in_one_place() -> None:
    assert 'version = { attr = "medtech.__version__" }' in (ROOT / "pyproject.toml").read_text()
    quoted = re.compile(rf"""["']{re.escape(__version__)}["']""")
    found = [path for path in (ROOT / "medtech").rglob("*.py") if quoted.search(path.read_text())]
    assert found == [ROOT / "medtech" / "__init__.py"]


def test_the_dev_container_has_what_make_needs() -> None:
    container = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    assert container["image"].endswith(f":{NEWEST_PYTHON}")
    [node] = [each for name, each in container["features"].items() if "/node:" in name]
    oldest = json.loads((ROOT / "dev/package.json").read_text())["engines"]["node"].removeprefix(">=")
    assert int(node["version"]) >= int(oldest)
    assert container["postCreateCommand"].removeprefix("make ") in TARGETS
    assert {int(port) for port in container["portsAttributes"]} == set(container["forwardPorts"])


def test_every_target_of_the_makefile_is_phony() -> None:
    [phony] = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert set(phony.split()) == TARGETS
