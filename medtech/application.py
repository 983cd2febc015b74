"""Puts the parts together for the triggers: one of each per process, made when it is first needed.

What the triggers import at start-up stays small, since every new instance waits for it; storage, FHIR client and
mappings are imported at the first event or tick.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from functools import cache, partial, wraps
from typing import TYPE_CHECKING, TypeVar

import azure.functions as func

from medtech.dotnet import ticks

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

Part = TypeVar("Part")

EXPIRY_SECONDS = 60
"""What the expiry of dead letters may take after a flush, so that both end well within `functionTimeout`."""

REPLAY_SECONDS = 60
"""What replay jobs may take before a flush, by which the flush is late: the next tick goes on with them."""

LIST_SECONDS = 60
"""What a list of dead letters may take: an HTTP caller is cut off after 230."""

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
    client = FhirClient(
        chosen.fhir_service_url,
        chosen.fhir_audience,
        bundle_size=chosen.fhir_bundle_size,
        credential=storage().credential,
    )
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
        return FhirClient(chosen.fhir_service_url, chosen.fhir_audience, credential=seen.credential)

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


def ingest(events: Sequence[func.EventHubEvent], context: func.Context) -> None:
    """Puts a batch of events into the buffer.

    Raises Unavailable while storage is away and SettingInvalid while a setting is unusable: the retry policy then
    delivers the batch again.
    """
    from medtech.ingest.batch import bury, process, total
    from medtech.ingest.events import read_events

    check_settings()
    started = time.monotonic()
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
        trace_context=context.trace_context.trace_parent or "",
    )
    give_up = partial(bury, dead_letters=dead_letters(), clock=ticks.now)
    retried = context.retry_context is not None and bool(context.retry_context.retry_count)
    counts = total(attempts().run(device_events, put_through, give_up, retried=retried))
    recorder().arrived(device_events)
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


def flush() -> None:
    """Works off replay jobs, writes the windows that are due to the FHIR server, then deletes the dead letters that are
    too old.

    They go even while no flush is possible: they hold health data. Raises SettingInvalid while a setting is unusable.
    """
    from medtech.deadline import Deadline, within

    def run() -> Tally:
        check_settings()
        return flusher().run()

    try:
        with within(Deadline(REPLAY_SECONDS)):
            check_settings()
            replayer().run()
    finally:
        try:
            recorder().flush(run)
        finally:
            with within(Deadline(EXPIRY_SECONDS)):
                expiry().run(ticks.now())


def validate(request: func.HttpRequest) -> func.HttpResponse:
    """Answers `POST /api/validate`."""
    from medtech.errors import SettingInvalid
    from medtech.validation.http import answer, unusable

    try:
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


def health() -> func.HttpResponse:
    """Answers `GET /api/health`."""
    from medtech.health.http import answer

    return answer(look_at_app)


def list_dead_letters(request: func.HttpRequest) -> func.HttpResponse:
    """Answers `GET /api/dead-letters`."""
    from medtech.dead_letter.http import answer
    from medtech.deadline import Deadline, within

    with within(Deadline(LIST_SECONDS)):
        return answer(request, dead_letters, ticks.now())


def start_replay(request: func.HttpRequest) -> func.HttpResponse:
    """Answers `POST /api/replay`."""
    from medtech.deadline import Deadline, within
    from medtech.replay.http import answer_post

    with within(Deadline(LIST_SECONDS)):
        return answer_post(request, replay_jobs, try_replay, ticks.now())


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
