"""Batches of events that Microsoft's converter decodes only where somebody looks at an event.

For each event the converter of `azure-functions` tries formats with `strptime` until one reads the enqueued time: 99 us
for the times that the trigger sends, six times what all else of ingest takes for a message of one reading. Ingest needs
bodies and metadata, and takes them from what the converter is given, in 2 us an event (`python -m bench.ingest` shows
both). So the converter hands a batch over undecoded: a list of events, each of which becomes what the converter makes
of it, class and all, when an attribute or a method of it is first asked for. Any function of the app may get such a
list, and sees no difference.

It steps aside
- for one batch, unless that is of a kind that the converter is known to decode without an error: a time of another
  shape, a number that is none, texts instead of bytes, one event instead of many. What the converter raises for these
  it raises where it always did;
- for good, with a line in the log, when the library has changed: the converter is not where it was, or makes of a
  sample what does not fit the above. Ingest then reads the events that the converter made.
"""

import logging
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache, wraps
from types import SimpleNamespace
from typing import Any

import azure.functions as func
import orjson
from azure.functions.meta import Datum

from medtech.dotnet import ticks

Decode = Callable[..., Any]
"""As a converter's `decode`: takes the datum, and as `trigger_metadata` the datums of the metadata by their names."""

_TIMES = re.compile(
    r"(?:[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]++)?(?:Z|[+-]00:00)?+\n)++"
)
"""Lines, each a time that the converter reads as UTC, or without a zone, to the microsecond."""

_PLACES = "SystemPropertiesArray"

_OFFSET = re.compile(r"[0-9]{1,100}")

_DIGITS_AS_ZERO = bytes(0x30 if 0x30 <= byte <= 0x39 else byte for byte in range(256))
_NINETEEN_DIGITS = b"0" * 19

_log = logging.getLogger(__name__)


class Undecoded:
    """A batch as the converter is given it. The lists have an element for each event; `enqueued_times` are ticks."""

    __slots__ = ("_data", "_decode", "_events", "_metadata", "_places", "bodies", "enqueued_times", "sequence_numbers")

    def __init__(self, decode: Decode, data: Any, metadata: Mapping[str, Any]) -> None:
        """Raises ValueError, TypeError, KeyError or AttributeError if `decode` might raise something for this batch."""
        if data.type != "collection_bytes" or "SystemProperties" in metadata:
            raise ValueError
        self._decode, self._data, self._metadata = decode, data, metadata
        self._events: list[func.EventHubEvent] | None = None
        self.bodies: list[bytes] = list(data.value.bytes)
        self._places = places = orjson.loads(metadata[_PLACES].value)
        self.enqueued_times = _ticks([place["EnqueuedTimeUtc"] for place in places])
        self.sequence_numbers: list[int] = [place["SequenceNumber"] for place in places]
        if len(places) != len(self.bodies) or set(map(type, self.sequence_numbers)) != {int}:
            raise ValueError
        if not all(map(_is_offset, [place.get("Offset") for place in places])):
            raise ValueError

    def metadata(self, name: str) -> Any:
        """What `EventHubEvent.metadata` has under a name; None if it has nothing."""
        datum = self._metadata.get(name)
        if datum is None:
            return None
        if datum.type == "json":
            text: bytes = datum.value.encode()
            # orjson makes floats of integers past 64 bits.
            if text.translate(_DIGITS_AS_ZERO).find(_NINETEEN_DIGITS) < 0:
                try:
                    return self._places if name == _PLACES else orjson.loads(text)
                except orjson.JSONDecodeError:
                    pass
        return datum.python_value

    def events(self) -> list[func.EventHubEvent]:
        """What the converter makes of the batch."""
        if self._events is None:
            self._events = self._decode(self._data, trigger_metadata=self._metadata)
        return self._events


class DeferredEvents(list[func.EventHubEvent]):
    """The events of a batch; `undecoded` is what is read where no event is needed."""

    __slots__ = ("undecoded",)

    def __init__(self, undecoded: Undecoded) -> None:
        super().__init__([_DeferredEvent(undecoded, index) for index in range(len(undecoded.bodies))])
        self.undecoded = undecoded


class _DeferredEvent(func.EventHubEvent):
    """An event until something is asked of it."""

    def __init__(self, undecoded: Undecoded, index: int) -> None:
        # Not the converter's attributes: asking for one of them is what `__getattr__` waits for.
        self._place = undecoded, index

    def __getattr__(self, name: str) -> Any:
        held = vars(self)
        if (place := held.get("_place")) is not None:
            undecoded, index = place
            made = undecoded.events()[index]
            # What was set on the event stays. And in this order, since another thread may look at it meanwhile.
            kept = held.copy()
            kept.pop("_place", None)
            held.update(vars(made) | kept)
            self.__class__ = type(made)
            if held.get("_place") is place:  # else one that was pickled: it is unpacked into a deferred one
                held.pop("_place", None)
        elif type(self) is _DeferredEvent:  # a copy that is being made
            raise AttributeError(name)
        return getattr(self, name)


def defer_decoding(converter: Any = None) -> None:
    """Has the converter (default: that of the app's Event Hubs triggers) hand over batches undecoded."""
    try:
        registry: Any = func.get_binding_registry()  # type: ignore[no-untyped-call]
        converter = converter or registry.get("eventHubTrigger")
        original: Decode = converter.decode
        _check(original)
    except Exception as error:  # noqa: BLE001 - whatever has changed, the app works without
        _log.warning(
            "azure-functions %s decodes events in another way than the app knows, so each event is decoded, which "
            "takes several times as long (%s). No data is concerned. Report it, or install the version that "
            "requirements.txt names.",
            getattr(func, "__version__", "of an unknown version"),
            type(error).__name__,
        )
        return

    @wraps(original)
    def decode(data: Any, *, trigger_metadata: Mapping[str, Any]) -> Any:
        try:
            undecoded = Undecoded(original, data, trigger_metadata)
        except (ValueError, TypeError, KeyError, AttributeError):
            return original(data, trigger_metadata=trigger_metadata)
        return DeferredEvents(undecoded)

    converter.decode = staticmethod(decode)


def _ticks(times: list[str]) -> list[int]:
    """What the converter reads from texts, as `ticks.from_datetime`. Raises ValueError, or TypeError if one is no text.

    A third of what a function that takes one time needs.
    """
    if _TIMES.fullmatch("\n".join(times) + "\n") is None:
        raise ValueError
    read = datetime.fromisoformat
    return [_second(time[:19]) + read(time).microsecond * ticks.TICKS_PER_MICROSECOND for time in times]


@lru_cache(maxsize=1024)
def _second(time: str) -> int:
    return ticks.from_datetime(datetime.fromisoformat(time))


def _is_offset(value: Any) -> bool:
    return value is None or type(value) is int or (type(value) is str and _OFFSET.fullmatch(value) is not None)


def _check(decode: Decode) -> None:
    """Raises something unless events of `decode` can be deferred. No time is decoded, which would take milliseconds."""
    places = [{"SequenceNumber": 7, "Offset": 8, "PartitionKey": None, "EnqueuedTimeUtc": None}]
    metadata = {_PLACES: Datum(orjson.dumps(places).decode(), "json")}
    [made] = decode(Datum(SimpleNamespace(bytes=[b"body"]), "collection_bytes"), trigger_metadata=metadata)
    stand_in: Any = SimpleNamespace(events=lambda: [made])
    event = _DeferredEvent(stand_in, 0)
    found = event.get_body(), event.sequence_number, event.enqueued_time, event.metadata
    if found != (b"body", 7, None, {_PLACES: places}) or type(event) is not type(made):
        raise ValueError
