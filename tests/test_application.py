"""What the triggers run, put together from real parts."""

import traceback
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NoReturn

import azure.functions as func
import pytest
from azure.functions.queue import QueueMessage

from medtech import application, parts
from medtech.dead_letter import letter as letters
from medtech.dead_letter.expiry import Expiry
from medtech.dead_letter.store import DeadLetters
from medtech.dotnet import ticks
from medtech.errors import NotSupported, SettingInvalid, UnexpectedFault
from medtech.flush.fanout import Put
from medtech.flush.message import FlushMessage
from medtech.flush.tally import Tally
from medtech.model import DeviceEvent
from medtech.normalize.batch import failure_of_event
from medtech.storage.connection import Storage
from medtech.telemetry import pipe, span
from tests.telemetry.documents import span_attributes

CONTEXT: Any = SimpleNamespace(trace_context=SimpleNamespace(trace_parent=None))
"""Of an invocation."""


@pytest.fixture(autouse=True)
def usable_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "check_settings", lambda: None)


class Fails:
    """A flush that cannot be run."""

    def run(self) -> None:
        raise SettingInvalid("while it ran")


def _cannot_be_made() -> Fails:
    raise SettingInvalid("while it was made")


@pytest.mark.parametrize(("flusher", "reported"), [(_cannot_be_made, "while it was made"), (Fails, "while it ran")])
@pytest.mark.parametrize("days", [1, 0])
def test_old_letters_go_even_if_no_flush_is_possible(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, flusher: Callable[[], Fails], reported: str, days: int
) -> None:
    dead_letters = DeadLetters(storage)
    old = ticks.now() - 2 * ticks.TICKS_PER_DAY
    event = DeviceEvent(b"{", {}, {}, old, "0a1b2c3d", "0", 1)
    dead_letters.store([letters.of_event(event, [failure_of_event(NotSupported("No JSON."))])], old)
    monkeypatch.setattr(parts, "flusher", flusher)
    monkeypatch.setattr(parts, "expiry", lambda: Expiry(dead_letters, days))
    with pytest.raises(SettingInvalid, match=reported):
        application.flush(CONTEXT)
    assert len(list(dead_letters.select())) == (0 if days else 1)


