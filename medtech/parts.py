"""The parts of the app, put together under its settings: one of each per process, made when it is first needed.

What they are made of is imported with them, since every new instance waits for what is imported at start-up.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from functools import cache, partial, wraps
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from medtech.backfill.container import CaptureContainer
    from medtech.backfill.job import BackfillJobs, Request
    from medtech.backfill.work import Backfill
    from medtech.comparison.store import Comparisons
    from medtech.dead_letter.expiry import Expiry
    from medtech.dead_letter.store import DeadLetters
    from medtech.flush.fanout import Fanout
    from medtech.flush.run import Flush
    from medtech.group.buffer import Buffer
    from medtech.health.look import Onlooker
    from medtech.health.record import Recorder
    from medtech.ingest.attempts import Attempts
    from medtech.mapping.device import DeviceMapping
    from medtech.mapping.fhir import FhirMapping, FhirOptions
    from medtech.mapping.in_force import MappingStore
    from medtech.persist.client import FhirClient
    from medtech.replay.job import Jobs
    from medtech.replay.work import Replay
    from medtech.settings import Settings
    from medtech.setup.hub_place import HubPlace
    from medtech.storage.connection import Storage

Part = TypeVar("Part")

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
    from medtech.settings import StorageClient
    from medtech.storage.connection import Storage

    return Storage(through_library=settings().storage_client is StorageClient.LIBRARY)


@_once
def buffer() -> Buffer:
    from medtech.group.buffer import Buffer

    return Buffer(storage())


@_once
def dead_letters() -> DeadLetters:
    from medtech.dead_letter.store import DeadLetters

    return DeadLetters(storage())


@_once
def comparisons() -> Comparisons:
    from medtech.comparison.store import Comparisons

    return Comparisons(storage())


@_once
def attempts() -> Attempts:
    from medtech.ingest.attempts import Attempts

    return Attempts(storage())


@_once
def expiry() -> Expiry:
    from medtech.dead_letter.expiry import Expiry

    return Expiry(dead_letters(), settings().dead_letter_days, also=comparisons().expire)


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


@_once
def hub_place() -> HubPlace:
    from medtech.setup.hub_place import read_hub_place

    return read_hub_place(os.environ)


@_once
def backfill_jobs() -> BackfillJobs:
    from medtech.backfill.job import BackfillJobs

    return BackfillJobs(storage())


@_once
def backfiller() -> Backfill:
    from medtech.backfill.work import Backfill

    return Backfill(
        storage=storage(),
        buffer=buffer(),
        dead_letters=dead_letters(),
        device_mapping=device_mapping().in_force,
        settings=settings(),
        hub=hub_place,
    )


def capture_container(request: Request) -> CaptureContainer:
    from medtech.backfill.container import CaptureContainer
    from medtech.backfill.path_format import PathFormat

    return CaptureContainer(storage(), request.container, PathFormat(request.path_format), hub_place())


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
    from medtech.flush.comparing import Comparing
    from medtech.flush.run import Flush
    from medtech.flush.watches import Watches
    from medtech.persist.client import FhirClient
    from medtech.persist.comparison import ObservationComparer
    from medtech.persist.identity import IdentityResolver
    from medtech.persist.observations import ObservationWriter

    chosen = settings()
    client = FhirClient.of(chosen, storage().credential)
    comparer = ObservationComparer(client, lookup=chosen.observation_lookup)
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
        comparing=Comparing(comparer, comparisons(), chosen) if chosen.compares else None,
    )


def flushes_by_queue() -> bool:
    from medtech.setup.platform import flushes_by_queue

    return flushes_by_queue(os.environ)


@_once
def fanout() -> Fanout:
    from medtech.flush.fanout import Fanout
    from medtech.flush.shard_marks import ShardMarks
    from medtech.setup.platform import FLUSH_QUEUE, POISON_QUEUE

    return Fanout(
        flush=flusher(),
        marks=ShardMarks(storage()),
        queue=storage().queue(FLUSH_QUEUE),
        poison=storage().queue(POISON_QUEUE),
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
    from medtech.settings import StorageClient
    from medtech.setup.platform import FLUSH_QUEUE
    from medtech.storage.connection import Storage

    chosen = settings()
    library = chosen.storage_client is StorageClient.LIBRARY
    seen = Storage(timeouts=STORAGE_TIMEOUTS, creates_tables=False, through_library=library)

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
        queue=FLUSH_QUEUE if flushes_by_queue() else None,
    )
