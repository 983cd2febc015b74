"""A segment: measurements packed into the payload of one row of the buffer.

The content of the payload is JSON, `[trace context, columns]`, with one column for each field of Measurement: columns
compress better than rows, and are made and read at C speed. Times are integer ticks. Never pickle: whoever can write
to the table must not be able to run code here.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from types import GenericAlias
from typing import Annotated, Any, NamedTuple

import msgspec
import orjson

from medtech.errors import BufferCorrupt, Unavailable
from medtech.model import Measurement
from medtech.storage.payload import ROW_BYTES, Codec, PayloadDamaged, PayloadTooNew

UNPACKED_BYTES = 4 * 1024 * 1024
"""A segment of several measurements unpacks to no more than this, which bounds what reading it takes at once."""

MAX_UNPACKED_BYTES = 32 * 1024 * 1024
"""Nor does a segment of one measurement unpack to more than this. The largest message of any hub has 20 MiB, but a
template may extract the same part many times; no FHIR server takes an Observation of that size."""

# Level 1 costs a third of the default level's time, for payloads a tenth larger.
_CODEC = Codec(version=1, level=1, max_bytes=MAX_UNPACKED_BYTES)
_TIGHTEST = replace(_CODEC, level=9)

# It only tells rows of one batch apart.
_DIGEST_DIGITS = 32

_UNEQUAL = "lacks fields, or has unequal numbers of values for them"


class _Kind(NamedTuple):
    """What a field of Measurement may be: as msgspec decodes it, and as types of what orjson reads."""

    decoded: Any
    types: frozenset[type]


# Without bounds, msgspec takes integers of any length, and the later stages rely on 64 bits.
_INTEGER = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]

_TEXT = _Kind(str, frozenset([str]))
_OPTIONAL_TEXT = _Kind(str | None, frozenset([str, type(None)]))
_NUMBER = _Kind(int, frozenset([int]))
_PAIRS = _Kind(tuple[tuple[str, str], ...], frozenset([list]))
_KINDS: dict[str, _Kind] = {
    "type": _TEXT,
    "occurrence_time": _NUMBER,
    "device_id": _TEXT,
    "patient_id": _OPTIONAL_TEXT,
    "encounter_id": _OPTIONAL_TEXT,
    "correlation_id": _OPTIONAL_TEXT,
    "properties": _PAIRS,
    "ingestion_time": _NUMBER,
    "partition": _TEXT,
    "sequence_number": _NUMBER,
    "template": _NUMBER,
    "match": _NUMBER,
}
_PROPERTIES = Measurement._fields.index("properties")
_REPEATED = [index for index, kind in enumerate(_KINDS.values()) if kind in (_TEXT, _OPTIONAL_TEXT)]


def columns_type(number: Any) -> Any:
    """Columns as a type that msgspec decodes, `number` being the type of numbers."""
    decoded = (number if kind is _NUMBER else kind.decoded for kind in _KINDS.values())
    return GenericAlias(tuple, tuple(GenericAlias(list, each) for each in decoded))


_decode: Callable[[bytes], tuple[str, tuple[list[Any], ...]]] = msgspec.json.Decoder(
    GenericAlias(tuple, (str, columns_type(_INTEGER)))
).decode

# `_make` would count the fields of each once more.
_measurement: Callable[[Iterable[Any]], Measurement] = partial(tuple.__new__, Measurement)


class Packed(NamedTuple):
    """A payload and the size it unpacks to, by which the flush bounds its memory.

    `digest` is of the measurements alone, 32 hex digits: the trace context and the compression of a second delivery
    may differ.
    """

    payload: bytes
    unpacked_bytes: int
    digest: str


class Packing(NamedTuple):
    """What `pack` made; `too_large` are the measurements that no row can hold, even alone."""

    segments: list[Packed]
    too_large: list[Measurement]


Columns = list[list[Any]]
"""The values of measurements, field by field: how they are packed."""


class Segment(NamedTuple):
    """What `unpack` found. `trace_context` is the W3C traceparent of the batch, or empty."""

    trace_context: str
    measurements: list[Measurement]


def pack(
    measurements: list[Measurement], trace_context: str = "", *, tightly: bool = False, characters: int | None = None
) -> Packing:
    """Packs measurements, in order, into few segments: what is too large for one is halved until it fits.

    `tightly` takes several times as long. `characters`, if the caller has counted them, is at least what
    `text_characters` counts.
    """
    packing = Packing([], [])
    _pack_into(packing, measurements, trace_context, _TIGHTEST if tightly else _CODEC, characters)
    return packing


def _pack_into(
    packing: Packing, measurements: list[Measurement], trace_context: str, codec: Codec, characters: int | None
) -> None:
    if not measurements:
        return
    alone = len(measurements) == 1
    most = MAX_UNPACKED_BYTES if alone else UNPACKED_BYTES
    # Counted first: measurements that share a long text in memory each have a copy of it in JSON.
    if (characters is not None and characters <= most) or text_characters(measurements) <= most:
        columns = orjson.dumps(list(zip(*measurements, strict=True)))
        unpacked = b"[%b,%b]" % (orjson.dumps(trace_context), columns)
        if len(unpacked) <= most:
            payload = codec.pack(unpacked)
            if len(payload) <= ROW_BYTES:
                digest = hashlib.sha256(columns).hexdigest()[:_DIGEST_DIGITS]
                packing.segments.append(Packed(payload, len(unpacked), digest))
                return
    if alone:
        packing.too_large.extend(measurements)
        return
    half = len(measurements) // 2
    _pack_into(packing, measurements[:half], trace_context, codec, characters)
    _pack_into(packing, measurements[half:], trace_context, codec, characters)


def text_characters(measurements: Sequence[Measurement]) -> int:
    """The characters in all texts of measurements, each counted as often as it is packed."""
    if not measurements:
        return 0
    columns = list(zip(*measurements, strict=True))
    pairs = chain.from_iterable(columns[_PROPERTIES])
    texts = chain(chain.from_iterable(pairs), *(filter(None, columns[index]) for index in _REPEATED))
    return sum(map(len, texts))


def corrupt(what: str) -> BufferCorrupt:
    """The error of a row, which goes into the dead letter as it is; `what` is wrong with it."""
    return BufferCorrupt(
        f"A row of the buffer {what}. The row is kept in this dead letter and cannot be replayed: find out what else "
        "writes to table `buffer`, let the devices send again what they still have, and report it."
    )


def unpack(payload: bytes) -> Segment:
    """The measurements of a payload. Raises as `unpack_columns` does."""
    trace_context, columns = unpack_columns(payload)
    return Segment(trace_context, measurements_of(columns, {}))


def unpack_columns(payload: bytes) -> tuple[str, Columns]:
    """The trace context and the columns of a payload, checked.

    Raises BufferCorrupt if the payload is not a segment, and Unavailable if a newer version of the app wrote it: the
    row then waits for that version.
    """
    try:
        content = _CODEC.unpack(payload)
    except PayloadTooNew as newer:
        raise Unavailable(
            f"A row of the buffer has version {newer.version}; this app reads up to version {_CODEC.version}. "
            "A newer version of the app wrote it: install that one until the buffer is empty."
        ) from None
    except PayloadDamaged as damaged:
        raise corrupt(f"cannot be unpacked: {damaged}") from None
    try:
        trace_context, columns = _decode(content)
    except ValueError:
        return _read_tolerantly(content)
    if len(set(map(len, columns))) != 1:
        raise corrupt(_UNEQUAL)
    return trace_context, list(columns)


def measurements_of(columns: Columns, copies: dict[str | None, str | None]) -> list[Measurement]:
    """The measurements of checked columns, which are used up.

    A device's texts repeat in each of its measurements, and the names of values in all of them: one copy of each, kept
    in `copies`, saves memory, and grouping compares faster.
    """
    copy = copies.setdefault
    columns[_PROPERTIES] = [
        tuple([(copy(name, name), value) for name, value in pairs]) for pairs in columns[_PROPERTIES]
    ]
    for index in _REPEATED:
        texts = columns[index]
        # Most columns have one text, or none, in all places.
        if texts and texts.count(texts[0]) == len(texts):
            columns[index] = [copy(texts[0], texts[0])] * len(texts)
        else:
            columns[index] = list(map(copy, texts, texts))
    return list(map(_measurement, zip(*columns, strict=True)))


def _read_tolerantly(content: bytes) -> tuple[str, Columns]:
    """Reads again what the typed decoder refuses: to name the field, and since numbers up to 2^64 - 1 are allowed."""
    try:
        trace_context, columns = orjson.loads(content)
    except (ValueError, TypeError):
        raise corrupt("cannot be unpacked: its content is not a segment") from None
    _check(trace_context, columns)
    return trace_context, columns


def _check(trace_context: Any, columns: Any) -> None:
    """Raises BufferCorrupt unless every field has the type that the later stages rely on."""
    if type(trace_context) is not str or type(columns) is not list or set(map(type, columns)) != {list}:
        raise corrupt("cannot be unpacked: its content is not a segment")
    if len(columns) != len(_KINDS) or len(set(map(len, columns))) != 1:
        raise corrupt(_UNEQUAL)
    for (field, kind), column in zip(_KINDS.items(), columns, strict=True):
        if not kind.types.issuperset(map(type, column)):
            raise corrupt(f"has a value of the wrong type in field `{field}`")
    pairs = list(chain.from_iterable(columns[_PROPERTIES]))
    if any(type(pair) is not list or len(pair) != 2 for pair in pairs) or not _TEXT.types.issuperset(
        map(type, chain.from_iterable(pairs))
    ):
        raise corrupt("has a property that is not a pair of texts")
