"""Messages that no device should send, through the real start mapping into a real buffer."""

import json
from pathlib import Path

import pytest

from medtech.dead_letter.store import DeadLetters
from medtech.dotnet import ticks
from medtech.group.buffer import Buffer
from medtech.ingest.batch import process
from medtech.ingest.events import read_events
from medtech.mapping.device import load_device_mapping
from medtech.model import DeviceEvent, Measurement
from medtech.settings import Settings
from medtech.storage.connection import Storage
from tests.ingest.delivery import Sent, deliver

_MAPPING = (Path(__file__).parents[2] / "mappings" / "deviceMapping.json").read_text()
_NOW = 637_826_832_000_000_000 + ticks.TICKS_PER_DAY


def _reading(**changes: object) -> dict[str, object]:
    return {"deviceId": "device-1", "endDate": "2022-03-12T11:59:58Z", "heartRate": "61", **changes}


def _good(**changes: object) -> bytes:
    return json.dumps(_reading(**changes)).encode()


def _nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


NOT_JSON = {
    "no JSON": b"heart rate is 61",
    "cut off": b'{"heartRate": "61", ',
    "binary": bytes(range(256)),
    "latin-1": '{"heartRate": "61", "deviceId": "Gerät"}'.encode("latin-1"),
    "two values": b'{"a": 1} {"b": 2}',
    "nested 100,000 deep": _nested(100_000),
    "unclosed 100,000 deep": b"[" * 100_000,
    "1 MiB of nothing": b"x" * 1024 * 1024,
}
NO_MEASUREMENT = {
    "empty": b"",
    "null": b"null",
    "a number": b"5",
    "an empty object": b"{}",
    "another message": b'{"battery": 0.5}',
}


class _Rooms:
    def __init__(self, storage: Storage) -> None:
        self.buffer, self.dead_letters = Buffer(storage), DeadLetters(storage)

    def take(self, bodies: list[bytes]) -> tuple[list[Measurement], dict[int, str], int]:
        """Measurements in the buffer, names of the letters' errors by sequence number, number of dropped events."""
        events = read_events(deliver([Sent(body, number) for number, body in enumerate(bodies)]))
        counts = process(
            events, load_device_mapping(_MAPPING), self.buffer, self.dead_letters, Settings(), lambda: _NOW
        )
        measurements = [
            measurement
            for shard in self.buffer.shards()
            for window in self.buffer.due_windows(shard, _NOW, 300, 15)
            for portion in self.buffer.read(shard, window, 10**9)
            for measurement in portion.measurements()
        ]
        letters: dict[int, str] = {}
        for summary in self.dead_letters.select():
            letter = self.dead_letters.read(summary.partition_key, summary.row_key)
            assert letter is not None and isinstance(letter.content, DeviceEvent)
            assert letter.content.body == bodies[letter.content.sequence_number]
            letters[letter.content.sequence_number] = letter.error
        return measurements, letters, counts.dropped


@pytest.fixture
def rooms(storage: Storage) -> _Rooms:
    return _Rooms(storage)


@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON)
def test_what_is_no_json_is_kept_and_its_neighbours_go_on(rooms: _Rooms, body: bytes) -> None:
    measurements, letters, dropped = rooms.take([_good(), body, _good(heartRate="63")])
    assert sorted(m.properties for m in measurements) == [(("heartRate", "61"),), (("heartRate", "63"),)]
    assert letters == {1: "NotSupported"}
    assert dropped == 0


@pytest.mark.parametrize("body", NO_MEASUREMENT.values(), ids=NO_MEASUREMENT)
def test_what_no_template_takes_is_counted_and_its_neighbours_go_on(rooms: _Rooms, body: bytes) -> None:
    measurements, letters, dropped = rooms.take([_good(), body, _good()])
    assert (len(measurements), letters, dropped) == (2, {}, 1)


@pytest.mark.parametrize("missing", ["deviceId", "endDate"])
def test_a_reading_without_what_is_required_is_kept(rooms: _Rooms, missing: str) -> None:
    measurements, letters, dropped = rooms.take([_good(), _good(**{missing: None}), _good()])
    assert (len(measurements), list(letters), dropped) == (2, [1], 0)


def test_a_message_of_1_mib_is_taken(rooms: _Rooms) -> None:
    measurements, letters, _ = rooms.take([_good(noise="x" * 1024 * 1024)])
    assert (len(measurements), letters) == (1, {})


def test_a_message_with_a_byte_order_mark_is_taken(rooms: _Rooms) -> None:
    measurements, letters, _ = rooms.take([b"\xef\xbb\xbf" + _good()])
    assert (len(measurements), letters) == (1, {})


def test_half_a_surrogate_pair_can_be_stored(rooms: _Rooms) -> None:
    # Valid JSON that no UTF-8 can carry: the device's id takes part in shard and row.
    measurements, letters, _ = rooms.take(
        [_good(), rb'{"deviceId": "d\ud800", "endDate": "2022-03-12T11:59:58Z", "heartRate": "\udfff"}']
    )
    assert (len(measurements), letters) == (2, {})
