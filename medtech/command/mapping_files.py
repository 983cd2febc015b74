"""Which files are mappings, which of the two each is, and which belong together."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from medtech.dotnet.json_reader import LocatedSyntaxError, parse_located
from medtech.mapping.fhir import TEMPLATE_KIND
from medtech.mapping.schema import DEVICE, FHIR, Issues, Section, same_kind, text_of
from medtech.mapping.template_reader import KINDS
from medtech.validation.written_mapping import MappingName

_LEFT_OUT = {"node_modules", "__pycache__"}
_NAMED = re.compile(r"\bcollection(content|fhir)(template)?\b", re.IGNORECASE)
_NAMES: dict[str, MappingName] = {"content": "deviceMapping", "fhir": "fhirMapping"}
_BOM = "\ufeff"


class NoMapping(Exception):
    """A file that was asked for and is no mapping; its text says why."""


@dataclass(frozen=True, slots=True)
class MappingFile:
    """A mapping as its file has it; `text` is without the byte order mark that `has_bom` tells of."""

    path: Path
    name: MappingName
    text: str
    has_bom: bool

    def write(self, text: str) -> MappingFile:
        """Writes another text in its place, with the line ends that it has."""
        self.path.write_bytes(((_BOM if self.has_bom else "") + text).encode())
        return replace(self, text=text)


class Pair(NamedTuple):
    """What is checked together; one of the two may be missing."""

    device: MappingFile | None
    fhir: MappingFile | None

    @property
    def files(self) -> tuple[MappingFile, ...]:
        return tuple(file for file in self if file is not None)


def read(path: Path) -> MappingFile:
    """A file that is said to be a mapping. Raises NoMapping."""
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise NoMapping(f"The file is not UTF-8 (byte {error.start}). Save it in that encoding.") from None
    except OSError as error:
        raise NoMapping(f"The file cannot be read: {error.strerror}.") from None
    name = which(text)
    if name is None:
        raise NoMapping(
            "The file is neither of the two mappings. Write in it templateType "
            f"{DEVICE.name} (device mapping) or {FHIR.name} (FHIR mapping)."
        )
    return MappingFile(path, name, text.removeprefix(_BOM), text.startswith(_BOM))


def found_in(folder: Path) -> Iterator[Path]:
    """The files of a folder and of those in it that are mappings, in order of their names."""
    for path in json_files(folder):
        try:
            read(path)
        except NoMapping:
            continue
        yield path


def json_files(folder: Path, *suffixes: str) -> Iterator[Path]:
    """The files with one of `suffixes` (.json), also in folders below, but not in those of tools."""
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(each for each in folders if each not in _LEFT_OUT and not each.startswith("."))
        for name in sorted(names):
            if Path(name).suffix.lower() in (suffixes or (".json",)):
                yield Path(parent, name)


def which(text: str) -> MappingName | None:
    """Which mapping a text is, as its templateType says, by itself or as Azure's resource manager hands it out.

    A text that is not JSON is the mapping whose templateType it names first.
    """
    folded = text.lower()
    if "templatetype" not in folded:
        return None
    try:
        root = parse_located(text)
    except LocatedSyntaxError:
        named = _NAMED.search(text)
        return None if named is None else _NAMES[named[1].lower()]
    found = Section(root, Issues())
    properties = found.find("properties")
    holder = found if properties is None else Section(properties, Issues())
    if found.find("templateType") is None:
        for kind, name in ((DEVICE, _NAMES["content"]), (FHIR, _NAMES["fhir"])):
            if holder.find(kind.property) is not None:
                return name
        content = found.find("content")
        found = found if content is None else Section(content, Issues())
    written = found.find("templateType")
    return None if written is None else _named(text_of(written))


def _named(template_type: str | None) -> MappingName | None:
    """A single template, too, is told by its kind, so that the loader says what is wrong with it."""
    if any(same_kind(template_type, name) for name in (DEVICE.name, *(kind.name for kind in KINDS))):
        return "deviceMapping"
    if any(same_kind(template_type, name) for name in (FHIR.name, TEMPLATE_KIND)):
        return "fhirMapping"
    return None


def pairs(files: Iterable[MappingFile]) -> list[Pair]:
    """The mappings that belong together: a device and a FHIR mapping that have a folder to themselves, then a device
    and a FHIR mapping that alone are left. All others stand by themselves.
    """
    found: list[Pair] = []
    left: list[MappingFile] = []
    by_folder: dict[Path, list[MappingFile]] = {}
    for file in files:
        by_folder.setdefault(file.path.parent, []).append(file)
    for members in by_folder.values():
        pair = _pair(members)
        if pair is None:
            left += members
        else:
            found.append(pair)
    pair = _pair(left)
    if pair is not None:
        return [*found, pair]
    return found + [Pair(file, None) if file.name == "deviceMapping" else Pair(None, file) for file in left]


def _pair(files: Sequence[MappingFile]) -> Pair | None:
    by_name = {file.name: file for file in files}
    if len(files) == len(by_name) == 2:
        return Pair(by_name["deviceMapping"], by_name["fhirMapping"])
    return None
