"""What the app depends on goes away, or the app itself does: nothing is lost and nothing is written twice."""

from collections.abc import Callable

import pytest

from dev.checkpoints import Checkpoint
from dev.hub import Position
from medtech.group.windows import shard_of
from medtech.settings import Settings
from tests.dev.waiting import wait_until
from tests.end_to_end.conftest import Wires
from tests.end_to_end.ward import Ward, pulse, steps
from tests.faults import ProxiedRequest, anything, writes

NOT_SOON = {"Retry-After": "120"}
"""Longer than a flush waits: it leaves the rows to the next tick at once."""


def writes_a_segment(request: ProxiedRequest) -> bool:
    return request.method in ("PATCH", "PUT", "MERGE") and "/buffer(" in request.path


def marks_rows(request: ProxiedRequest) -> bool:
    return request.path.endswith("$batch") and b"creates_sent" in request.body


def deletes_rows(request: ProxiedRequest) -> bool:
    return request.path.endswith("$batch") and b"\nDELETE " in request.body


def test_a_fhir_server_that_is_down_at_the_flush_gets_everything_at_the_next(wires: Wires, device: str) -> None:
    ward = wires.ward
    ward.admit(device)
    ward.deliver([pulse(device, "08:00:00", 71)])
    ward.stack.kill_worker()  # the next worker does not know the server yet, so it does not wait for an answer
    ward.stack.fhir.stop()
    logged = len(ward.stack.logs)
    ward.flush()
    assert len(ward.waiting(device)) == 1
    assert "The flush is held up, nothing is lost" in ward.stack.logs[logged:]

    ward.stack.fhir.start()
    ward.stack.fhir.wait_until_ready()
    ward.flush()
    assert ward.stored(device) == [("heartRate", 71, 1)]
    assert ward.waiting(device) == []


@pytest.mark.parametrize(
    ("status", "when"),
    [(503, anything), (429, anything), (503, writes), (401, anything)],
    ids=["away", "throttling", "away for writes", "access denied"],
)
def test_what_the_fhir_server_does_not_take_now_waits(
    wires: Wires, device: str, status: int, when: Callable[[ProxiedRequest], bool]
) -> None:
    ward = wires.ward
    ward.admit(device)
    positions = ward.deliver([pulse(device, "08:00:00", 71), pulse(device, "08:00:05", 72)])
    wires.fhir.answer(status, headers=NOT_SOON, when=when, times=None)
    logged = len(ward.stack.logs)
    ward.flush()
    assert len(ward.waiting(device)) == 2
    assert (ward.stored(device), ward.letters(positions)) == ([], [])
    assert "The flush is held up, nothing is lost" in ward.stack.logs[logged:]

    wires.fhir.clear()
    ward.flush()
    assert ward.stored(device) == [("heartRate", 71, 1), ("heartRate", 72, 1)]
    assert ward.waiting(device) == []


def test_an_answer_that_is_lost_writes_nothing_twice(wires: Wires, device: str) -> None:
    ward = wires.ward
    ward.admit(device)
    ward.deliver([steps(device, "08:01:00", 54)])
    ward.flush()
    ward.deliver([steps(device, "08:02:00", 17), pulse(device, "08:00:00", 71)])
    wires.fhir.cut_after(when=writes)
    ward.flush()
    assert ward.stored(device) == [("heartRate", 71, 1), ("steps", {1: "54", 2: "17"}, 2)]
    assert ward.waiting(device) == []


def test_storage_that_is_down_at_ingest_gets_the_batch_when_it_is_back(wires: Wires, device: str) -> None:
    ward, stack = wires.ward, wires.ward.stack
    ward.admit(device)
    ward.deliver([pulse(device, "08:00:00", 71)])
    failed = stack.invocations("normalize")["failed"]
    stack.storage.stop()
    positions = ward.send([pulse(device, "08:00:05", 72), b"no JSON", pulse(device, "08:00:10", 73)])
    wait_until(lambda: stack.invocations("normalize")["failed"] > failed)
    assert stack.unread() == 3

    stack.storage.start()
    stack.storage.wait_until_ready()
    stack.wait_until_read()
    ward.flush()
    assert ward.stored(device) == [("heartRate", 71, 1), ("heartRate", 72, 1), ("heartRate", 73, 1)]
    assert [letter.error for letter in ward.letters(positions)] == ["NotSupported"]


def test_storage_that_is_down_at_the_flush_is_tried_again_at_the_next(wires: Wires, device: str) -> None:
    ward = wires.ward
    ward.admit(device)
    ward.deliver([pulse(device, "08:00:00", 71)])
    wires.tables.cut_before(times=None)
    logged = len(ward.stack.logs)
    ward.flush()
    assert "The flush is held up, nothing is lost" in ward.stack.logs[logged:]

    wires.tables.clear()
    ward.flush()
    assert ward.stored(device) == [("heartRate", 71, 1)]
    assert ward.waiting(device) == []


