"""The local hub keeps what Event Hubs promises to its readers."""

import asyncio
import base64
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dev.hub import MAX_EVENT_BYTES, EventRefused, Hub, NewEvent, PositionInvalid, read_new_event


def event(body: bytes = b"{}", **fields: Any) -> NewEvent:
    return NewEvent(body, {}, {}, None, None, None)._replace(**fields)


def bodies(hub: Hub, partition: str) -> list[bytes]:
    return [stored.body for stored in hub.partitions[partition].read(0, 100)]


def test_sequence_numbers_count_from_zero_in_each_partition(tmp_path: Path) -> None:
    hub = Hub(tmp_path, 2)
    positions = hub.append([event(partition=name) for name in ("0", "1", "0")])
    assert positions == [("0", 0), ("1", 0), ("0", 1)]
    hub.close()


def test_one_key_is_one_partition(tmp_path: Path) -> None:
    hub = Hub(tmp_path, 4)
    positions = hub.append([event(partition_key="a"), event(), event(partition_key="a"), event(), event()])
    assert positions[0].partition == positions[2].partition
    hub.close()


def test_events_without_key_take_turns(tmp_path: Path) -> None:
    hub = Hub(tmp_path, 3)
    assert sorted(position.partition for position in hub.append([event()] * 3)) == ["0", "1", "2"]
    hub.close()


def test_everything_of_an_event_is_there_after_a_restart(tmp_path: Path) -> None:
    enqueued = datetime(2026, 3, 2, 8, 0, 0, 123000, tzinfo=UTC)
    sent = NewEvent(b"\xff\x00", {"p": 1}, {"iothub-connection-device-id": "d"}, "key", "1", enqueued)
    hub = Hub(tmp_path, 2)
    hub.append([event(partition="1", enqueued_time=enqueued), sent])
    hub.close()
    hub = Hub(tmp_path, 2)
    stored = hub.partitions["1"].read(1, 5)[0]
    assert stored.body == sent.body
    assert stored.properties == sent.properties
    assert stored.system_properties == sent.system_properties
    assert (stored.partition_key, stored.sequence_number, stored.enqueued_time) == ("key", 1, enqueued)
    assert hub.append([event(partition="1")]) == [("1", 2)]
    hub.close()


def test_a_line_that_a_killed_host_left_half_written_is_cut_off(tmp_path: Path) -> None:
    hub = Hub(tmp_path, 1)
    hub.append([event(b"1"), event(b"2")])
    hub.close()
    path = tmp_path / "0.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    hub = Hub(tmp_path, 1)
    hub.append([event(b"3")])
    assert bodies(hub, "0") == [b"1", b"3"]
    hub.close()


def test_a_hub_never_loses_partitions(tmp_path: Path) -> None:
    Hub(tmp_path, 4).close()
    hub = Hub(tmp_path, 2)
    assert len(hub.partitions) == 4
    hub.close()


def test_one_event_for_an_unknown_partition_refuses_all(tmp_path: Path) -> None:
    hub = Hub(tmp_path, 1)
    with pytest.raises(EventRefused, match="partitions 0 to 0"):
        hub.append([event(), event(partition="7")])
    assert bodies(hub, "0") == []
    hub.close()


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Hub]:
    """A hub with one partition of three events."""
    hub = Hub(tmp_path, 1)
    hub.append([event(body) for body in (b"0", b"1", b"2")])
    yield hub
    hub.close()


def test_reading_begins_after_a_position(three: Hub) -> None:
    partition = three.partitions["0"]
    offsets = [stored.offset for stored in partition.read(0, 3)]
    assert [partition.after(offset, None) for offset in offsets] == [1, 2, 3]
    assert [partition.after("", number) for number in (-1, 0, 2)] == [0, 1, 3]
    assert partition.after("-1", 2) == 0
    assert partition.after(offsets[0], 2) == 1  # of both the offset counts


@pytest.mark.parametrize(("offset", "number"), [("999999", 0), ("@latest", None), ("", 3)])
def test_a_position_that_never_was_is_refused_as_by_the_service(three: Hub, offset: str, number: int | None) -> None:
    with pytest.raises(PositionInvalid, match=r"The supplied .* is invalid. The last .* in the system is '"):
        three.partitions["0"].after(offset, number)


def test_events_expire_after_the_retention(tmp_path: Path) -> None:
    long_ago, now = datetime(2026, 3, 2, 8, tzinfo=UTC), datetime.now(UTC)
    hub = Hub(tmp_path, 1, timedelta(hours=1))
    partition = hub.partitions["0"]
    hub.append([event(b"old", enqueued_time=long_ago)])
    assert (partition.first_sequence_number, partition.next_sequence_number) == (1, 1)
    assert bodies(hub, "0") == []
    hub.append([event(b"new", enqueued_time=now)])
    assert [(stored.sequence_number, stored.body) for stored in partition.read(0, 10)] == [(1, b"new")]
    hub.close()
    hub = Hub(tmp_path, 1)
    assert bodies(hub, "0") == [b"old", b"new"]  # without a retention the lines still are there
    hub.close()


