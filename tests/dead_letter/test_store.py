"""The dead-letter table, against a real Azurite."""

import json
import random
import zlib
from dataclasses import replace

import pytest

from medtech.dead_letter import letter as letters
from medtech.dead_letter.expiry import Expiry
from medtech.dead_letter.letter import Letter
from medtech.dead_letter.selection import Selection
from medtech.dead_letter.store import TABLE, DeadLetters
from medtech.dotnet import ticks
from medtech.errors import BufferCorrupt, NotSupported, StorageUnavailable
from medtech.model import DeviceEvent
from medtech.normalize.batch import failure_of_event
from medtech.storage.connection import Storage
from medtech.storage.payload import ROW_BYTES, split
from medtech.storage.table import Operation
from tests.azurite import Wire, nobody

_NOON = 637_826_832_000_000_000  # 2022-03-12T12:00:00Z
_LATER = _NOON + ticks.TICKS_PER_HOUR


def _letter(number: int, body: bytes = b"{", day: int = 0, text: str = "The body is not JSON.") -> Letter:
    event = DeviceEvent(body, {"a": "b"}, {}, _NOON + day * ticks.TICKS_PER_DAY, "0a1b2c3d", "3", number)
    return letters.of_event(event, [failure_of_event(NotSupported(text))])


@pytest.fixture
def dead_letters(storage: Storage) -> DeadLetters:
    return DeadLetters(storage)


def test_a_letter_is_kept_with_its_reason_and_times(dead_letters: DeadLetters) -> None:
    assert dead_letters.store([_letter(1)], _LATER) == 1
    [summary] = dead_letters.select()
    assert (summary.error, summary.stage, summary.type, summary.severity, summary.kind) == (
        "NotSupported",
        "Normalization",
        "DeviceMessageError",
        "Error",
        "event",
    )
    assert summary.message == "The body is not JSON."
    assert (summary.count, summary.first_time, summary.last_time) == (1, *[ticks.format_iso(_LATER)] * 2)
    assert dead_letters.read(summary.partition_key, summary.row_key) == _letter(1)


def test_a_letter_written_again_is_the_same_letter(dead_letters: DeadLetters) -> None:
    for hour in range(3):
        dead_letters.store([_letter(1)], _NOON + hour * ticks.TICKS_PER_HOUR)
    [summary] = dead_letters.select()
    assert summary.count == 3
    assert summary.first_time == ticks.format_iso(_NOON)
    assert summary.last_time == ticks.format_iso(_NOON + 2 * ticks.TICKS_PER_HOUR)


def test_new_letters_go_with_known_ones(dead_letters: DeadLetters) -> None:
    dead_letters.store([_letter(number) for number in range(0, 250, 2)], _NOON)
    assert dead_letters.store([_letter(number) for number in range(250)], _LATER) == 250
    counts = {int(summary.row_key[:19]): summary.count for summary in dead_letters.select()}
    assert counts == {number: 2 - number % 2 for number in range(250)}


def test_letters_of_several_days_and_partitions(dead_letters: DeadLetters) -> None:
    written = [_letter(number, day=number % 3) for number in range(9)]
    written.append(replace(_letter(1), partition_key="20220312|0a1b2c3d|0004"))
    assert dead_letters.store(written, _NOON) == 10
    assert len(list(dead_letters.select())) == 10


def test_a_letter_twice_in_one_call_is_one(dead_letters: DeadLetters) -> None:
    assert dead_letters.store([_letter(1), _letter(1)], _NOON) == 1
    [summary] = dead_letters.select()
    assert summary.count == 1


def test_no_letters_are_no_work(dead_letters: DeadLetters) -> None:
    assert dead_letters.store([], _NOON) == 0


@pytest.mark.parametrize("size", [600_000, 1024 * 1024, 5_000_000])
def test_a_body_too_large_for_an_entity_goes_over_several(dead_letters: DeadLetters, size: int) -> None:
    written = [_letter(number, random.Random(number).randbytes(size)) for number in range(4)]
    assert dead_letters.store(written, _NOON) == 4
    assert dead_letters.store(written, _LATER) == 4
    assert [summary.count for summary in dead_letters.select()] == [2] * 4
    for letter in written:
        assert dead_letters.read(letter.partition_key, letter.row_key) == letter


