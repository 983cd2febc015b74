"""docs/security.md is held to the code: its tests exist, and its table of what is stored is complete."""

import ast
import re
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT, read
from tests.torture.site import TABLES_WITHOUT_HEALTH_DATA

PAGE = read(ROOT / "docs" / "security.md")
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE.path.read_text())))
STRIDE = [
    "Spoofing",
    "Tampering",
    "Repudiation",
    "Information disclosure",
    "Denial of service",
    "Elevation of privilege",
]


@pytest.mark.parametrize(("file", "test"), NAMED, ids=[f"{file}::{test}" for file, test in NAMED])
def test_the_test_that_holds_an_answer_exists(file: str, test: str) -> None:
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    assert test in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert test.startswith("test_")


def test_every_threat_has_an_answer_and_a_test() -> None:
    rows = PAGE.table("threat").rows
    assert [threat.strip("*") for threat, answer, _ in rows if not answer] == STRIDE
    for threat, answer, tests in rows:
        assert not answer or re.findall(r"`[\w/]+\.py::\w+`", tests), threat


def test_every_table_is_told_with_what_is_in_it() -> None:
    rows = PAGE.table("where").rows
    told: dict[str, str] = {}
    for row in rows:
        if found := re.match(r"table `(\w+)`", row[0]):
            # A table that is told of twice holds what the first row says.
            told.setdefault(found.group(1), row[2])
    assert set(told.values()) <= {"yes", "no"}
    modules = (path.read_text(encoding="utf-8") for path in (ROOT / "medtech").rglob("*.py"))
    names = [name for module in modules for name in re.findall(r'^\w*TABLE = "(\w+)"', module, re.M)]
    assert sorted(told) == sorted(names)
    assert {table for table, health_data in told.items() if health_data == "no"} == set(TABLES_WITHOUT_HEALTH_DATA)


@pytest.mark.parametrize("page", [*sorted(ROOT.glob("docs/*.md")), ROOT / "README.md"], ids=lambda page: page.stem)
def test_no_page_puts_a_key_into_an_address(page: Path) -> None:
    assert not re.search(r"[?&]code=", page.read_text())


@pytest.mark.parametrize("file", sorted((ROOT / "infra").glob("*.bicep")), ids=lambda file: file.stem)
def test_no_deployment_opens_cors(file: Path) -> None:
    assert "allowedOrigins" not in file.read_text()
