"""`python -m medtech simulate` as a person or a script calls it."""

import subprocess
import sys

from typer.testing import CliRunner

from medtech.command.line import app


def test_a_fault_is_one_clear_sentence_and_exit_code_1() -> None:
    result = CliRunner().invoke(app, ["simulate", "--at-once", "--host", "http://127.0.0.1:1"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Nothing answers at http://127.0.0.1:1")
    assert result.stderr.count("\n") == 1


def test_a_namespace_without_a_hub_is_refused() -> None:
    """Otherwise the traffic would go to the local host, which nobody asked for."""
    result = CliRunner().invoke(app, ["simulate", "--fully-qualified-namespace", "ns.servicebus.windows.net"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "--event-hub" in result.stderr


def test_a_duration_without_a_message_is_refused() -> None:
    result = CliRunner().invoke(app, ["simulate", "--at-once", "--rate", "2", "--duration", "29"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "--duration" in result.stderr


def test_the_command_line_loads_without_the_packages_of_its_commands() -> None:
    loaded = "import sys, medtech.command.line; print(*{name.partition('.')[0] for name in sys.modules})"
    modules = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True).stdout.split()
    assert "typer" in modules
    assert not {"azure", "httpx", "rich"} & set(modules)
