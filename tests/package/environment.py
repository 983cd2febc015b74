"""A published package in a clean environment, as Azure's remote build makes it: installed by hash, then indexed.

Needs the package index, or a mirror that pip knows of.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

PACKAGES = ".python_packages/lib/site-packages"
"""Where remote build installs to, and the worker looks first."""

_FIT = "import ensurepip, sys, venv; print('{}.{}'.format(*sys.version_info))"

_INDEX = """
import importlib, json, pkgutil, sys, time
started = time.perf_counter()
import function_app
functions = {function.get_function_name(): function.get_trigger().type for function in function_app.app.get_functions()}
seconds = time.perf_counter() - started
import medtech
for module in pkgutil.walk_packages(medtech.__path__, "medtech."):
    if module.name != "medtech.__main__" and not module.name.startswith("medtech.command"):
        importlib.import_module(module.name)
print(json.dumps([functions, seconds]))
"""
"""The functions as the worker lists them. Then every module, since most import what they need when it is needed."""


class PackageUnusable(Exception):
    """It cannot be installed or indexed; the message has what the tool said."""


class Indexed(NamedTuple):
    """What came of one Python."""

    installed: int
    triggers: dict[str, str]
    import_seconds: float


def interpreter(version: str) -> Path | None:
    """A Python `version` ("3.12") that can make an environment, None if this machine has none."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    names = [shutil.which(f"python{version}"), *sorted(pyenv.glob(f"versions/{version}.*/bin/python"), reverse=True)]
    if uv := shutil.which("uv"):
        found = _run([uv, "python", "find", "--no-python-downloads", version])
        names += found.stdout.split()
    # A pyenv shim of a version that is not selected does not start.
    return next((Path(name) for name in names if name and _run([name, "-c", _FIT]).stdout.strip() == version), None)


def install_and_index(package: Path, python: Path, environment: Path) -> Indexed:
    """Installs into the folder `package` what its requirements name, and indexes the app there.

    `environment` is a folder to be made. Raises PackageUnusable.
    """
    _must("No environment", [python, "-m", "venv", environment])
    clean = environment / "bin" / "python"
    target = package / PACKAGES
    shutil.rmtree(target, ignore_errors=True)
    pip = [clean, "-m", "pip", "install", "--quiet", "--no-cache-dir", "--require-hashes", "--only-binary", ":all:"]
    _must("Not installed", [*pip, "--target", target, "-r", package / "requirements.txt"])
    indexed = _must("Not indexed", [clean, "-c", _INDEX], cwd=package, PYTHONPATH=str(target))
    triggers, seconds = json.loads(indexed)
    return Indexed(len(list(target.glob("*.dist-info"))), triggers, seconds)


def _must(what: str, command: list[str | Path], cwd: Path | None = None, **variables: str) -> str:
    answer = _run(command, cwd, variables)
    if answer.returncode:
        raise PackageUnusable(f"{what}. {answer.stderr.strip()}")
    return answer.stdout


def _run(
    command: list[str | Path], cwd: Path | None = None, variables: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """With nothing of the environment that runs this."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    # Compiled files would be part of the next package that is made of this folder.
    own = {"PYTHONDONTWRITEBYTECODE": "1", **(variables or {})}
    return subprocess.run(command, cwd=cwd, env=inherited | own, capture_output=True, text=True, check=False)
