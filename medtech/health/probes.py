"""One probe for each part of the app. None of them writes, in storage or in the FHIR server."""

from collections.abc import Callable
from urllib.parse import urlsplit

from medtech.dotnet import ticks
from medtech.errors import MappingIssue, SettingInvalid
from medtech.group.accounts import Accounts, Standing
from medtech.group.buffer import Buffer
from medtech.group.windows import overdue_seconds
from medtech.health.part import Fact, Part, State
from medtech.health.record import arrivals, last_flush
from medtech.ingest import attempts
from medtech.mapping.in_force import MappingState
from medtech.mapping.source import SETTINGS
from medtech.persist.answers import Interaction, Verdict
from medtech.persist.client import FhirClient
from medtech.settings import Settings
from medtech.storage import lease
from medtech.storage.connection import Storage
from medtech.storage.faults import reaching
from medtech.storage.table import Entity

HUB, STORAGE, DEVICE_MAPPING, FHIR_MAPPING = "hub", "storage", "deviceMapping", "fhirMapping"
IDENTITY, FHIR_SERVER, OLDEST_WINDOW, LAST_FLUSH = "identity", "fhirServer", "oldestWindow", "lastFlush"

LATE_SECONDS = 600
"""A window that is due, or a flush, may be late by two budgets of a flush and some ticks; then somebody should look."""

BEHIND_SECONDS = 300
"""Batches are read within seconds, unless the app cannot keep up or has just come back."""

SILENT_SECONDS = 24 * 3600
"""Devices that measure once a day are not silent."""

_RECENT_SECONDS = 600
"""Partitions that were read within this time are being read."""

_PROBED = "Device/medtech-health"
"""Read, so that the token and its roles are tried as well; the server need not have it."""

_CONSEQUENCES = {
    "device": "Until then every message is kept as a dead letter.",
    "fhir": "Until then measurements wait in the buffer.",
}


def hub(storage: Storage, now: int) -> Part:
    """The hub as far as its events tell: the app has no connection of its own to it. `now` is in ticks."""
    suspected = _suspected_partitions(storage, now)
    read = list(arrivals(storage))
    if not read:
        return Part(
            HUB,
            State.WARNING,
            "No event has been read yet. If devices send, check EVENT_HUB_NAME, EVENT_HUB_CONSUMER_GROUP and "
            "EventHubConnection, and that the app's identity has the role Azure Event Hubs Data Receiver.",
        )
    newest = max(each.enqueued_time for each in read)
    silent = _seconds(now - newest)
    recent = [each for each in read if _seconds(now - each.read_time) < _RECENT_SECONDS]
    behind = max((_seconds(each.read_time - each.enqueued_time) for each in recent), default=0.0)
    facts: dict[str, Fact] = {
        "lastEventEnqueued": ticks.format_iso(newest),
        "lastEventRead": ticks.format_iso(max(each.read_time for each in read)),
        "behindSeconds": round(behind),
        "partitions": len(read),
        "suspectedPartitions": len(suspected),
    }
    if suspected:
        text = (
            f"The process ended while it worked on messages of partition {', '.join(suspected)}, which are now put "
            "through in parts. What ends it becomes a dead letter (PoisonMessage); there is nothing to do."
        )
        return Part(HUB, State.WARNING, text, facts)
    if behind > BEHIND_SECONDS:
        text = (
            f"Events wait {duration(behind)} in the hub before they are read. If this does not get less, allow more "
            "instances or give the hub more partitions; what is older than the hub's retention is lost."
        )
        return Part(HUB, State.WARNING, text, facts)
    if silent > SILENT_SECONDS:
        text = (
            f"No event for {duration(silent)}. If devices send, check EVENT_HUB_NAME and EventHubConnection, and that "
            "the function `normalize` is enabled."
        )
        return Part(HUB, State.WARNING, text, facts)
    return Part(HUB, State.OK, f"The last event was enqueued {duration(silent)} ago.", facts)


def storage(storage: Storage, queue: str | None = None) -> Part:
    """Tables, blobs and queues are services with roles of their own; of further accounts only tables are used. `queue`
    is the one that flushes by queue use. Raises StorageUnavailable."""
    accounts = Accounts(storage).look()
    with reaching(f"container `{lease.CONTAINER}`"):
        storage.container(lease.CONTAINER).exists()
    if queue is not None:
        storage.queue(queue).check()
    advice = " ".join(filter(None, (account.advice for account in accounts)))
    if any(account.standing in (Standing.LEFT_OUT, Standing.WAS_FIRST) for account in accounts):
        return Part(STORAGE, State.WARNING, advice)
    read = "Tables and blobs" if queue is None else "Tables, blobs and queues"
    further = f" The buffer's further accounts ({len(accounts)}) can be reached." if accounts else ""
    return Part(STORAGE, State.OK, f"{read} can be read.{further} {advice}".rstrip())


def mapping(name: str, state: MappingState) -> Part:
    """A mapping by its state as it was inspected."""
    setting, consequence = SETTINGS[state.kind], _CONSEQUENCES[state.kind]
    facts = {
        "source": state.source,
        "inForce": state.in_force,
        "since": state.since,
        "newerRefused": bool(state.issues),
        "heldBack": state.held_back is not None,
    }
    if state.in_force is None:
        if state.issues:
            text = f"There has never been a good one. {_first(state.issues)} Fix what {setting} names. {consequence}"
            return Part(name, State.DOWN, text, facts)
        if state.unavailable is not None:
            return Part(name, State.DOWN, f"{state.unavailable} {consequence}", facts)
        return Part(name, State.OK, "This deployment's is good, and comes into force when it is first needed.", facts)
    in_force = f"{state.in_force[:12]} is in force since {state.since}."
    if state.issues:
        text = f"{in_force} A newer one is refused. {_first(state.issues)} POST /api/validate lists its errors."
        return Part(name, State.WARNING, text, facts)
    if state.held_back is not None:
        return Part(name, State.WARNING, state.held_back, facts)
    if state.unavailable is not None:
        return Part(
            name, State.WARNING, f"{in_force} Whether there is a newer one is unknown. {state.unavailable}", facts
        )
    return Part(name, State.OK, in_force, facts)


