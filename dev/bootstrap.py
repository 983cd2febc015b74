"""Sets up what the Makefile's commands need: a Python 3.13 environment and the npm packages.

Runs on any Python from 3.8 on, with the standard library alone. Whatever is already there and unchanged is left alone,
so a second start takes milliseconds. On a fault it exits with one sentence that says what to do.

    bootstrap.py              what a run needs, and the editor of the debugger page, bundled
    bootstrap.py --browser    also a Chromium for the tests of that page, 70 MB
    bootstrap.py --page       the editor alone: for a place that only publishes, and needs no Python packages
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
PAGE_FOLDER = NPM_FOLDER / "page"
BUNDLE = ROOT / "medtech" / "debugger" / "page" / "bundle" / "codemirror.js"
WANTED = (3, 13)
OLDEST_NODE = 20


def main():
    check_node()  # before minutes of installing
    if "--page" not in sys.argv:
        make_environment()
        install_npm_parts(NPM_FOLDER, "the local servers")
    if "--browser" in sys.argv:
        install_npm_parts(PAGE_FOLDER, "the editor of the debugger page, and a browser to test it,")
    elif not is_installed(PAGE_FOLDER):
        install_npm_parts(PAGE_FOLDER, "the editor of the debugger page", "--omit=dev")
    make_page()


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


def install_npm_parts(folder, what, *options):
    """`node_modules` of a folder, as its lock file pins them."""
    stamp = folder / "node_modules" / ".installed"
    installed = digest_of(folder / "package-lock.json") + "".join(options)
    if read(stamp) == installed:
        return
    say(f"Installing {what} from npm (a minute, once) …")
    quiet = ["--no-fund", "--no-audit", "--no-update-notifier", "--loglevel=error"]
    run([shutil.which("npm"), "ci", *options, *quiet], cwd=folder)
    stamp.write_text(installed)


def is_installed(folder):
    """Whether all that the lock file pins is there: with the browser, which a run would otherwise take away again."""
    return read(folder / "node_modules" / ".installed") == digest_of(folder / "package-lock.json")


def make_page():
    """The editor of the debugger page as one file, again when its sources or pins have changed."""
    stamp = PAGE_FOLDER / "node_modules" / ".bundled"
    sources = ("package-lock.json", "codemirror.mjs", "build.mjs")
    made_of = "".join(digest_of(PAGE_FOLDER / name) for name in sources)
    if BUNDLE.exists() and read(stamp) == made_of:
        return
    say("Bundling the editor of the debugger page …")
    run([shutil.which("node"), "build.mjs"], cwd=PAGE_FOLDER)
    stamp.write_text(made_of)


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