def test_a_worker_that_dies_between_write_and_return_gets_the_batch_again(wires: Wires, device: str) -> None:
    ward, stack = wires.ward, wires.ward.stack
    devices = [f"{device}-{n}" for n in range(4)]
    assert len({shard_of(each, Settings().buffer_shards) for each in devices}) > 1, "all would be in one row"
    for each in devices:
        ward.admit(each)
    failed = stack.invocations("normalize")["failed"]
    wires.tables.after_forwarding(lambda _: stack.kill_worker(), when=writes_a_segment)
    readings = [pulse(each, "08:00:00", 71) for each in devices] + [steps(each, "08:01:00", 54) for each in devices]
    positions = ward.deliver([*readings, b"no JSON"])
    assert stack.invocations("normalize")["failed"] == failed + 1
    assert [len(ward.waiting(each)) for each in devices] == [2] * 4  # the same rows again, some of them overwritten
    ward.flush()
    for each in devices:
        assert ward.stored(each) == [("heartRate", 71, 1), ("steps", {1: "54"}, 1)]
    assert ward.letter_counts(positions) == [1]


def _after_the_mark(wires: Wires, hook: Callable[[ProxiedRequest], None]) -> None:
    wires.tables.after_forwarding(hook, when=marks_rows)


def _after_the_bundle(wires: Wires, hook: Callable[[ProxiedRequest], None]) -> None:
    wires.fhir.after_forwarding(hook, when=writes)


def _before_the_deletion(wires: Wires, hook: Callable[[ProxiedRequest], None]) -> None:
    wires.tables.before_forwarding(hook, when=deletes_rows)


def _after_the_deletion(wires: Wires, hook: Callable[[ProxiedRequest], None]) -> None:
    wires.tables.after_forwarding(hook, when=deletes_rows)


MOMENTS = [_after_the_mark, _after_the_bundle, _before_the_deletion, _after_the_deletion]


@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: moment.__name__.strip("_"))
def test_a_worker_that_dies_in_the_flush_neither_loses_nor_doubles(
    wires: Wires, device: str, moment: Callable[[Wires, Callable[[ProxiedRequest], None]], None]
) -> None:
    ward, stack = wires.ward, wires.ward.stack
    ward.admit(device)
    ward.deliver([steps(device, "08:01:00", 54)])
    ward.flush()
    pulses = [pulse(device, f"08:00:0{second}", 70 + second) for second in range(3)]
    positions = ward.deliver([steps(device, "08:02:00", 17), *pulses, pulse("stranger", "08:00:00", 71)])

    moment(wires, lambda _: ward.crash_worker())
    assert not stack.run_timer("flush")
    stack.restart_host()
    ward.let_leases_end()
    ward.flush()

    assert ward.stored(device) == [
        ("heartRate", 70, 1),
        ("heartRate", 71, 1),
        ("heartRate", 72, 1),
        ("steps", {1: "54", 2: "17"}, 2),
    ]
    assert ward.waiting(device) == []
    assert [letter.error for letter in ward.letters(positions)] == ["DeviceNotFound"]


def test_a_shard_that_another_instance_holds_is_left_to_it(wires: Wires, device: str) -> None:
    ward = wires.ward
    ward.admit(device)
    ward.deliver([pulse(device, "08:00:00", 71)])
    ward.flush()
    ward.deliver([pulse(device, "08:00:05", 72)])
    with ward.held_by_another():
        ward.flush()
        assert len(ward.waiting(device)) == 1
    ward.flush()
    assert ward.stored(device) == [("heartRate", 71, 1), ("heartRate", 72, 1)]


def _deliver_again_from(ward: Ward, first: Position) -> None:
    """As after the loss of a checkpoint: everything from a message on is delivered again, in one batch."""
    ward.stack.host.stop()
    ward.stack.checkpoints().write(first.partition, Checkpoint("", first.sequence_number - 1))
    ward.stack.start_host()
    ward.stack.wait_until_read()


def test_a_delivery_with_other_borders_neither_loses_nor_doubles(wires: Wires, device: str) -> None:
    ward = wires.ward
    ward.admit(device)
    first = ward.deliver([steps(device, "08:01:00", 54), b"no JSON", pulse(device, "08:00:00", 71)])
    second = ward.deliver([steps(device, "08:02:00", 17), pulse(device, "08:00:05", 72)])
    expected = [("heartRate", 71, 1), ("heartRate", 72, 1), ("steps", {1: "54", 2: "17"}, 1)]

    _deliver_again_from(ward, first[1])
    assert len(ward.waiting(device)) == 4 + 3  # one batch now holds the end of the first and all of the second
    ward.flush()
    assert ward.stored(device) == expected
    assert ward.waiting(device) == []

    _deliver_again_from(ward, first[0])
    ward.flush()
    assert ward.stored(device) == expected
    assert ward.letter_counts(first + second) == [3]