def test_a_letter_with_a_part_missing_is_told(dead_letters: DeadLetters, storage: Storage) -> None:
    letter = _letter(1, random.Random(1).randbytes(1_000_000))
    dead_letters.store([letter], _NOON)
    keys = {"PartitionKey": letter.partition_key, "RowKey": f"{letter.row_key}|001"}
    assert storage.table(TABLE).change([Operation("delete", keys)])[0].status == 204
    with pytest.raises(BufferCorrupt, match="parts is missing"):
        dead_letters.read(letter.partition_key, letter.row_key)


def test_letters_come_with_their_contents_or_the_reason_why_not(dead_letters: DeadLetters, storage: Storage) -> None:
    """More of them than a page, one over several entities, and one damaged."""
    written = [_letter(1, random.Random(1).randbytes(1_500_000)), *(_letter(number) for number in range(2, 120))]
    dead_letters.store(written, _NOON)
    keys = {"PartitionKey": written[7].partition_key, "RowKey": written[7].row_key}
    storage.table(TABLE).upsert(keys | split(b"\x01x"), merge=True)
    found = list(dead_letters.select_letters(Selection()))
    assert [summary for summary, _ in found] == list(dead_letters.select())
    contents = [content for _, content in found]
    assert isinstance(contents.pop(7), BufferCorrupt)
    assert contents == [*written[:7], *written[8:]]


def test_a_letter_of_an_earlier_version_has_an_id_and_an_origin(dead_letters: DeadLetters) -> None:
    """Its key had the places of template and match."""
    early = replace(
        _letter(1), row_key="0000000000000000001|0637826832000000000|0002|-00001|Normalization|NotSupported"
    )
    dead_letters.store([early, _letter(1)], _NOON)
    for letter in dead_letters.select():
        assert list(dead_letters.select(Selection(ids=(letter.id,)))) == [letter]
        assert letter.origin == ("0a1b2c3d", "3", 1, _NOON)


def test_a_row_that_is_no_letter_is_not_listed(dead_letters: DeadLetters, storage: Storage) -> None:
    storage.table(TABLE).upsert({"PartitionKey": "zzz", "RowKey": "zzz", "kind": "foreign"})
    assert list(dead_letters.select()) == []


def test_letters_are_deleted_as_they_were_listed(dead_letters: DeadLetters, storage: Storage) -> None:
    """One written again since stays, whether its content is in one entity or in several."""
    large = random.Random(1).randbytes(1_500_000)
    dead_letters.store([_letter(number, day=number % 2) for number in range(150)], _NOON)
    dead_letters.store([_letter(200, large), _letter(201, large)], _NOON)
    listed = list(dead_letters.select())
    dead_letters.store([_letter(0), _letter(201, large)], _LATER)
    assert dead_letters.delete(listed) == 150
    assert [int(letter.row_key[:19]) for letter in dead_letters.select()] == [0, 201]
    assert dead_letters.read(_letter(201).partition_key, _letter(201).row_key) == _letter(201, large)
    # What is left of the large one are its continuations.
    assert len(list(storage.table(TABLE).query("PartitionKey ne ''"))) == 4


def test_a_letter_that_is_not_there_is_none(dead_letters: DeadLetters) -> None:
    assert dead_letters.read("20220312|0a1b2c3d|0003", "absent") is None


def test_a_letter_that_another_instance_writes_meanwhile_is_counted_too(dead_letters: DeadLetters, wire: Wire) -> None:
    """Twice the other comes between the look for known letters and the transaction: once creating, once counting."""
    wire.tables.after_forwarding(
        lambda request: dead_letters.store([_letter(1)], _NOON) and None,
        when=lambda request: request.method == "GET",
        times=2,
    )
    DeadLetters(wire.storage).store([_letter(1), _letter(2)], _LATER)
    assert [summary.count for summary in dead_letters.select()] == [3, 1]


