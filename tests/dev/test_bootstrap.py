"""What a first start reports when a tool is missing or too old: one sentence, before it installs anything."""

from pathlib import Path

import pytest

from dev import bootstrap


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH; the environment that a start would make would be in the test's folder too."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setattr(bootstrap, "VENV", tmp_path / ".venv")
    return folder


def tool(path: Path, answer: str) -> Path:
    """A program that prints the answer whatever its arguments are."""
    path.write_text(f"#!/bin/sh\necho '{answer}'\n")
    path.chmod(0o755)
    return path


def refusal(capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        bootstrap.main()
    assert ended.value.code == 1
    assert not bootstrap.VENV.exists()
    return capsys.readouterr().err


def test_node_that_is_missing(tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refusal(capsys) == "Node.js was not found: install Node.js 20 or newer (with npm).\n"


def test_node_without_npm(tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tool(tools / "node", "v22.1.0")
    assert refusal(capsys) == "Node.js was not found: install Node.js 20 or newer (with npm).\n"


@pytest.mark.parametrize(("answer", "told"), [("v18.20.1", "v18.20.1"), ("", "?")])
def test_node_that_is_too_old(tools: Path, capsys: pytest.CaptureFixture[str], answer: str, told: str) -> None:
    tool(tools / "node", answer)
    tool(tools / "npm", "10.0.0")
    assert refusal(capsys) == f"Node.js {told} is too old: install Node.js 20 or newer.\n"


def test_python_of_another_version(
    tools: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tool(tools / "node", "v22.1.0")
    tool(tools / "npm", "10.0.0")
    monkeypatch.setattr(bootstrap.sys, "executable", str(tool(tools / "python3", "3 12")))
    assert refusal(capsys) == (
        "Python 3.13 was not found on PATH or under pyenv: install it, or install uv, which provides it.\n"
    )


def test_a_python_under_pyenv_is_found(tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap.sys, "executable", str(tool(tools / "python3", "3 12")))
    folder = tmp_path / "pyenv" / "versions" / "3.13.1" / "bin"
    folder.mkdir(parents=True)
    python = tool(folder / "python", "3 13")
    assert bootstrap.find_interpreter() == python
