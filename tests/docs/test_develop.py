"""docs/develop.md knows every room and every command."""

import re

import pytest

from tests.docs import commands, markdown
from tests.docs.markdown import ROOT

PAGE = markdown.read(ROOT / "docs" / "develop.md")
ROOMS = {
    path.name + "/" * path.is_dir()
    for path in (ROOT / "medtech").iterdir()
    if not path.name.startswith("_") and (path.suffix == ".py" or (path / "__init__.py").exists())
}
NOT_LISTED = {"help", "setup", "clean"}


def _drawn() -> dict[str, str]:
    """The rooms of the drawing, with what it says of each."""
    (block,) = (block for block in PAGE.blocks if block.section == "rooms")
    return dict(re.findall(r"^  (\S+) +(\S.*)$", block.text, re.MULTILINE))


@pytest.mark.parametrize("room", sorted(ROOMS | _drawn().keys()))
def test_the_drawing_has_each_room_once_and_says_what_is_in_it(room: str) -> None:
    assert room in ROOMS
    assert room in _drawn()


def test_every_target_of_make_is_in_the_table() -> None:
    phony = re.search(r"^\.PHONY: (.*)$", commands.makefile(), re.MULTILINE)
    assert phony is not None
    listed = {name for row in PAGE.table("command").rows for name in re.findall(r"make ([\w-]+)", row[0])}
    in_text = set(re.findall(r"`make ([\w-]+)", PAGE.path.read_text(encoding="utf-8")))
    assert set(phony.group(1).split()) - NOT_LISTED == listed
    assert in_text <= set(phony.group(1).split())