def test_storage_that_is_away_is_told() -> None:
    with pytest.raises(StorageUnavailable):
        DeadLetters(nobody()).store([_letter(1)], _NOON)


def test_letters_expire_by_the_time_they_were_last_written(dead_letters: DeadLetters, storage: Storage) -> None:
    large = random.Random(1).randbytes(1_500_000)
    dead_letters.store([_letter(1), _letter(2, body=large), _letter(3)], _NOON)
    dead_letters.store([_letter(3)], _NOON + 5 * ticks.TICKS_PER_DAY)
    dead_letters.store([_letter(4, day=9)], _NOON + 9 * ticks.TICKS_PER_DAY)
    assert dead_letters.expire(_NOON + 30 * ticks.TICKS_PER_DAY, 30) == 0
    assert dead_letters.expire(_NOON + 31 * ticks.TICKS_PER_DAY, 30) == 2
    assert [int(summary.row_key[:19]) for summary in dead_letters.select()] == [3, 4]
    # Nothing is left of the letter that went over several entities.
    assert len(list(storage.table(TABLE).query("PartitionKey ne ''"))) == 2


@pytest.mark.parametrize("missing", [[1], [2], [1, 2, 3]])
def test_a_letter_with_parts_missing_expires_too(
    dead_letters: DeadLetters, storage: Storage, missing: list[int]
) -> None:
    dead_letters.store([_letter(1, random.Random(1).randbytes(2_500_000)), _letter(2)], _NOON)
    keys = {"PartitionKey": _letter(1).partition_key}
    parts = [Operation("delete", keys | {"RowKey": f"{_letter(1).row_key}|{n:03d}"}) for n in missing]
    assert {each.status for each in storage.table(TABLE).change(parts)} == {204}
    assert dead_letters.expire(_NOON + 31 * ticks.TICKS_PER_DAY, 30) == 2
    assert list(storage.table(TABLE).query("PartitionKey ne ''")) == []


def test_a_letter_written_again_meanwhile_does_not_expire(dead_letters: DeadLetters, wire: Wire) -> None:
    dead_letters.store([_letter(1, random.Random(1).randbytes(1_000_000))], _NOON)
    later = _NOON + 31 * ticks.TICKS_PER_DAY
    wire.tables.after_forwarding(
        lambda request: dead_letters.store([_letter(1, random.Random(1).randbytes(1_000_000))], later) and None,
        when=lambda request: request.method == "GET",
    )
    assert DeadLetters(wire.storage).expire(later, 30) == 0
    assert dead_letters.read(_letter(1).partition_key, _letter(1).row_key) is not None


def _continuations(storage: Storage) -> list[str]:
    rows = storage.table(TABLE).query("PartitionKey ne ''")
    return [row["RowKey"].rpartition("|")[2] for row in rows if "kind" not in row]


def test_continuations_whose_letter_was_never_written_expire(
    dead_letters: DeadLetters, storage: Storage, wire: Wire
) -> None:
    wire.tables.answer(503, when=lambda request: "/$batch" in request.path, times=None)
    with pytest.raises(StorageUnavailable):
        DeadLetters(wire.storage).store([_letter(1, random.Random(1).randbytes(2_000_000))], _NOON)
    assert _continuations(storage) == ["001", "002"]
    # Their age is the server's: the letter may be on its way.
    month = 30 * ticks.TICKS_PER_DAY
    assert dead_letters.expire(ticks.now() + month - ticks.TICKS_PER_HOUR, 30) == 0
    assert _continuations(storage) == ["001", "002"]
    dead_letters.expire(ticks.now() + month + ticks.TICKS_PER_HOUR, 30)
    assert _continuations(storage) == []


