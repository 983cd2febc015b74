"""Who imports whom in dev/: no cycles, wherever in a module the imports are."""

import ast
from graphlib import TopologicalSorter

from dev.processes import DEV_FOLDER


def test_no_module_imports_one_that_imports_it() -> None:
    imports: dict[str, set[str]] = {}
    for path in DEV_FOLDER.glob("*.py"):
        imported = imports.setdefault(f"dev.{path.stem}", set())
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                imported.add(node.module or "")
            elif isinstance(node, ast.Import):
                imported.update(alias.name for alias in node.names)
    assert "dev.host" in imports["dev.routes"]
    TopologicalSorter(imports).prepare()  # raises CycleError
