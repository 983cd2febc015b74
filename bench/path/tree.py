"""A source tree, and a scenario run in it: the working tree, or an earlier commit's in a git worktree.

The scenarios are those of the working tree in any case; what they measure (`medtech`, and `dev` and `tests`, by which
they reach it) is the tree's own. The Python environment is this process's.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[2]

BEFORE = "b5d7430"
"""The commit that the goals' "before" is measured on."""

_WORKTREES = HERE / ".local" / "worktrees"


class TreeMissing(Exception):
    """A commit cannot be checked out here; the text says why, and what to do."""


class ScenarioBroke(Exception):
    """A scenario ended without a result; the text is the end of what it wrote."""


@dataclass(frozen=True, slots=True)
class Tree:
    """`name` is how the tables call it."""

    name: str
    root: Path

    def run(self, scenario: str, /, **options: Any) -> dict[str, Any]:
        """What `bench.path.SCENARIO.run(**options)` returns, as JSON, in a process of its own.

        Raises ScenarioBroke.
        """
        command = [sys.executable, "-m", "bench.path.child", str(self.root), scenario, json.dumps(options)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        ended = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True, check=False)
        lines = ended.stdout.splitlines()
        if ended.returncode != 0 or not lines:
            end = "\n".join((ended.stdout + ended.stderr).splitlines()[-30:])
            raise ScenarioBroke(f"{scenario} of {self.name} ended with {ended.returncode}:\n{end}")
        result: dict[str, Any] = json.loads(lines[-1])
        return result


def working_tree() -> Tree:
    return Tree("now", HERE)


def checked_out(commit: str) -> Tree:
    """The tree of a commit, checked out under .local/. Raises TreeMissing."""
    folder = _WORKTREES / commit
    if not (folder / ".git").exists():
        _git("cat-file", "-e", f"{commit}^{{commit}}", doing=f"find commit {commit}")
        # --force: the folder may have been removed, which git is not told by `make clean`.
        _git("worktree", "add", "--force", "--detach", str(folder), commit, doing=f"check out commit {commit}")
    return Tree("before", folder)


def _git(*arguments: str, doing: str) -> None:
    try:
        ended = subprocess.run(["git", *arguments], cwd=HERE, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise TreeMissing(f"git was not found, so it could not {doing}.") from None
    if ended.returncode != 0:
        said = ended.stderr.strip().splitlines()
        raise TreeMissing(
            f"git could not {doing}{f' ({said[-1]})' if said else ''}. A shallow clone lacks earlier commits: "
            "`git fetch --unshallow` brings them, and --before names another one."
        )