def test_continuations_that_a_shorter_letter_left_expire_alone(dead_letters: DeadLetters, storage: Storage) -> None:
    now = ticks.now() + 31 * ticks.TICKS_PER_DAY
    for size, moment in ((2_000_000, _NOON), (1_000_000, now)):
        letter = _letter(1, random.Random(1).randbytes(size))
        dead_letters.store([letter], moment)
    assert _continuations(storage) == ["001", "002"]
    assert dead_letters.expire(now, 30) == 0
    assert _continuations(storage) == ["001"]
    assert dead_letters.read(letter.partition_key, letter.row_key) == letter


def test_a_letter_of_an_earlier_version_is_read_and_expires(dead_letters: DeadLetters, storage: Storage) -> None:
    letter = _letter(1, random.Random(1).randbytes(1_000_000))
    header = {"outcome": None, "places": [[2, 0]], "event": _event_header(letter)}
    assert isinstance(letter.content, DeviceEvent)
    payload = b"\x01" + zlib.compress(json.dumps(header).encode() + b"\n" + letter.content.body)
    old_key = "0000000000000000001|0637826832000000000|0002|000000|Normalization|NotSupported"
    keys = {"PartitionKey": letter.partition_key}
    words = {
        name: str(getattr(letter, name)) for name in ("kind", "hub", "error", "stage", "type", "severity", "message")
    }
    times = dict.fromkeys(("first_time", "last_time"), ticks.format_iso(_NOON))
    table = storage.table(TABLE)
    table.upsert(keys | {"RowKey": f"{old_key}|001"} | split(payload[ROW_BYTES:]))
    table.upsert(keys | {"RowKey": old_key, "count": 1, "entities": 2} | words | times | split(payload[:ROW_BYTES]))
    assert dead_letters.read(letter.partition_key, old_key) == replace(letter, row_key=old_key)
    assert [summary.row_key for summary in dead_letters.select()] == [old_key]
    assert dead_letters.expire(_NOON + 31 * ticks.TICKS_PER_DAY, 30) == 1
    assert list(table.query("PartitionKey ne ''")) == []


def _event_header(letter: Letter) -> dict[str, object]:
    event = letter.content
    assert isinstance(event, DeviceEvent)
    fields = ("properties", "system_properties", "enqueued_time", "partition", "sequence_number")
    return {name: getattr(event, name) for name in fields}


@pytest.mark.parametrize("character", ["e", "\u00e9", "\U0001f600"])
def test_a_transaction_is_filled_by_what_it_takes_on_the_wire(wire: Wire, character: str) -> None:
    """Payloads of less than 4 MiB, and messages that make more of it."""
    written = [
        _letter(number, random.Random(number).randbytes(25_000), text=character * 8_000) for number in range(100)
    ]
    DeadLetters(wire.storage).store(written, _NOON)
    sizes = [len(request.body) for request in wire.tables.requests if "/$batch" in request.path]
    assert max(sizes) < 4 * 1024 * 1024
    assert {request.answer_status for request in wire.tables.requests if "/$batch" in request.path} == {202}
    for letter in written[::9]:
        assert DeadLetters(wire.storage).read(letter.partition_key, letter.row_key) == letter


