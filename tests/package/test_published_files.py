"""What `.funcignore` keeps out of the package, for each of its readers, and what the package of this repository is."""

import subprocess
from pathlib import Path

import pytest

from tests.package.core_tools import FuncIgnore, published

ROOT = Path(__file__).parents[2]

APP = [
    "function_app.py",
    "host.json",
    "mappings/deviceMapping.json",
    "mappings/fhirDestinationMapping.json",
    "mappings/sampleMessages.json",
    "medtech/__init__.py",
    "medtech/debugger/page/bundle/codemirror.js",
    "medtech/debugger/page/index.html",
    "medtech/flush/run.py",
    "medtech/storage/table.py",
    "requirements.txt",
]

LEFT_OUT = [
    ".azure/config.json",
    ".azure/production/.env",
    ".ci/run",
    ".coverage",
    ".devcontainer/devcontainer.json",
    ".DS_Store",
    ".env",
    ".env.local",
    ".funcignore",
    ".git",
    ".gitattributes",
    ".github/workflows/publish.yml",
    ".gitignore",
    ".hypothesis/examples/1",
    ".local/storage/__azurite_db_table__.json",
    ".local/.keys",
    ".mypy_cache/3.13/cache.db",
    ".pytest_cache/v/cache/lastfailed",
    ".python-version",
    ".ruff_cache/0.14/1",
    ".venv/.gitignore",
    ".venv/.lock",
    ".venv/bin/python",
    ".venv/lib/python3.13/site-packages/httpx/__init__.py",
    ".venv/pyvenv.cfg",
    ".venv-3.11/pyvenv.cfg",
    ".vscode/settings.json",
    "CHANGELOG.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "SECURITY.md",
    "__azurite_db_blob__.json",
    "__azurite_db_blob_extent__.json",
    "__azurite_db_table__.json",
    "__blobstorage__/4d1c7b0e",
    "__pycache__/function_app.cpython-313.pyc",
    "__queuestorage__/8a2f",
    "azure.yaml",
    "bench/reference.json",
    "build/lib/medtech/__init__.py",
    "dev/.npmrc",
    "dev/__pycache__/host.cpython-313.pyc",
    "dev/node_modules/azurite/package.json",
    "dev/package.json",
    "dist/medtech-1.0.0.tar.gz",
    "docs/operate.md",
    "infra/main.bicep",
    "infra/main.parameters.json",
    "local.settings.json",
    "local.settings.sample.json",
    "mappings/README.md",
    "medtech/__pycache__/__init__.cpython-313.pyc",
    "medtech/flush/__pycache__/run.cpython-311.pyc",
    "medtech.egg-info/PKG-INFO",
    "node_modules/azurite/package.json",
    "package.zip",
    "pyproject.toml",
    "requirements-dev.txt",
    "sbom.json",
    "tests/.hidden",
    "tests/__pycache__/__init__.cpython-313.pyc",
    "tests/conftest.py",
    "uv.lock",
    "venv/pyvenv.cfg",
]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The app among everything that development, Azurite, azd and editors leave beside it."""
    for path in (tmp_path / name for name in APP + LEFT_OUT):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    (tmp_path / ".funcignore").write_text((ROOT / ".funcignore").read_text())
    return tmp_path


def test_core_tools_publish_the_app_alone(tree: Path) -> None:
    assert published(tree) == APP


def test_azd_which_reads_as_git_does_publishes_the_app_alone(tree: Path) -> None:
    (tree / ".git").unlink()
    subprocess.run(["git", "init", "-q"], cwd=tree, check=True)
    command = ["git", "-c", "core.excludesFile=", "ls-files", "--others", "--exclude-from=.funcignore"]
    answer = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=True)
    assert answer.stdout.split("\n")[:-1] == APP


def test_packages_installed_for_a_publish_without_build_are_published(tree: Path) -> None:
    package = tree / ".python_packages/lib/site-packages/httpx/__init__.py"
    package.parent.mkdir(parents=True)
    package.write_text("")
    assert published(tree) == [package.relative_to(tree).as_posix(), *APP]


def test_the_package_of_this_repository() -> None:
    """A file that is missing here belongs in `.funcignore`, or the app needs it; then it belongs in this list."""
    of_the_app = [path.relative_to(ROOT).as_posix() for path in (ROOT / "medtech").rglob("*") if path.is_file()]
    modules = [path for path in of_the_app if "/__pycache__/" not in path]
    assert published(ROOT) == sorted(
        [
            "function_app.py",
            "host.json",
            "mappings/deviceMapping.json",
            "mappings/fhirDestinationMapping.json",
            "mappings/sampleMessages.json",
            "requirements.txt",
            *modules,
        ]
    )


def test_the_editor_of_the_debugger_page_is_in_the_package() -> None:
    """Git ignores it: `make page` makes it."""
    bundle = "medtech/debugger/page/bundle"
    assert {f"{bundle}/codemirror.js", f"{bundle}/licences.txt"} <= set(published(ROOT))


def test_the_package_is_small() -> None:
    """Its upload and unpacking are part of a cold start; with `.venv` in it it was 245 MB in 9,865 files."""
    sizes = [(ROOT / path).stat().st_size for path in published(ROOT)]
    assert 50 < len(sizes) < 400
    assert sum(sizes) < 3_000_000


# The cases are those of Core Tools' own tests (GitIgnoreParserTests.cs), and what sets its reading apart from git's.
RULES = """
# a comment
node_modules
*.log
nonexistent
!/nonexistent/foo
/baz
foo/*.wat
/test1
othernonexistent/**/what
!/othernonexistent/**/what/foo
*.swp
folder/
.venv*/
"""


@pytest.mark.parametrize(
    ("path", "accepted"),
    [
        ("test/index.js", True),
        ("test.swp", False),
        ("node_modules/what.js", False),
        ("src/node_modules/what.js", True),
        ("foo/bar.wat", False),
        ("foo/.wat", True),
        ("test1", False),
        ("test1File.wat", True),
        ("test1-file.wat", False),
        ("nonexistent/bar", False),
        ("nonexistent/foo/wat", True),
        ("othernonexistent/blah/what", False),
        ("othernonexistent/blah/adsasd/what/foo", True),
        ("othernonexistent/what", True),
        ("folder/file", False),
        ("folder/.hidden", True),
        (".venv/pyvenv.cfg", True),
        (".venv-3.11/pyvenv.cfg", False),
    ],
)
def test_the_rules_are_those_of_core_tools(path: str, accepted: bool) -> None:
    assert FuncIgnore(RULES).accepts(path) is accepted
