"""A file that is imported: read whole, with the place of every value in it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from medtech.dotnet.json_reader import LocatedSyntaxError, Node, parse_repeated
from medtech.mapping.schema import Issues, Section

MAX_BYTES = 16 * 1024 * 1024
"""Azure's resource manager takes templates of 4 MiB."""

_MOST_TOLD = 20
"""Of names that are repeated."""

_COMPILED_BY = {
    ".bicep": "az bicep build --file",
    ".bicepparam": "az bicep build-params --file",
}


class Place(NamedTuple):
    """Where something is: a file, and in it a line (from 1) and a JSON pointer (RFC 6901), if it is known there."""

    path: Path
    line: int | None = None
    pointer: str = ""

    def __str__(self) -> str:
        line = "" if self.line is None else f":{self.line}"
        return f"{self.path}{line} {self.pointer}".rstrip()


class Refused(Exception):
    """A file that cannot be imported; the text says what is wrong and how to fix it."""

    def __init__(self, place: Place, message: str) -> None:
        super().__init__(f"{place}: {message}")
        self.place = place
        self.message = message


@dataclass(frozen=True, slots=True)
class Document:
    """A file of JSON. `text` is without a byte order mark; `repeated` are values in the place of an earlier one of the
    same name."""

    path: Path
    text: str
    root: Node
    repeated: Sequence[Node] = ()

    def place(self, node: Node) -> Place:
        return Place(self.path, node.line, node.pointer)

    def section(self) -> Section:
        return Section(self.root, Issues())

    def repetitions(self) -> list[str]:
        """What people are told of `repeated`: what they think is in force may not be."""
        return [
            f"{self.place(node)}: this name is in its object before. The last one counts, as it does for the service. "
            "Look whether that is the one that is meant, and remove the others."
            for node in self.repeated[:_MOST_TOLD]
        ]


def read(path: Path) -> Document:
    """A JSON file, with comments or without, in UTF-8, or in UTF-16 as Windows PowerShell writes it, with or without a
    byte order mark. Raises Refused."""
    compiler = _COMPILED_BY.get(path.suffix.lower())
    if compiler is not None:
        raise Refused(
            Place(path), f"This is Bicep source, which only its compiler reads. Give what `{compiler} {path}` makes."
        )
    text = _text(path)
    if not text.strip():
        raise Refused(Place(path), "The file is empty. If a command wrote it, look at what the command said.")
    try:
        return Document(path, text, *parse_repeated(text))
    except LocatedSyntaxError as error:
        place = Place(path, error.line)
        raise Refused(
            place,
            f"The file is not JSON: {error.message}, after {error.position} characters of the line. Give what az "
            "prints with `--output json`.",
        ) from None


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise Refused(Place(path), f"The file cannot be read: {error.strerror}.") from None
    if len(content) > MAX_BYTES:
        raise Refused(Place(path), f"The file has more than {MAX_BYTES // 1024**2} MiB, which no resource has.")
    encoding = json.detect_encoding(content)
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        begins_as = encoding.upper().removesuffix("-SIG")
        told = f"The file begins as {begins_as}, which byte {error.start} of it is not. Save it as UTF-8."
        raise Refused(Place(path), told) from None


def items_of(node: Node) -> Sequence[Node]:
    """The elements of a list, of the `value` of what Azure answers to a list request, or the value by itself."""
    if isinstance(node.value, list):
        return node.value
    value = Section(node, Issues()).find("value")
    if value is not None and isinstance(value.value, list):
        return value.value
    return [node]


def section_of(node: Node | None) -> Section:
    """The properties of an object; none of anything else."""
    return Section(_NOTHING if node is None else node, Issues())


_NOTHING = Node(None, -1, -1, ())
