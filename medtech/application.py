"""What each function of the app does, from the parts that `parts` makes.

What the triggers import at start-up stays small, since every new instance waits for it; a stage is imported at the
first event, tick or request that needs it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import azure.functions as func

from medtech import parts
from medtech.dotnet import ticks
from medtech.http_answer import answers
from medtech.ingest.deferred_events import defer_decoding
from medtech.invocation import invocation
from medtech.telemetry import pipe
from medtech.telemetry.pipe import exporting

if TYPE_CHECKING:
    from medtech.backfill.dry_run import DryRun as BackfillDryRun
    from medtech.backfill.job import Request
    from medtech.dead_letter.selection import Selection
    from medtech.flush.message import FlushMessage
    from medtech.flush.tally import Tally
    from medtech.health.part import Health
    from medtech.replay.dry_run import DryRun
    from medtech.replay.job import Job

_log = logging.getLogger(__name__)

EXPIRY_SECONDS = 60
"""What the expiry of dead letters may take after a flush, so that both end well within `functionTimeout`."""

REPLAY_SECONDS = 60
"""What jobs (replay, then backfill) may take before a flush, by which the flush is late: the next tick goes on with
them."""

OLDEST_WINDOW_SECONDS = 5
"""What a look at the oldest window that is left may take after a flush: it is for a metric."""

LIST_SECONDS = 60
"""What a list of dead letters may take: an HTTP caller is cut off after 230."""

VALIDATE_SECONDS = 120
"""What a validation may take. Ten thousand messages that each use up their time would take hours."""

# At start-up: the worker decodes the events of the first batch before any function runs.
defer_decoding()


def ingest(events: Sequence[func.EventHubEvent], context: func.Context) -> None:
    """Puts a batch of events into the buffer.

    Raises Unavailable while storage is away and SettingInvalid while a setting is unusable: the retry policy then
    delivers the batch again.
    """
    from medtech.ingest.batch import bury, process, total
    from medtech.ingest.events import read_events
    from medtech.metrics import BatchTimes, of_batch
    from medtech.telemetry.span import SpanKind

    with invocation("ingest", SpanKind.CONSUMER, context, doing="storing a batch of messages") as span:
        parts.check_settings()
        started, read_at = time.monotonic(), ticks.now()
        device_events = read_events(events)
        if not device_events:
            return
        put_through = partial(
            process,
            mapping=parts.device_mapping().in_force(),
            buffer=parts.buffer(),
            dead_letters=parts.dead_letters(),
            settings=parts.settings(),
            clock=ticks.now,
            trace_context=span.traceparent,
        )
        give_up = partial(bury, dead_letters=parts.dead_letters(), clock=ticks.now)
        retried = context.retry_context is not None and bool(context.retry_context.retry_count)
        counts = total(parts.attempts().run(device_events, put_through, give_up, retried=retried))
        parts.recorder().arrived(device_events)
        partition = device_events[-1].partition
        times = BatchTimes.of([each.enqueued_time for each in device_events], read_at, ticks.now())
        pipe.put(partial(of_batch, counts, partition, times))
        span.set(
            messaging__system="eventhubs",
            messaging__destination__partition__id=partition,
            messaging__batch__message_count=counts.events,
            medtech__measurements=counts.measurements,
            medtech__dropped=counts.dropped,
            medtech__dead_letters=counts.letters,
        )
        counts.log(partition, time.monotonic() - started)


def flush(context: func.Context) -> None:
    """Works off replay and backfill jobs, writes the windows that are due to the FHIR server, or has them written by
    way of a queue, then deletes the dead letters that are too old.

    They go even while no flush is possible: they hold health data. Raises SettingInvalid while a setting is unusable.
    """
    from medtech import metrics
    from medtech.deadline import Deadline, within
    from medtech.telemetry.span import SpanKind

    with invocation("flush", SpanKind.INTERNAL, context, doing="the flush ran") as span:
        try:
            with within(Deadline(REPLAY_SECONDS)):
                parts.check_settings()
                parts.replayer().run()
                parts.backfiller().run()
        finally:
            try:
                if parts.flushes_by_queue():
                    parts.recorder().flush(partial(_fan_out, span.traceparent), by_queue=True)
                else:
                    parts.recorder().flush(_flush)
            finally:
                with within(Deadline(EXPIRY_SECONDS)):
                    pipe.put(metrics.of_expiry(parts.expiry().run(ticks.now())))


def _flush() -> Tally:
    from medtech import metrics

    try:
        parts.check_settings()
        tally = parts.flusher().run()
    except Exception:
        pipe.put(metrics.of_failed_flush())
        raise
    if pipe.is_open():
        pipe.put(partial(metrics.of_flush, tally, _overdue_seconds()))
    return tally


def _fan_out(trace_context: str) -> Tally:
    from medtech import metrics

    try:
        parts.check_settings()
        put = parts.fanout().run(trace_context)
    except Exception:
        pipe.put(metrics.of_failed_flush())
        raise
    if pipe.is_open():
        pipe.put(partial(metrics.of_fan_out, put, _overdue_seconds()))
    return put.tally


def flush_shard(message: func.QueueMessage, context: func.Context) -> None:
    """Writes the windows of one shard that are due to the FHIR server.

    Whatever holds it up, the message is done: a failure would count towards the poison queue, and the timer puts
    another message as long as windows are due.
    """
    from medtech.errors import SettingInvalid
    from medtech.flush.message import FlushMessage
    from medtech.telemetry.span import SpanKind

    with invocation("flush shard", SpanKind.CONSUMER, context, doing="a shard was flushed") as span:
        read = FlushMessage.read(message.get_body())
        if read is None:
            _log.warning("A message on the queue is not the app's and was dropped. Find out who puts it there.")
            return
        span.link([read.trace_context])
        span.set(messaging__system="azurequeues", medtech__shard=read.shard)
        try:
            parts.check_settings()
            parts.recorder().flush(partial(_flush_shard, read, message.dequeue_count or 1), shard=read.shard)
        except SettingInvalid as error:
            _log.error("Shard %d is not flushed: %s", read.shard, error.message)


def _flush_shard(message: FlushMessage, tries: int) -> Tally:
    from medtech import metrics
    from medtech.flush.tally import Tally

    try:
        tally = parts.fanout().carry_out(message, tries)
    except Exception:
        pipe.put(metrics.of_failed_flush(scope=metrics.SHARD))
        raise
    if tally is None:
        return Tally()
    pipe.put(partial(metrics.of_flush, tally, None, scope=metrics.SHARD))
    return tally


def _overdue_seconds() -> float | None:
    """How long the oldest window that is left has been due; None if that cannot be seen.

    What an account holds that is away is left out: the flush is held up by it, and says so.
    """
    from medtech.deadline import Deadline, within
    from medtech.group.windows import overdue_seconds

    try:
        with within(Deadline(OLDEST_WINDOW_SECONDS)):
            oldest = parts.buffer().oldest_window_within_reach()
    except Exception:  # noqa: BLE001 - the flush is done; it must not fail for a metric
        return None
    chosen = parts.settings()
    if oldest is None:
        return 0.0
    return overdue_seconds(oldest, ticks.now(), chosen.window_seconds, chosen.hold_seconds)


@exporting()
@answers
def validate(request: func.HttpRequest) -> func.HttpResponse:
    """Answers `POST /api/validate`."""
    from medtech.deadline import Deadline, within
    from medtech.errors import SettingInvalid
    from medtech.validation.http import answer, unusable

    try:
        with within(Deadline(VALIDATE_SECONDS)):
            return answer(
                request,
                parts.settings().validate_max_bytes,
                parts.device_mapping(),
                parts.fhir_mapping(),
                parts.fhir_options(),
            )
    except SettingInvalid as error:
        return unusable(error)


def look_at_health() -> Health:
    """The health of the app, or what keeps it from being looked at."""
    from medtech.errors import SettingInvalid
    from medtech.health.look import unusable

    try:
        return parts.onlooker().look()
    except SettingInvalid as error:
        return unusable(error.message, ticks.now())


def look_at_app() -> Health:
    """The health of the app, and first what stops its functions: a setting that they need and the look does not."""
    from medtech.errors import SettingInvalid
    from medtech.health.look import with_settings

    try:
        parts.check_settings()
    except SettingInvalid as error:
        return with_settings(error.message, look_at_health())
    return look_at_health()


@exporting()
@answers
def health() -> func.HttpResponse:
    """Answers `GET /api/health`."""
    from medtech.health.http import answer

    return answer(look_at_app)


@exporting()
@answers
def list_dead_letters(request: func.HttpRequest) -> func.HttpResponse:
    """Answers `GET /api/dead-letters`."""
    from medtech.dead_letter.http import answer
    from medtech.deadline import Deadline, within

    with within(Deadline(LIST_SECONDS)):
        return answer(request, parts.dead_letters, ticks.now())


@exporting()
@answers
def show_dead_letter(request: func.HttpRequest) -> func.HttpResponse:
    """Answers `GET /api/dead-letters/{id}`."""
    from medtech.dead_letter.http import answer_letter
    from medtech.deadline import Deadline, within

    with within(Deadline(LIST_SECONDS)):
        return answer_letter(request, parts.dead_letters, ticks.now())


@exporting()
@answers
def show_comparison(request: func.HttpRequest) -> func.HttpResponse:
    """Answers `GET /api/comparison`."""
    from medtech.comparison.http import answer
    from medtech.deadline import Deadline, within

    with within(Deadline(LIST_SECONDS)):
        return answer(request, parts.comparisons, ticks.now(), lambda: parts.settings().compares)


@exporting()
@answers
def show_difference(request: func.HttpRequest) -> func.HttpResponse:
    """Answers `GET /api/comparison/{id}`."""
    from medtech.comparison.http import answer_difference
    from medtech.deadline import Deadline, within

    with within(Deadline(LIST_SECONDS)):
        return answer_difference(request, parts.comparisons)


@exporting()
@answers
def start_replay(request: func.HttpRequest) -> func.HttpResponse:
    """Answers `POST /api/replay`."""
    from medtech.deadline import Deadline, within
    from medtech.replay.http import answer_post

    with within(Deadline(LIST_SECONDS)):
        return answer_post(request, parts.replay_jobs, try_replay, ticks.now())


@exporting()
@answers
def replay_status(request: func.HttpRequest) -> func.HttpResponse:
    """Answers `GET /api/replay/{job}`."""
    from medtech.deadline import Deadline, within
    from medtech.replay.http import answer_get

    with within(Deadline(LIST_SECONDS)):
        return answer_get(request, _job_document)


def _job_document(job_id: str) -> dict[str, Any] | None:
    """A job of whatever kind; None if there is none of that id."""
    from medtech.backfill.document import of_backfill
    from medtech.replay.document import of_job

    job = parts.replay_jobs().get(job_id)
    if job is not None:
        return of_job(job, letters_in_buffer(job))
    backfill = parts.backfill_jobs().get(job_id)
    return None if backfill is None else of_backfill(backfill)


def letters_in_buffer(job: Job) -> int:
    """How many letters of a replay job wait for the flush."""
    from medtech.dead_letter.marks import Marks
    from medtech.replay.http import letters_in_buffer

    return letters_in_buffer(job, Marks(parts.storage()))


def try_replay(selection: Selection) -> DryRun:
    """What a replay job of these letters would do."""
    from medtech.replay.dry_run import dry_run
    from medtech.replay.today import Places

    places = Places(parts.settings().window_seconds, parts.settings().buffer_shards)
    return dry_run(parts.dead_letters(), selection, parts.device_mapping().stored(), places)


def try_backfill(request: Request) -> BackfillDryRun:
    """What a backfill job of these events would do."""
    from medtech.backfill.dry_run import dry_run

    return dry_run(parts.capture_container(request), request, parts.device_mapping().stored())


@answers
def debugger(request: func.HttpRequest) -> func.HttpResponse:
    """Answers `GET /api/debugger` and what the page loads."""
    from medtech.debugger.http import answer

    return answer(request)


@exporting()
@answers
def show_mappings() -> func.HttpResponse:
    """Answers `GET /api/mappings`."""
    from medtech.deadline import Deadline, within
    from medtech.debugger.mappings import answer

    with within(Deadline(LIST_SECONDS)):
        return answer(parts.device_mapping(), parts.fhir_mapping())
