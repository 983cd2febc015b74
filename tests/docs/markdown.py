"""Markdown pages as values: headings, links, images, tables and code blocks, as CommonMark reads them.

    page = read(ROOT / "docs" / "settings.md")
    page.table("setting")         # the table whose first column is headed so
    page.blocks                   # every fenced block, with its language and its line

Text of cells and headings is their Markdown, without what surrounds it.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]

_MARKUP = re.compile(r"!?\[([^\]]*)\]\([^)]*\)|[`*]")


@dataclass(frozen=True, slots=True)
class Heading:
    level: int
    text: str
    anchor: str


@dataclass(frozen=True, slots=True)
class Link:
    """`text` of an image is its alternative text."""

    line: int
    target: str
    text: str
    image: bool


@dataclass(frozen=True, slots=True)
class Code:
    """A span of code within a sentence."""

    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block. `section` is the anchor of the heading it is under, `line` where its first line stands."""

    line: int
    language: str
    text: str
    section: str


@dataclass(frozen=True, slots=True)
class Table:
    line: int
    section: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Page:
    path: Path
    headings: tuple[Heading, ...]
    links: tuple[Link, ...]
    codes: tuple[Code, ...]
    blocks: tuple[Block, ...]
    tables: tuple[Table, ...]

    @property
    def name(self) -> str:
        """The path from the root, as people write it."""
        return self.path.relative_to(ROOT).as_posix()

    @property
    def anchors(self) -> set[str]:
        return {heading.anchor for heading in self.headings}

    def subsections(self, section: str) -> list[Heading]:
        """The headings within the section of this anchor."""
        [start] = [number for number, heading in enumerate(self.headings) if heading.anchor == section]
        level = self.headings[start].level
        return list(takewhile(lambda heading: heading.level > level, self.headings[start + 1 :]))

    def code(self, language: str, section: str | None = None) -> list[str]:
        """The texts of the fenced blocks of a language; those of one section, given by its anchor."""
        return [each.text for each in self.blocks if each.language == language and section in (None, each.section)]

    def table(self, first_column: str) -> Table:
        """The one table whose first column is headed so. Raises LookupError if there is none, or another."""
        found = [table for table in self.tables if table.head[0] == first_column]
        if len(found) != 1:
            raise LookupError(f"{self.name} has {len(found)} tables whose first column is '{first_column}'")
        return found[0]


def pages() -> list[Page]:
    """Every page of the repository, but what tools have installed or made."""
    made = {"node_modules", "target"}
    paths = (path.relative_to(ROOT) for path in sorted(ROOT.rglob("*.md")))
    return [read(ROOT / path) for path in paths if not any(part in made or part[0] == "." for part in path.parts)]


@cache
def read(path: Path) -> Page:
    return parse(path, path.read_text(encoding="utf-8"))


def parse(path: Path, text: str) -> Page:
    """As `read`, of a text that `path` would hold."""
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    headings: list[Heading] = []
    links: list[Link] = []
    codes: list[Code] = []
    blocks: list[Block] = []
    tables: list[Table] = []
    anchors: Counter[str] = Counter()
    for place, token in enumerate(tokens):
        line = token.map[0] + 1 if token.map else 0
        if token.type == "heading_open":
            heading = tokens[place + 1].content
            headings.append(Heading(int(token.tag[1]), heading, _anchor(heading, anchors)))
        elif token.type == "inline":
            links += _links(token, line)
            codes += (Code(line, child.content) for child in token.children or [] if child.type == "code_inline")
        elif token.type == "fence":
            section = headings[-1].anchor if headings else ""
            blocks.append(Block(line + 1, token.info.strip(), token.content, section))
        elif token.type == "code_block":
            raise ValueError(f"{path.name}, line {line}: an indented block has no language: fence it")
        elif token.type == "table_open":
            tables.append(_table(tokens[place:], line, headings[-1].anchor if headings else ""))
    return Page(path, tuple(headings), tuple(links), tuple(codes), tuple(blocks), tuple(tables))


def plain(text: str) -> str:
    """Without marks of links, emphasis and code."""
    return _MARKUP.sub(lambda found: found.group(1) or "", text)


def _anchor(heading: str, taken: Counter[str]) -> str:
    """As GitHub makes it: small letters, digits, hyphens and underscores, blanks as hyphens, repeats numbered."""
    anchor = re.sub(r"[^\w\- ]", "", plain(heading).lower()).replace(" ", "-")
    taken[anchor] += 1
    return anchor if taken[anchor] == 1 else f"{anchor}-{taken[anchor] - 1}"


def _links(inline: Token, line: int) -> Iterator[Link]:
    children = inline.children or []
    for place, token in enumerate(children):
        if token.type in ("softbreak", "hardbreak"):
            line += 1
        elif token.type == "link_open":
            yield Link(line, str(token.attrs["href"]), _text(children[place + 1 :]), False)
        elif token.type == "image":
            yield Link(line, str(token.attrs["src"]), token.content, True)


def _text(tokens: Sequence[Token]) -> str:
    """What is read up to the end of the link."""
    parts = []
    for token in tokens:
        if token.type == "link_close":
            break
        parts.append(token.content)
    return "".join(parts)


def _table(tokens: Sequence[Token], line: int, section: str) -> Table:
    rows: list[list[str]] = []
    for place, token in enumerate(tokens):
        if token.type == "table_close":
            break
        if token.type == "tr_open":
            rows.append([])
        elif token.type in ("th_open", "td_open"):
            rows[-1].append(tokens[place + 1].content)
    head, *body = (tuple(row) for row in rows)
    return Table(line, section, head, tuple(body))
