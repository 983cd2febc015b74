"""Puts the parts together for the triggers: one of each per process, made when it is first needed.

What the triggers import at start-up stays small, since every new instance waits for it; storage, FHIR client and
mappings are imported at the first event or tick.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial, wraps
from typing import TYPE_CHECKING, TypeVar

import azure.functions as func

from medtech.dotnet import ticks
from medtech.errors import MedTechError, UnexpectedFault
from medtech.http_answer import answers
from medtech.telemetry import pipe
from medtech.telemetry.pipe import exporting

if TYPE_CHECKING:
    from medtech.dead_letter.expiry import Expiry
    from medtech.dead_letter.selection import Selection
    from medtech.dead_letter.store import DeadLetters
    from medtech.flush.run import Flush
    from medtech.flush.tally import Tally
    from medtech.group.buffer import Buffer
    from medtech.health.look import Onlooker
    from medtech.health.part import Health
    from medtech.health.record import Recorder
    from medtech.ingest.attempts import Attempts
    from medtech.mapping.device import DeviceMapping
    from medtech.mapping.fhir import FhirMapping, FhirOptions
    from medtech.mapping.in_force import MappingStore
    from medtech.replay.dry_run import DryRun
    from medtech.replay.job import Job, Jobs
    from medtech.replay.work import Replay
    from medtech.settings import Settings
    from medtech.storage.connection import Storage
    from medtech.telemetry.span import Span

Part = TypeVar("Part")

EXPIRY_SECONDS = 60
"""What the expiry of dead letters may take after a flush, so that both end well within `functionTimeout`."""

REPLAY_SECONDS = 60
"""What replay jobs may take before a flush, by which the flush is late: the next tick goes on with them."""

OLDEST_WINDOW_SECONDS = 5
"""What a look at the oldest window that is left may take after a flush: it is for a metric."""

LIST_SECONDS = 60
"""What a list of dead letters may take: an HTTP caller is cut off after 230."""

VALIDATE_SECONDS = 120
"""What a validation may take. Ten thousand messages that each use up their time would take hours."""

_log = logging.getLogger(__name__)


def _once(make: Callable[[], Part]) -> Callable[[], Part]:
    """One part per process: batches of several partitions run at once, each in a thread, and all need it."""
    made = cache(make)
    making = threading.Lock()

    @wraps(make)
    def get() -> Part:
        with making:
            return made()

    return get


def settings() -> Settings:
    from medtech.settings import load

    return load()


@_once
def check_settings() -> None:
    """Raises SettingInvalid, which names every fault, while the app cannot run under its settings.

    Ingest and flush ask before anything else, so that events stay in the hub and measurements in the buffer.
    """
    from medtech.settings import unusable
    from medtech.setup.check import faults, misspelt

    if found := faults(os.environ):
        raise unusable(found)
    for hint in misspelt(os.environ):
        _log.warning("%s", hint.message)


@_once
def storage() -> Storage:
    from medtech.storage.connection import Storage

    return Storage()


@_once
def buffer() -> Buffer:
    from medtech.group.buffer import Buffer

    return Buffer(storage())


@_once
def dead_letters() -> DeadLetters:
    from medtech.dead_letter.store import DeadLetters

    return DeadLetters(storage())


@_once
def attempts() -> Attempts:
    from medtech.ingest.attempts import Attempts

    return Attempts(storage())


@_once
def expiry() -> Expiry:
    from medtech.dead_letter.expiry import Expiry

    return Expiry(dead_letters(), settings().dead_letter_days)


@_once
def device_mapping() -> MappingStore[DeviceMapping]:
    from medtech.mapping.device import load_device_mapping
    from medtech.mapping.in_force import MappingStore

    return MappingStore("device", settings().device_mapping, load_device_mapping, storage())


@_once
def fhir_mapping() -> MappingStore[FhirMapping]:
    from medtech.mapping.fhir import load_fhir_mapping
    from medtech.mapping.in_force import MappingStore

    loader = partial(load_fhir_mapping, options=fhir_options())
    return MappingStore("fhir", settings().fhir_mapping, loader, storage())


@_once
def replay_jobs() -> Jobs:
    from medtech.replay.job import Jobs

    return Jobs(storage())


@_once
def replayer() -> Replay:
    from medtech.replay.work import Replay

    return Replay(
        storage=storage(),
        buffer=buffer(),
        dead_letters=dead_letters(),
        device_mapping=device_mapping().in_force,
        settings=settings(),
    )


def fhir_options() -> FhirOptions:
    """What the settings say about every FHIR template."""
    from medtech.mapping.fhir import FhirOptions
    from medtech.settings import ObservationEffective, SingleValuePeriod

    chosen = settings()
    return FhirOptions(
        group_single_values=chosen.single_value_period is SingleValuePeriod.GROUP,
        effective_date_time=chosen.observation_effective is ObservationEffective.DATE_TIME,
    )


@_once
def flusher() -> Flush:
    from medtech.flush.run import Flush
    from medtech.flush.watches import Watches
    from medtech.persist.client import FhirClient
    from medtech.persist.identity import IdentityResolver
    from medtech.persist.observations import ObservationWriter

    chosen = settings()
    client = FhirClient.of(chosen, storage().credential)
    return Flush(
        storage=storage(),
        buffer=buffer(),
        dead_letters=dead_letters(),
        fhir_mapping=fhir_mapping().in_force,
        identities=IdentityResolver(
            client,
            chosen.resource_identity_resolution_type,
            chosen.default_device_identifier_system,
            chosen.identity_cache_seconds,
        ),
        writer=ObservationWriter(client, lookup=chosen.observation_lookup),
        watches=Watches(storage(), client),
        settings=chosen,
    )


@_once
def recorder() -> Recorder:
    from medtech.health.record import Recorder

    return Recorder(storage)


@_once
def onlooker() -> Onlooker:
    from medtech.health import probes
    from medtech.health.look import STORAGE_TIMEOUTS, Onlooker
    from medtech.mapping.device import load_device_mapping
    from medtech.mapping.fhir import load_fhir_mapping
    from medtech.mapping.in_force import MappingStore
    from medtech.persist.client import FhirClient
    from medtech.storage.connection import Storage

    chosen = settings()
    seen = Storage(timeouts=STORAGE_TIMEOUTS, creates_tables=False)

    @_once
    def fhir_client() -> FhirClient:
        return FhirClient.of(chosen, seen.credential)

    load_fhir = partial(load_fhir_mapping, options=fhir_options())
    return Onlooker(
        storage=seen,
        mappings={
            probes.DEVICE_MAPPING: MappingStore("device", chosen.device_mapping, load_device_mapping, seen),
            probes.FHIR_MAPPING: MappingStore("fhir", chosen.fhir_mapping, load_fhir, seen),
        },
        fhir_client=fhir_client,
        settings=chosen,
    )


@contextmanager
def _quoting_nothing(doing: str) -> Iterator[None]:
    """The worker logs what leaves a function, with the text of an exception, which may quote a message."""
    try:
        yield
    except MedTechError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, its text must not be logged
        raise UnexpectedFault.of(error, doing, then="Report it; it is tried again, and nothing is lost.") from None


@exporting()
@_quoting_nothing("storing a batch of messages")
def ingest(events: Sequence[func.EventHubEvent], context: func.Context) -> None:
    """Puts a batch of events into the buffer.

    Raises Unavailable while storage is away and SettingInvalid while a setting is unusable: the retry policy then
    delivers the batch again.
    """
    from medtech import metrics
    from medtech.side_counts import collected
    from medtech.telemetry.span import SpanKind, span

    with span("ingest", SpanKind.CONSUMER, context.trace_context.trace_parent) as current, collected() as side_counts:
        try:
            _ingest(events, context, current)
        except Exception as error:
            pipe.put(metrics.of_failure(error))
            raise
        finally:
            pipe.put(metrics.of_side_counts(side_counts))


def _ingest(events: Sequence[func.EventHubEvent], context: func.Context, current: Span) -> None:
    from medtech import metrics
    from medtech.ingest.batch import bury, process, total
    from medtech.ingest.events import read_events

    check_settings()
    started, read_at = time.monotonic(), ticks.now()
    device_events = read_events(events)
    if not device_events:
        return
    mapping = device_mapping().in_force()
    put_through = partial(
        process,
        mapping=mapping,
        buffer=buffer(),
        dead_letters=dead_letters(),
        settings=settings(),
        clock=ticks.now,
        trace_context=current.traceparent,
    )
    give_up = partial(bury, dead_letters=dead_letters(), clock=ticks.now)
    retried = context.retry_context is not None and bool(context.retry_context.retry_count)
    counts = total(attempts().run(device_events, put_through, give_up, retried=retried))
    recorder().arrived(device_events)
    stored_at, last = ticks.now(), device_events[-1]
    # Clocks differ: an event may be enqueued "later" than it is stored.
    latencies_ms = Counter(
        max(0, stored_at - each.enqueued_time) // ticks.TICKS_PER_MILLISECOND for each in device_events
    )
    lag_seconds = max(0, read_at - last.enqueued_time) / ticks.TICKS_PER_SECOND
    pipe.put(partial(metrics.of_batch, counts, last.partition, latencies_ms, lag_seconds))
    current.set(
        messaging__system="eventhubs",
        messaging__destination__partition__id=last.partition,
        messaging__batch__message_count=counts.events,
        medtech__measurements=counts.measurements,
        medtech__dropped=counts.dropped,
        medtech__dead_letters=counts.letters,
    )
    _log.info(
        "partition %s: %d events to %d measurements in %d rows, %d dropped, %d dead letters, %.2f s%s",
        device_events[0].partition,
        counts.events,
        counts.measurements,
        counts.rows,
        counts.dropped,
        counts.letters,
        time.monotonic() - started,
        "".join(f"; {kind.name} ({kind.stage}): {count}" for kind, count in sorted(counts.errors.items())),
    )


@exporting()
@_quoting_nothing("the flush ran")
def flush(context: func.Context) -> None:
    """Works off replay jobs, writes the windows that are due to the FHIR server, then deletes the dead letters that are
    too old.

    They go even while no flush is possible: they hold health data. Raises SettingInvalid while a setting is unusable.
    """
    from medtech import metrics
    from medtech.deadline import Deadline, within
    from medtech.side_counts import collected
    from medtech.telemetry.span import SpanKind, span

    with span("flush", SpanKind.INTERNAL, context.trace_context.trace_parent), collected() as side_counts:
        try:
            with within(Deadline(REPLAY_SECONDS)):
                check_settings()
                replayer().run()
        finally:
            try:
                recorder().flush(_flush)
            finally:
                with within(Deadline(EXPIRY_SECONDS)):
                    pipe.put(metrics.of_expiry(expiry().run(ticks.now())))
                pipe.put(metrics.of_side_counts(side_counts))


def _flush() -> Tally:
    from medtech import metrics

    try:
        check_settings()
        tally = flusher().run()
    except Exception as error:
        pipe.put(metrics.of_failed_flush(error))
        raise
    if pipe.is_open():
        pipe.put(partial(metrics.of_flush, tally, _overdue_seconds()))
    return tally


def _overdue_seconds() -> float | None:
    """How long the oldest window that is left has been due; None if that cannot be seen."""
    from medtech.deadline import Deadline, within
    from medtech.group.windows import overdue_seconds

    try:
        with within(Deadline(OLDEST_WINDOW_SECONDS)):
            oldest = buffer().oldest_window()
    except Exception:  # noqa: BLE001 - the flush is done; it must not fail for a metric
        return None
    chosen = settings()
    if oldest is None:
        return 0.0
    return overdue_seconds(oldest, ticks.now(), chosen.window_seconds, chosen.flush_grace_seconds)


@exporting()
@answers
def validate(request: func.HttpRequest) -> func.HttpResponse:
    """Answers `POST /api/validate`."""
    from medtech.deadline import Deadline, within
    from medtech.errors import SettingInvalid
    from medtech.validation.http import answer, unusable

    try:
        with within(Deadline(VALIDATE_SECONDS)):
            return answer(request, settings().validate_max_bytes, device_mapping(), fhir_mapping(), fhir_options())
    except SettingInvalid as error:
        return unusable(error)


def look_at_health() -> Health:
    """The health of the app, or what keeps it from being looked at."""
    from medtech.errors import SettingInvalid
    from medtech.health.look import unusable

    try:
        return onlooker().look()
    except SettingInvalid as error:
        return unusable(error.message, ticks.now())


def look_at_app() -> Health:
    """The health of the app, and first what stops its functions: a setting that they need and the look does not."""
    from medtech.errors import SettingInvalid
    from medtech.health.look import with_settings

    try:
        check_settings()
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
        return answer(request, dead_letters, ticks.now())


@exporting()
@answers
def start_replay(request: func.HttpRequest) -> func.HttpResponse:
    """Answers `POST /api/replay`."""
    from medtech.deadline import Deadline, within
    from medtech.replay.http import answer_post

    with within(Deadline(LIST_SECONDS)):
        return answer_post(request, replay_jobs, try_replay, ticks.now())


@exporting()
@answers
def replay_status(request: func.HttpRequest) -> func.HttpResponse:
    """Answers `GET /api/replay/{job}`."""
    from medtech.deadline import Deadline, within
    from medtech.replay.http import answer_get

    with within(Deadline(LIST_SECONDS)):
        return answer_get(request, replay_jobs, letters_in_buffer)


def letters_in_buffer(job: Job) -> int:
    """How many letters of a replay job wait for the flush."""
    from medtech.dead_letter.marks import Marks
    from medtech.replay.http import letters_in_buffer

    return letters_in_buffer(job, Marks(storage()))


def try_replay(selection: Selection) -> DryRun:
    """What a replay job of these letters would do."""
    from medtech.replay.dry_run import dry_run
    from medtech.replay.today import Places

    places = Places(settings().window_seconds, settings().buffer_shards)
    return dry_run(dead_letters(), selection, device_mapping().stored(), places)
