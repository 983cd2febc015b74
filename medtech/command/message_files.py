"""Messages of files: JSON, JSON lines, or a folder of both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from medtech.command.mapping_files import json_files, which

_LINES = (".jsonl", ".ndjson")
SUFFIXES = (".json", *_LINES)


class NoMessages(Exception):
    """A file that holds no messages; its text says where and why."""


class GivenMessage(NamedTuple):
    """A message and where it stands: in JSON lines its line, else its number in a list (both from 1)."""

    content: Any
    path: Path
    line: int | None
    number: int

    @property
    def place(self) -> str:
        return f"{self.path}:{self.line}" if self.line else f"{self.path}: message {self.number}"


def read(path: Path) -> Iterator[GivenMessage]:
    """The messages of a file, or of all files of a folder that are not mappings. Raises NoMessages."""
    if path.is_dir():
        for file in json_files(path, *SUFFIXES):
            text = _text(file)
            if which(text) is None:
                yield from _messages(file, text)
    else:
        yield from _messages(path, _text(path))


def _messages(path: Path, text: str) -> Iterator[GivenMessage]:
    if path.suffix.lower() not in _LINES:
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            if not _is_lines(text):
                raise NoMessages(f"{path} is neither JSON nor JSON lines: {error}.") from None
        else:
            messages = found if isinstance(found, list) else [found]
            yield from (GivenMessage(message, path, None, number) for number, message in enumerate(messages, 1))
            return
    number = 0
    for line, written in enumerate(text.split("\n"), 1):
        if not written.strip():
            continue
        number += 1
        try:
            yield GivenMessage(json.loads(written), path, line, number)
        except (ValueError, RecursionError):
            raise NoMessages(f"{path}:{line} is not JSON. Write one message a line.") from None


def _is_lines(text: str) -> bool:
    """Whether the first line is a whole message, as in JSON lines in a file of another name."""
    try:
        json.loads(text.lstrip().partition("\n")[0])
    except (ValueError, RecursionError):
        return False
    return True


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise NoMessages(f"{path} is not UTF-8 (byte {error.start}). Save it in that encoding.") from None
    except OSError as error:
        raise NoMessages(f"{path} cannot be read: {error.strerror}.") from None
