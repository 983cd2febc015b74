"""Who imports whom: data goes one way down the stages, and the languages know nothing of mappings.

A room is a folder or a file of `medtech/`. `MAY_IMPORT` is the drawing; what is not in it is not imported, and what is
in it is needed, so that it stays a picture of the code.
"""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "medtech"

MAY_IMPORT: dict[str, str] = {
    "errors": "",
    "deadline": "errors",
    "address": "",
    "client_key": "",
    "http_answer": "errors",
    "final_response": "",
    "entra": "",
    "filling": "",
    "side_counts": "",
    "telemetry": "entra",
    "dotnet": "",
    "evaluation_budget": "",
    "selection": "evaluation_budget",
    "jsonpath": "dotnet evaluation_budget selection",
    "jmespath": "dotnet evaluation_budget selection",
    "model": "errors",
    "declared_settings": "",
    "settings": "errors address client_key declared_settings",
    "storage": "errors deadline final_response entra filling side_counts",
    "setup": "errors declared_settings settings storage",
    "checkpoints": "errors entra setup storage",
    "jobs": "errors deadline dotnet storage",
    "mapping": "errors dotnet evaluation_budget selection jsonpath jmespath model storage",
    "normalize": "errors model",
    "group": "errors deadline dotnet model storage",
    "dead_letter": "errors dotnet model storage",
    "comparison": "errors dotnet storage dead_letter",
    "ingest": "errors deadline dotnet model settings storage normalize group dead_letter",
    "replay": "errors deadline dotnet model settings storage jobs normalize group dead_letter",
    "backfill": "errors deadline dotnet model settings storage setup jobs normalize group dead_letter ingest",
    "transform": "errors dotnet model mapping",
    "persist": "errors deadline address client_key final_response declared_settings entra filling side_counts "
    "telemetry dotnet model settings transform",
    "flush": "errors deadline filling telemetry dotnet model settings storage mapping group dead_letter "
    "comparison transform persist",
    "validation": "errors deadline dotnet evaluation_budget jsonpath jmespath model mapping group transform",
    "health": "errors deadline dotnet model settings storage mapping group ingest persist flush",
    "debugger": "mapping",
    "metrics": "errors side_counts telemetry dotnet ingest flush",
    "parts": "settings storage setup mapping group dead_letter comparison ingest replay backfill persist flush health",
    "invocation": "errors side_counts telemetry metrics",
    "application": "errors deadline http_answer telemetry metrics invocation dotnet group dead_letter comparison "
    "ingest replay backfill flush validation health debugger parts",
    "importing": "address dotnet settings setup jsonpath jmespath mapping validation",
    "command": "errors client_key entra dotnet model settings storage setup checkpoints mapping normalize group "
    "dead_letter jobs comparison replay backfill transform persist validation health parts importing application",
    "__init__": "",
    "__main__": "command",
}


def _names(module: Path) -> set[str]:
    """The full names of all that a module imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            assert node.level == 0, f"{module.name} imports relatively"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def _imported(module: Path) -> set[str]:
    """The rooms that a module imports."""
    return {name.split(".")[1] for name in _names(module) if name.startswith("medtech.")}


def _rooms() -> dict[str, set[str]]:
    rooms: dict[str, set[str]] = {}
    for module in PACKAGE.rglob("*.py"):
        room = module.relative_to(PACKAGE).parts[0].removesuffix(".py")
        rooms.setdefault(room, set()).update(_imported(module) - {room, "__version__"})
    return rooms


ROOMS = _rooms()


@pytest.mark.parametrize("room", sorted(ROOMS.keys() | MAY_IMPORT.keys()))
def test_a_room_imports_what_the_drawing_says(room: str) -> None:
    assert sorted(ROOMS.get(room, ())) == sorted(MAY_IMPORT.get(room, "").split())


SYNTAX_IMPORTS = {"jsonpath": {"errors", "patterns"}, "jmespath": {"errors"}}
"""A syntax is a tree and its text. It is read without what evaluates it."""


@pytest.mark.parametrize("language", SYNTAX_IMPORTS)
def test_a_syntax_does_not_import_its_evaluator(language: str) -> None:
    inside = f"medtech.{language}."
    imported = {name for name in _names(PACKAGE / language / "syntax.py") if name.startswith(inside)}
    assert {name.removeprefix(inside).split(".")[0] for name in imported} == SYNTAX_IMPORTS[language]


def test_only_a_validation_loads_the_models_of_fhir_and_the_grammar_of_units() -> None:
    """They take 0.3 s to load and half a millisecond an Observation: nothing that data goes through may need them."""
    heavy = ("fhir.", "lark.", "ucumvert.")
    users = {
        module.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for module in PACKAGE.rglob("*.py")
        if any(name.startswith(heavy) for name in _names(module))
    }
    assert users == {"validation"}


def test_no_room_imports_one_that_imports_it() -> None:
    """In the order of the drawing each room imports only rooms above it, so there is no circle."""
    seen: set[str] = set()
    for room, imports in MAY_IMPORT.items():
        assert seen.issuperset(imports.split()), room
        seen.add(room)