@pytest.fixture
def telemetry(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is exported."""
    records: list[Any] = []
    monkeypatch.setattr(pipe, "is_open", lambda: True)
    monkeypatch.setattr(pipe, "put", records.append)
    return records


def message_on_queue(body: bytes) -> func.QueueMessage:
    """As the worker gives it to the function, for the second time."""
    return QueueMessage(id="1", body=body, dequeue_count=2)


@pytest.mark.usefixtures("telemetry")
def test_a_message_is_carried_out_and_says_whose_tick_it_is_of(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[object] = []
    spans: list[Any] = []
    message = FlushMessage(3, "a" * 32, f"00-{'1' * 32}-{'2' * 16}-01")

    def carry_out(read: FlushMessage, tries: int) -> Tally:
        done.append((read, tries))
        spans.append(span.current())
        return Tally()

    monkeypatch.setattr(parts, "fanout", lambda: SimpleNamespace(carry_out=carry_out))
    recorder = SimpleNamespace(flush=lambda run, shard: done.append((shard, run())))
    monkeypatch.setattr(parts, "recorder", lambda: recorder)
    application.flush_shard(message_on_queue(message.write()), CONTEXT)
    assert done == [(message, 2), (3, Tally())]
    [current] = spans
    assert [place.traceparent for place in current.links] == [message.trace_context]
    assert current.attributes["medtech.shard"] == 3
    assert set(current.attributes) == span_attributes()["flush shard"]


def test_a_message_of_somebody_elses_is_dropped_and_told(caplog: pytest.LogCaptureFixture) -> None:
    application.flush_shard(message_on_queue(b'{"patient": "4711"}'), CONTEXT)
    assert "is not the app's" in caplog.text
    assert "4711" not in caplog.text


def test_a_message_under_unusable_settings_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A failure would count towards the poison queue."""

    def unusable() -> NoReturn:
        raise SettingInvalid("WINDOW_SECONDS is empty.")

    monkeypatch.setattr(parts, "check_settings", unusable)
    application.flush_shard(message_on_queue(FlushMessage(3, "a" * 32, "").write()), CONTEXT)
    assert "Shard 3 is not flushed: WINDOW_SECONDS is empty." in caplog.text


@pytest.mark.usefixtures("telemetry")
def test_by_queue_the_timer_flushes_nothing_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[object] = []

    def run(trace_context: str) -> Put:
        done.append(trace_context)
        return Put(Tally(windows=7), 1, 0)

    monkeypatch.setenv("FLUSH_FANOUT", "queue")
    monkeypatch.setattr(parts, "replayer", lambda: SimpleNamespace(run=lambda: done.append("replay")))
    monkeypatch.setattr(parts, "backfiller", lambda: SimpleNamespace(run=lambda: done.append("backfill")))
    monkeypatch.setattr(parts, "fanout", lambda: SimpleNamespace(run=run))
    recorder = SimpleNamespace(flush=lambda run, by_queue: done.append((by_queue, run().windows)))
    monkeypatch.setattr(parts, "recorder", lambda: recorder)
    monkeypatch.setattr(application, "_overdue_seconds", lambda: None)
    monkeypatch.setattr(parts, "expiry", lambda: SimpleNamespace(run=lambda now: done.append("expiry") or 0))
    application.flush(CONTEXT)
    replay, backfill, trace_context, recorded, expired = done
    assert (replay, backfill, recorded, expired) == ("replay", "backfill", (True, 7), "expiry")
    assert span.read_traceparent(trace_context) is not None


def test_a_mapping_cannot_be_tried_under_unusable_settings_and_the_answer_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unusable() -> NoReturn:
        raise SettingInvalid("WINDOW_SECONDS is empty.")

    monkeypatch.setattr(parts, "settings", unusable)
    answer = application.validate(func.HttpRequest("POST", "/api/validate", body=b"{}"))
    assert (answer.status_code, answer.get_body()) == (503, b'{"error":"WINDOW_SECONDS is empty."}')


@pytest.mark.parametrize("stage", ["made", "run"])
def test_a_replay_that_cannot_be_made_or_run_holds_up_neither_the_flush_nor_the_expiry(
    monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    done: list[str] = []

    class Part:
        def __init__(self, name: str) -> None:
            self._name = name

        def run(self, *arguments: object) -> Tally:
            done.append(self._name)
            return Tally()

    monkeypatch.setattr(parts, "replayer", _cannot_be_made if stage == "made" else Fails)
    monkeypatch.setattr(parts, "backfiller", _cannot_be_made if stage == "made" else Fails)
    monkeypatch.setattr(parts, "flusher", lambda: Part("flush"))
    monkeypatch.setattr(parts, "expiry", lambda: Part("expiry"))
    with pytest.raises(SettingInvalid):
        application.flush(CONTEXT)
    assert done == ["flush", "expiry"]


@pytest.mark.parametrize("trigger", ["ingest", "flush"])
def test_an_exception_that_reaches_the_worker_quotes_nothing(monkeypatch: pytest.MonkeyPatch, trigger: str) -> None:
    """The worker logs its text, and that of what it came from."""

    def fails(*_: object) -> None:
        raise KeyError("patient 4711")

    monkeypatch.setattr(parts, "replayer", fails)
    monkeypatch.setattr(parts, "backfiller", fails)
    monkeypatch.setattr(parts, "flusher", fails)
    monkeypatch.setattr(parts, "expiry", fails)
    monkeypatch.setattr("medtech.ingest.events.read_events", fails)
    with pytest.raises(UnexpectedFault) as raised:
        application.flush(CONTEXT) if trigger == "flush" else application.ingest([], CONTEXT)
    logged = "".join(traceback.format_exception(raised.value))
    assert "KeyError at test_application.py" in logged
    assert "4711" not in logged


@pytest.mark.parametrize(("replay", "name"), [(Fails, "SettingInvalid"), ([].pop, "UnexpectedFault")])
def test_what_ends_an_invocation_counts_as_one_error(
    monkeypatch: pytest.MonkeyPatch, replay: Callable[[], Any], name: str
) -> None:
    records: list[Any] = []
    monkeypatch.setattr(pipe, "put", records.append)
    monkeypatch.setattr(parts, "replayer", replay)
    monkeypatch.setattr(parts, "backfiller", replay)
    monkeypatch.setattr(parts, "flusher", lambda: SimpleNamespace(run=Tally))
    monkeypatch.setattr(parts, "expiry", lambda: SimpleNamespace(run=lambda now: 0))
    monkeypatch.setattr(parts, "recorder", lambda: SimpleNamespace(flush=lambda run: run()))
    with pytest.raises((SettingInvalid, UnexpectedFault)):
        application.flush(CONTEXT)
    readings = [reading for record in records if isinstance(record, list) for reading in record]
    assert [(each.instrument.name, each.dimensions["name"]) for each in readings] == [("TotalErrors", name)]