def identity(fhir_client: Callable[[], FhirClient]) -> Part:
    """Whether there is what the FHIR server knows the app by. Raises Unavailable if there is not."""
    try:
        client = fhir_client()
    except SettingInvalid:
        return Part(IDENTITY, State.UNKNOWN, "It is not asked for a token before the FHIR server is set.")
    client.credentials.authorization()
    return Part(IDENTITY, State.OK, client.credentials.ready)


def fhir_server(client: FhirClient, settings: Settings) -> Part:
    """Reads as the flush does: through the same client, in a bundle if the server takes any. Raises Unavailable.

    That the app may write is not tried; it shows in the last flush.
    """
    # In this thread, which nobody waits for, and not in one of the client's.
    client.credentials.authorization()
    [reply] = client.exchange([Interaction("GET", _PROBED)])
    if reply.verdict not in (Verdict.DONE, Verdict.ABSENT):
        raise client.unavailable(reply)
    address = urlsplit(settings.fhir_service_url)
    url = f"{address.scheme}://{address.netloc.rpartition('@')[2]}{address.path}"
    if settings.compares:
        text = f"{url} answers, and lets the app read. The app compares and writes nothing there (FHIR_WRITE)."
        return Part(FHIR_SERVER, State.OK, text, {"url": url, "writes": False})
    return Part(FHIR_SERVER, State.OK, f"{url} answers, and lets the app read.", {"url": url})


def oldest_window(buffer: Buffer, settings: Settings, now: int) -> Part:
    """Measurements that wait for the flush; `now` is in ticks. Raises StorageUnavailable."""
    start = buffer.oldest_window()
    if start is None:
        return Part(OLDEST_WINDOW, State.OK, "The buffer is empty.", {"start": None, "overdueSeconds": 0})
    overdue = overdue_seconds(start, now, settings.window_seconds, settings.hold_seconds)
    facts: dict[str, Fact] = {"start": ticks.format_iso(start), "overdueSeconds": round(overdue)}
    if overdue > LATE_SECONDS:
        text = (
            f"Measurements that arrived from {ticks.format_iso(start)} on have been due for {duration(overdue)}. They "
            "are safe in the buffer. See the last flush and the FHIR server."
        )
        return Part(OLDEST_WINDOW, State.WARNING, text, facts)
    when = f"due for {duration(overdue)}" if overdue else "not due yet"
    return Part(OLDEST_WINDOW, State.OK, f"The oldest window is {when}.", facts)


def flush(storage: Storage, now: int) -> Part:
    """The last flush of any instance; `now` is in ticks. Raises StorageUnavailable."""
    last = last_flush(storage)
    if last is None:
        text = "No flush has ended yet. If the app has run for minutes, check that the function `flush` is enabled."
        return Part(LAST_FLUSH, State.WARNING, text)
    ago = _seconds(now - last.ended)
    facts = {
        "began": ticks.format_iso(last.began),
        "ended": ticks.format_iso(last.ended),
        "intervalSeconds": last.interval_seconds,
        "windows": last.windows,
        "measurements": last.measurements,
        "waiting": last.waiting,
        "deadLetters": last.dead_letters,
    }
    ended = f"The last flush ended {duration(ago)} ago"
    if ago > max(LATE_SECONDS, 2 * (last.interval_seconds or 0.0)):
        text = f"{ended}. Check that the app runs, that the function `flush` is enabled, and FLUSH_SCHEDULE."
        return Part(LAST_FLUSH, State.DOWN, text, facts)
    if last.failed:
        return Part(LAST_FLUSH, State.DOWN, f"{ended} with an error. {last.held_up_by}", facts)
    if last.held_up_by:
        return Part(LAST_FLUSH, State.WARNING, f"{ended}, held up. {last.held_up_by}", facts)
    return Part(LAST_FLUSH, State.OK, f"{ended}: {last.windows} windows, {last.measurements} measurements.", facts)


def duration(seconds: float) -> str:
    """`42 s`, `7 min`, `5 h`, `3 days`."""
    if seconds < 120:
        return f"{max(seconds, 0):.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 48 * 3600 else f"{seconds / 86_400:.0f} days"


def _suspected_partitions(storage: Storage, now: int) -> list[str]:
    """Those with messages that a process ended on, as far as they are of this day: a hub that is gone leaves rows."""
    since = ticks.format_iso(now - ticks.TICKS_PER_DAY)
    rows = storage.table(attempts.TABLE).query("PartitionKey ne ''")
    return sorted({_number(row["RowKey"]) for row in rows if str(row.get("written")) > since and _has_deaths(row)})


def _has_deaths(row: Entity) -> bool:
    try:
        return any(each.deaths and not each.stored for each in attempts.unpack_suspects(row).ranges)
    except (TypeError, ValueError):
        return False


def _number(row_key: str) -> str:
    return row_key.lstrip("0") or "0"


def _first(issues: list[MappingIssue]) -> str:
    issue = issues[0]
    where = f"line {issue.line}, position {issue.position}: " if issue.line > 0 else ""
    more = f" (and {len(issues) - 1} more)" if len(issues) > 1 else ""
    return f"{where}{issue.message}{more}"


def _seconds(span: int) -> float:
    return span / ticks.TICKS_PER_SECOND
