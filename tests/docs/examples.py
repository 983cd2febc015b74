"""The `json` blocks of a page as one story: mappings, a message, and what `/api/validate` says of it.

A block with a `templateType` is a mapping, and so is one that is laid out as the resource of the service. It holds
until the page shows another of its kind. A block with `measurements`, `observations` or `findings` is what validation
answers for the message just before it, in the same section; all that it shows has to be in the answer, which may have
more. Anything else is JSON, and may be the members of an object without its braces.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import azure.functions as func

from medtech.mapping.fhir import DEFAULT_OPTIONS
from medtech.validation import http
from tests.docs.markdown import Block, Page

_ANSWERS = {"measurements", "observations", "findings"}
_MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Example:
    """A message, the mappings that hold where it stands (None: none is shown), and what is shown of its fate."""

    line: int
    device_mapping: str | None
    fhir_mapping: str | None
    message: Any
    shown: Mapping[str, Any]


def parsed(block: Block) -> Any:
    """The JSON of a block. Raises ValueError, with its line, if it is none."""
    for text in (block.text, f"{{{block.text}}}"):
        try:
            return json.loads(text)
        except ValueError as error:
            fault = error
    raise ValueError(f"line {block.line}: this is no JSON: {fault}")


def kind_of_mapping(document: Any) -> str | None:
    """`deviceMapping`, `fhirMapping` or None."""
    if not isinstance(document, dict):
        return None
    kinds = {"CollectionContent": "deviceMapping", "CollectionFhir": "fhirMapping"}
    content = document.get("content", document)
    return kinds.get(content.get("templateType")) if isinstance(content, dict) else None


def examples(page: Page) -> Iterator[Example]:
    """Every message of which the page shows the fate. Raises ValueError where there is no message to an answer."""
    mappings: dict[str, str] = {}
    before: tuple[str, Any] | None = None
    for block in page.blocks:
        if block.language != "json":
            continue
        document = parsed(block)
        if (kind := kind_of_mapping(document)) is not None:
            mappings[kind] = block.text
        elif isinstance(document, dict) and document.keys() & _ANSWERS:
            if before is None or before[0] != block.section:
                raise ValueError(f"{page.name}, line {block.line}: there is no message before it in its section")
            yield Example(block.line, mappings.get("deviceMapping"), mappings.get("fhirMapping"), before[1], document)
        else:
            before = (block.section, document)


def validated(request: Mapping[str, Any]) -> dict[str, Any]:
    """What `POST /api/validate` answers to a request that has its mappings with it."""
    posted = func.HttpRequest("POST", "/api/validate", body=json.dumps(request).encode())
    unused: Any = None
    answer = http.answer(posted, _MAX_BYTES, unused, unused, DEFAULT_OPTIONS)
    document: dict[str, Any] = json.loads(answer.get_body())
    if answer.status_code != 200:
        raise ValueError(document["error"])
    return document


def difference(shown: Any, real: Any, place: str = "") -> str:
    """The first thing shown that is not so; empty if all is."""
    if isinstance(shown, dict) and isinstance(real, dict):
        for name, value in shown.items():
            if name not in real:
                return f"{place}/{name} is not there"
            if found := difference(value, real[name], f"{place}/{name}"):
                return found
        return ""
    if isinstance(shown, list) and isinstance(real, list):
        if len(shown) != len(real):
            return f"{place} has {len(real)} elements, not {len(shown)}"
        found = (difference(*pair, f"{place}/{n}") for n, pair in enumerate(zip(shown, real, strict=True)))
        return next(filter(None, found), "")
    return "" if shown == real else f"{place} is {real!r}, not {shown!r}"
