"""Puts the parts together for the triggers: one of each per process, made when it is first needed.

What the triggers import at start-up stays small, since every new instance waits for it; storage, FHIR client and
mappings are imported at the first event or tick.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import cache, partial, wraps
from typing import TYPE_CHECKING, TypeVar

import azure.functions as func

from medtech.dotnet import ticks

if TYPE_CHECKING:
    from medtech.dead_letter.expiry import Expiry
    from medtech.dead_letter.store import DeadLetters
    from medtech.flush.run import Flush
    from medtech.group.buffer import Buffer
    from medtech.mapping.device import DeviceMapping
    from medtech.mapping.fhir import FhirMapping, FhirOptions
    from medtech.mapping.in_force import MappingStore
    from medtech.settings import Settings
    from medtech.storage.connection import Storage

Part = TypeVar("Part")

EXPIRY_SECONDS = 60
"""What the expiry of dead letters may take after a flush, so that both end well within `functionTimeout`."""

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
        settings=chosen,
    )


def ingest(events: Sequence[func.EventHubEvent], trace_context: str) -> None:
    """Puts a batch of events into the buffer; `trace_context` is a W3C traceparent.

    Raises Unavailable while storage is away: the retry policy then delivers the batch again.
    """
    from medtech.ingest.batch import process
    from medtech.ingest.events import read_events

    started = time.monotonic()
    device_events = read_events(events)
    if not device_events:
        return
    mapping = device_mapping().in_force()
    counts = process(device_events, mapping, buffer(), dead_letters(), settings(), ticks.now, trace_context)
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
    """Writes the windows that are due to the FHIR server, then deletes the dead letters that are too old.

    They go even while no flush is possible: they hold health data.
    """
    from medtech.deadline import Deadline, within

    try:
        flusher().run()
    finally:
        with within(Deadline(EXPIRY_SECONDS)):
            expiry().run(ticks.now())


def validate(request: func.HttpRequest) -> func.HttpResponse:
    """Answers `POST /api/validate`."""
    from medtech.validation.http import answer

    return answer(request, settings().validate_max_bytes, device_mapping(), fhir_mapping(), fhir_options())
