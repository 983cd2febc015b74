"""Sets up what the Makefile's commands need: a Python 3.13 environment and the npm packages.

Runs on any Python from 3.8 on, with the standard library alone. Whatever is already there and unchanged is left alone,
so a second start takes milliseconds. On a fault it exits with one sentence that says what to do.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
REQUIREMENTS = ROOT / "requirements-dev.txt"
NPM_FOLDER = ROOT / "dev"
NPM_LOCK = NPM_FOLDER / "package-lock.json"
WANTED = (3, 13)
OLDEST_NODE = 20


def main():
    check_node()  # before minutes of installing
    make_environment()
    install_npm_parts()


def make_environment():
    """`.venv` with the pinned packages; rebuilt when the pins or the interpreter have changed."""
    python = VENV / ("Scripts" if os.name == "nt" else "bin") / "python"
    stamp = VENV / ".installed"
    digest = digest_of(REQUIREMENTS)
    if read(stamp) == digest and version_of(python) == WANTED:
        return
    uv = shutil.which("uv")
    shutil.rmtree(VENV, ignore_errors=True)
    interpreter = find_interpreter()
    if interpreter:
        say("Making a Python environment in .venv …")
        run([uv, "venv", "--quiet", "--python", interpreter, VENV] if uv else [interpreter, "-m", "venv", VENV])
    elif uv:
        say("Making a Python environment in .venv (uv provides Python 3.13) …")
        run([uv, "venv", "--quiet", "--python", "3.13", VENV])
    else:
        stop("Python 3.13 was not found on PATH or under pyenv: install it, or install uv, which provides it.")
    say("Installing the pinned packages (a minute or two, once) …")
    installer = [uv, "pip", "install", "--python", python] if uv else [python, "-m", "pip", "install"]
    run([*installer, "--quiet", "--require-hashes", "-r", REQUIREMENTS])
    stamp.write_text(digest)


def install_npm_parts():
    """`dev/node_modules`: Azurite and the FHIR server's packages."""
    stamp = NPM_FOLDER / "node_modules" / ".installed"
    digest = digest_of(NPM_LOCK)
    if read(stamp) == digest:
        return
    say("Installing the local servers from npm (a minute, once) …")
    quiet = ["--no-fund", "--no-audit", "--no-update-notifier", "--loglevel=error"]
    run([shutil.which("npm"), "ci", *quiet], cwd=NPM_FOLDER)
    stamp.write_text(digest)


def check_node():
    if not shutil.which("node") or not shutil.which("npm"):
        stop(f"Node.js was not found: install Node.js {OLDEST_NODE} or newer (with npm).")
    version = subprocess.run(["node", "--version"], stdout=subprocess.PIPE, text=True, check=False).stdout.strip()
    major = version.lstrip("v").split(".")[0]
    if not major.isdigit() or int(major) < OLDEST_NODE:
        stop(f"Node.js {version or '?'} is too old: install Node.js {OLDEST_NODE} or newer.")


def find_interpreter():
    """A Python 3.13 that starts: a pyenv shim of a version that is not selected does not."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    candidates = [sys.executable, shutil.which("python3.13"), shutil.which("python3"), shutil.which("python")]
    candidates += sorted(pyenv.glob("versions/3.13*/bin/python"), reverse=True)
    return next((path for path in candidates if path and version_of(path) == WANTED), None)


def version_of(python):
    question = [python, "-c", "import sys; print(*sys.version_info[:2])"]
    try:
        answer = subprocess.run(question, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return tuple(int(part) for part in answer.stdout.split())


def digest_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read(path):
    try:
        return path.read_text()
    except OSError:
        return None


def run(command, cwd=ROOT):
    if subprocess.run(command, cwd=cwd, check=False).returncode:
        what = " ".join(Path(part).name for part in command[:3])
        stop(f"`{what}` failed: fix what it reports above, then start again.")


def say(text):
    print(text, file=sys.stderr, flush=True)


def stop(text):
    say(text)
    sys.exit(1)


if __name__ == "__main__":
    main()
