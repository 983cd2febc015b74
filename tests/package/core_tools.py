"""Which files `func azure functionapp publish` puts into the package, by the rules of Azure Functions Core Tools.

Read from its source (github.com/Azure/azure-functions-core-tools, 3ee97a63, August 2026): `GitIgnoreParser.cs` for the
patterns, `FileSystemHelpers.GetLocalFiles` for the walk. Not as git does:

- a pattern is matched from the root on, and its match must end at a word boundary (`dev` takes `dev/x` and `dev.md`,
  not `device`; `dev/` takes `dev/x`, not `dev/.x`);
- `*` is one character or more of a name, `**` one or more of a path, nothing else is special;
- a line with `!` wins over all others, wherever it stands, even inside a folder that is left out.
"""

import os
import re
from pathlib import Path

_FOLDERS_LEFT_OUT = {".git", ".vscode"}
_FILES_LEFT_OUT = {".funcignore", ".gitignore", "local.settings.json", "project.lock.json"}
"""By their names alone, in any folder and in any case, whatever `.funcignore` says."""

_WILDCARDS = {"**": "(?:.+)", "*": "(?:[^/]+)"}


class FuncIgnore:
    """The rules of one `.funcignore`."""

    def __init__(self, text: str) -> None:
        left_out: list[str] = []
        taken: list[str] = []
        for line in (line.strip() for line in text.removeprefix("\ufeff").split("\n")):
            if line and not line.startswith("#"):
                patterns = taken if line.startswith("!") else left_out
                patterns.append(line.removeprefix("!").removeprefix("/"))
        self._left_out = _any_of(left_out)
        self._taken = _any_of(taken)

    def accepts(self, path: str) -> bool:
        """Whether a file is published; `path` is relative to the root, with slashes."""
        return bool(self._taken.match(path)) or not self._left_out.match(path)


def published(root: Path) -> list[str]:
    """The paths of the files that go into the package, relative to `root`, sorted.

    Every other folder is walked, links to folders too, even those of which nothing is published.
    """
    rules = FuncIgnore((root / ".funcignore").read_text(encoding="utf-8"))
    found = []
    for folder, folders, files in os.walk(root, followlinks=True):
        folders[:] = [name for name in folders if name.lower() not in _FOLDERS_LEFT_OUT]
        within = Path(folder).relative_to(root)
        paths = [(within / name).as_posix() for name in files if name.lower() not in _FILES_LEFT_OUT]
        found += [path for path in paths if rules.accepts(path)]
    return sorted(found)


def _any_of(patterns: list[str]) -> re.Pattern[str]:
    if not patterns:
        return re.compile("$^")
    pieces = ("|".join(_expression(pattern) for pattern in patterns)).join(("(?:", ")"))
    return re.compile(rf"{pieces}\b", re.ASCII)  # .NET's ECMAScript option: a word is of ASCII letters, digits and _


def _expression(pattern: str) -> str:
    return "".join(_WILDCARDS.get(piece) or re.escape(piece) for piece in re.split(r"(\*\*|\*)", pattern))