@pytest.mark.parametrize(
    ("document", "body"),
    [
        ({"body": "not json"}, b"not json"),
        ({"body": {"a": [1, 2.5]}}, b'{"a":[1,2.5]}'),
        ({"body": ""}, b""),
        ({"body": None}, b"null"),
        ({"bodyBase64": "/w=="}, b"\xff"),
    ],
)
def test_bodies(document: dict[str, Any], body: bytes) -> None:
    assert read_new_event(document).body == body


@pytest.mark.parametrize("text", ["2026-03-02T08:00:00Z", "2026-03-02T09:00:00+01:00", "2026-03-02T08:00:00"])
def test_an_enqueued_time_is_utc(text: str) -> None:
    assert read_new_event({"body": "", "enqueuedTime": text}).enqueued_time == datetime(2026, 3, 2, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ([], "must be an object"),
        ({}, "either body"),
        ({"body": "", "bodyBase64": ""}, "either body"),
        ({"bodyBase64": "secret reading"}, "not valid base64"),
        ({"body": "", "properties": [1]}, "properties must be an object"),
        ({"body": "", "systemProperties": {"heartRate": 1}}, "not a system property"),
        ({"body": "", "enqueuedTime": "yesterday"}, "ISO 8601"),
        ({"bodyBase64": base64.b64encode(b"x" * (MAX_EVENT_BYTES + 1)).decode()}, "at most"),
    ],
)
def test_refusals_say_why_and_show_no_content(document: Any, reason: str) -> None:
    with pytest.raises(EventRefused, match=reason) as refused:
        read_new_event(document)
    assert "secret reading" not in str(refused.value)


def test_enqueued_time_never_runs_backwards_in_a_partition(tmp_path: Path) -> None:
    later, earlier = (datetime(2026, 3, 2, 8, minute, tzinfo=UTC) for minute in (5, 0))
    hub = Hub(tmp_path, 2)
    hub.append([event(partition="0", enqueued_time=later), event(partition="0", enqueued_time=earlier)])
    hub.append([event(partition="1", enqueued_time=earlier)])
    hub.close()
    hub = Hub(tmp_path, 2)
    hub.append([event(partition="0", enqueued_time=earlier)])
    times = [stored.enqueued_time for name in ("0", "1") for stored in hub.partitions[name].read(0, 10)]
    assert times == [later, later, later, earlier]
    hub.close()


def test_processes_that_share_a_hub_see_each_others_events(tmp_path: Path) -> None:
    first, second = Hub(tmp_path, 1), Hub(tmp_path, 1)
    first.append([event(b"1")])
    second.append([event(b"2")])
    assert first.append([event(b"3")]) == [("0", 2)]
    assert bodies(first, "0") == bodies(second, "0") == [b"1", b"2", b"3"]
    assert first.partitions["0"].last_enqueued == second.partitions["0"].last_enqueued
    first.close()
    second.close()


def test_a_reader_that_waits_is_told_of_another_processs_event(tmp_path: Path) -> None:
    async def wait() -> None:
        waiting = asyncio.create_task(first.partitions["0"].wait_for(0))
        await asyncio.sleep(0)
        second.append([event()])
        await asyncio.wait_for(waiting, 30)

    first, second = Hub(tmp_path, 1), Hub(tmp_path, 1)
    asyncio.run(wait())
    first.close()
    second.close()


def test_what_another_process_is_still_writing_is_not_read(tmp_path: Path) -> None:
    hub = Hub(tmp_path, 1)
    hub.append([event(b"1")])
    with (tmp_path / "0.jsonl").open("ab") as other:
        other.write(b'{"body": "')
    assert bodies(hub, "0") == [b"1"]
    hub.close()


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        ("x-opt-offset", "x"),
        ("x-opt-offset", "9" * 5000),
        ("x-opt-sequence-number", "x"),
        ("x-opt-sequence-number", "7"),
        ("x-opt-enqueued-time", "9" * 30),
        ("x-opt-partition-key", "d1"),
    ],
)
def test_a_position_that_no_partition_has(tmp_path: Path, annotation: str, value: str) -> None:
    hub = Hub(tmp_path, 1)
    hub.append([NewEvent(b"one", {}, {}, None, "0", None)])
    with pytest.raises(PositionInvalid):
        hub.partitions["0"].first(annotation, value, inclusive=False)
    hub.close()


def test_the_end_of_a_partition_is_a_position(tmp_path: Path) -> None:
    hub = Hub(tmp_path, 1)
    hub.append([NewEvent(b"one", {}, {}, None, "0", None)])
    assert hub.partitions["0"].first("x-opt-offset", "@latest", inclusive=False) == 1
    hub.close()