REFUSALS = {
    "a gateway's page": (413, b"<html>Request Entity Too Large</html>"),
    "an entity too large": (400, b'{"odata.error": {"code": "EntityTooLarge", "message": {"value": "-"}}}'),
    "another reason": (400, b'{"odata.error": {"code": "InvalidInput", "message": {"value": "-"}}}'),
}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
def test_what_storage_takes_only_in_small_requests_is_kept_whole(wire: Wire, refusal: tuple[int, bytes]) -> None:
    wire.tables.refuse_over(100_000, *refusal, content_type="application/json")
    dead_letters = DeadLetters(wire.storage)
    written = [_letter(number, random.Random(number).randbytes(20_000)) for number in range(20)]
    written += [_letter(20, random.Random(20).randbytes(1_000_000))]
    for count in (1, 2):
        assert dead_letters.store(written, _NOON) == len(written)
        assert [summary.count for summary in dead_letters.select()] == [count] * len(written)
    for letter in written:
        assert dead_letters.read(letter.partition_key, letter.row_key) == letter
    assert dead_letters.expire(_NOON + 31 * ticks.TICKS_PER_DAY, 30) == len(written)
    assert list(wire.storage.table(TABLE).query("PartitionKey ne ''")) == []


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
def test_of_a_letter_that_storage_does_not_take_reason_and_origin_are_kept(
    wire: Wire, refusal: tuple[int, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    wire.tables.refuse_over(5_000, *refusal, content_type="application/json")
    dead_letters = DeadLetters(wire.storage)
    written = [_letter(1), _letter(2, random.Random(2).randbytes(50_000), text="\u00e9\u00eaa" * 3_000), _letter(3)]
    for count in (1, 2):
        assert dead_letters.store(written, _NOON) == 3
        summaries = list(dead_letters.select())
        assert [(summary.row_key, summary.error, summary.count) for summary in summaries] == [
            (letter.row_key, "NotSupported", count) for letter in written
        ]
    assert summaries[1].message == ("??a" * 67)[:200]
    assert "only the reason and the origin are kept" in caplog.text
    with pytest.raises(BufferCorrupt, match="storage refused it"):
        dead_letters.read(written[1].partition_key, written[1].row_key)
    assert dead_letters.read(written[2].partition_key, written[2].row_key) == written[2]
    assert dead_letters.expire(_NOON + 31 * ticks.TICKS_PER_DAY, 30) == 3


def test_a_refusal_takes_nothing_from_a_letter_that_is_there(wire: Wire, dead_letters: DeadLetters) -> None:
    letter = _letter(1, random.Random(1).randbytes(50_000))
    dead_letters.store([letter], _NOON)
    wire.tables.refuse_over(5_000, 413)
    DeadLetters(wire.storage).store([letter], _LATER)
    [summary] = dead_letters.select()
    assert (summary.count, summary.last_time) == (2, ticks.format_iso(_LATER))
    assert dead_letters.read(letter.partition_key, letter.row_key) == letter


def test_storage_that_refuses_everything_is_away(wire: Wire) -> None:
    wire.tables.answer(413, when=lambda request: "/$batch" in request.path, times=None)
    with pytest.raises(StorageUnavailable, match="too large"):
        DeadLetters(wire.storage).store([_letter(number) for number in range(3)], _NOON)


def test_expiry_runs_once_an_hour_and_not_at_all_for_0_days(dead_letters: DeadLetters) -> None:
    moments = iter([0.0, 0.0, 60.0, 3600.0, 3600.0])
    expiry = Expiry(dead_letters, 1, lambda: next(moments))
    later = _NOON + 2 * ticks.TICKS_PER_DAY
    dead_letters.store([_letter(1)], _NOON)
    assert expiry.run(later) == 1
    dead_letters.store([_letter(1)], _NOON)
    assert expiry.run(later) == 0
    assert Expiry(dead_letters, 0).run(later) == 0
    assert expiry.run(later) == 1


def test_expiry_takes_other_health_data_with_it(dead_letters: DeadLetters) -> None:
    asked: list[tuple[int, int]] = []
    Expiry(dead_letters, 3, also=lambda now, days: asked.append((now, days))).run(_NOON)
    assert asked == [(_NOON, 3)]


def test_expiry_survives_a_fault_of_the_app(dead_letters: DeadLetters, caplog: pytest.LogCaptureFixture) -> None:
    dead_letters.store([_letter(1)], _NOON)

    class Faulty(DeadLetters):
        def expire(self, now: int, days: int) -> int:
            raise LookupError("a reading of a patient")

    assert Expiry(Faulty(nobody()), 1).run(_NOON) == 0
    assert "LookupError at test_store.py" in caplog.text and "a reading" not in caplog.text


def test_expiry_survives_storage_that_is_away(caplog: pytest.LogCaptureFixture) -> None:
    assert Expiry(DeadLetters(nobody()), 1).run(_NOON) == 0
    assert "could not be deleted" in caplog.text
