"""host.json as the functions host reads it, with its defaults and with app settings that override it.

An app setting `AzureFunctionsJobHost__extensions__eventHubs__maxWaitTime` overrides the value at that path of the file,
without regard to case, as in Azure.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_OVERRIDE_PREFIX = "azurefunctionsjobhost__"
_TIME_SPAN = re.compile(r"(?:(\d+)\.)?(\d{1,2}):(\d{2}):(\d{2})(?:\.(\d{1,7}))?")
LOG_LEVELS = {
    name: n for n, name in enumerate(("Trace", "Debug", "Information", "Warning", "Error", "Critical", "None"))
}

TELEMETRY_MODES = ("ApplicationInsights", "OpenTelemetry")
"""Of azure-functions-host (TelemetryMode), the default first; matched without regard to case."""


WORKER_PROCESSES = "FUNCTIONS_WORKER_PROCESS_COUNT"
MOST_WORKER_PROCESSES = 10

LARGEST_QUEUE_BATCH = 32
SHORTEST_POLLING_SECONDS = 0.1


class HostConfigInvalid(Exception):
    """host.json, or a setting that overrides it, cannot be used; the message says which and why."""


@dataclass(frozen=True, slots=True)
class EventHubOptions:
    """`extensions.eventHubs`: how events become batches, and how many batches move the checkpoint once."""

    max_event_batch_size: int = 100
    min_event_batch_size: int = 1
    max_wait_seconds: float = 60.0
    batch_checkpoint_frequency: int = 1

    def __post_init__(self) -> None:
        """Raises ValueError for numbers with which the extension does not start."""
        if min(self.max_event_batch_size, self.min_event_batch_size, self.batch_checkpoint_frequency) < 1:
            raise ValueError("batch sizes and batchCheckpointFrequency must be at least 1")
        if self.min_event_batch_size > self.max_event_batch_size:
            raise ValueError("minEventBatchSize cannot be larger than maxEventBatchSize")


@dataclass(frozen=True, slots=True)
class QueueOptions:
    """`extensions.queues`: how many messages are worked on at once, and when one that fails comes again.

    A batch is asked for when no more than `new_batch_threshold` messages are under way. `visibility_seconds` is how
    long a message is hidden after its function has failed.
    """

    batch_size: int = 16
    new_batch_threshold: int = 8
    max_dequeue_count: int = 5
    visibility_seconds: float = 0.0
    max_polling_seconds: float = 60.0
    base64: bool = True

    def __post_init__(self) -> None:
        """Raises ValueError for numbers with which the extension does not start."""
        if not 1 <= self.batch_size <= LARGEST_QUEUE_BATCH or self.new_batch_threshold < 0:
            raise ValueError(f"batchSize must be 1 to {LARGEST_QUEUE_BATCH}, newBatchThreshold at least 0")
        if self.max_dequeue_count < 1 or self.max_polling_seconds < SHORTEST_POLLING_SECONDS:
            raise ValueError("maxDequeueCount must be at least 1, maxPollingInterval at least 00:00:00.1")


@dataclass(frozen=True, slots=True)
class HostConfig:
    """What the local host takes from host.json. `log_levels`: category prefix to the contract's number of the level.

    `worker_processes` is how many workers share the invocations: the app setting FUNCTIONS_WORKER_PROCESS_COUNT.

    `telemetry_mode` is checked and has no effect: the local host exports no telemetry of its own in either mode.
    `has_extensions`: it names a bundle, without which Azure's host knows neither Event Hubs nor queue triggers.
    """

    event_hubs: EventHubOptions
    queues: QueueOptions
    worker_processes: int
    has_extensions: bool
    route_prefix: str
    function_timeout_seconds: float | None
    log_levels: Mapping[str, int]
    telemetry_mode: str

    def log_level(self, category: str) -> int:
        """The level set by the longest configured prefix of the category."""
        prefixes = [name for name in self.log_levels if category == name or category.startswith(f"{name}.")]
        return self.log_levels[max(prefixes, key=len, default="default")]


def load_host_config(app_directory: Path, settings: Mapping[str, str]) -> HostConfig:
    """Reads `host.json` of an app. Raises HostConfigInvalid."""
    path = app_directory / "host.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise HostConfigInvalid(
            f"There is no host.json in {app_directory}: give the folder of the app with --app."
        ) from None
    except ValueError as error:
        raise HostConfigInvalid(f"host.json is not valid JSON: {error}") from None
    for name, value in settings.items():
        if name.lower().startswith(_OVERRIDE_PREFIX):
            _override(document, name[len(_OVERRIDE_PREFIX) :].split("__"), value)
    try:
        if _value(document, "version", None) != "2.0":
            raise ValueError('it must have "version": "2.0"')
        return HostConfig(
            has_extensions=bool(_value(document, "extensionBundle.id", "")),
            event_hubs=EventHubOptions(
                max_event_batch_size=int(_value(document, "extensions.eventHubs.maxEventBatchSize", 100)),
                min_event_batch_size=int(_value(document, "extensions.eventHubs.minEventBatchSize", 1)),
                max_wait_seconds=seconds(_value(document, "extensions.eventHubs.maxWaitTime", "00:01:00")),
                batch_checkpoint_frequency=int(_value(document, "extensions.eventHubs.batchCheckpointFrequency", 1)),
            ),
            queues=_queue_options(document),
            worker_processes=_worker_processes(settings.get(WORKER_PROCESSES) or "1"),
            route_prefix=str(_value(document, "extensions.http.routePrefix", "api")).strip("/"),
            function_timeout_seconds=_timeout(_value(document, "functionTimeout", "00:30:00")),
            log_levels={"default": LOG_LEVELS["Information"], "Worker": LOG_LEVELS["Warning"]}
            | {name: LOG_LEVELS[level] for name, level in _value(document, "logging.logLevel", {}).items()},
            telemetry_mode=_telemetry_mode(_value(document, "telemetryMode", TELEMETRY_MODES[0])),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise HostConfigInvalid(
            f"host.json, or a setting that overrides it, has a value that cannot be used: {error}"
        ) from None


def seconds(text: str) -> float:
    """A .NET time span (`hh:mm:ss`, optionally with days and a fraction) in seconds. Raises ValueError."""
    match = _TIME_SPAN.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a time span of the form hh:mm:ss")
    days, hours, minutes, whole, fraction = match.groups()
    return int(days or 0) * 86_400 + int(hours) * 3600 + int(minutes) * 60 + float(f"{whole}.{fraction or 0}")


def _worker_processes(text: str) -> int:
    count = max(1, int(text))
    if count > MOST_WORKER_PROCESSES:
        raise ValueError(f"{WORKER_PROCESSES} is {count}, and more than {MOST_WORKER_PROCESSES}")
    return count


def _queue_options(document: dict[str, Any]) -> QueueOptions:
    """QueuesOptions of Microsoft.Azure.WebJobs.Extensions.Storage.Queues, with its defaults for one core."""
    batch_size = int(_value(document, "extensions.queues.batchSize", 16))
    encoding = str(_value(document, "extensions.queues.messageEncoding", "base64")).lower()
    if encoding not in ("base64", "none"):
        raise ValueError(f"messageEncoding is {encoding!r}, and neither base64 nor none")
    return QueueOptions(
        batch_size=batch_size,
        new_batch_threshold=int(_value(document, "extensions.queues.newBatchThreshold", batch_size // 2)),
        max_dequeue_count=int(_value(document, "extensions.queues.maxDequeueCount", 5)),
        visibility_seconds=seconds(_value(document, "extensions.queues.visibilityTimeout", "00:00:00")),
        max_polling_seconds=seconds(_value(document, "extensions.queues.maxPollingInterval", "00:01:00")),
        base64=encoding == "base64",
    )


def _telemetry_mode(text: str) -> str:
    known = next((mode for mode in TELEMETRY_MODES if mode.lower() == text.lower()), None)
    if known is None:
        raise ValueError(f"telemetryMode is {text!r}, and not one of {', '.join(TELEMETRY_MODES)}")
    return known


def _timeout(text: str) -> float | None:
    return None if text == "-1" else seconds(text)


def _override(document: dict[str, Any], path: list[str], value: str) -> None:
    *parents, last = path
    for part in parents:
        document = document.setdefault(_key(document, part), {})
    document[_key(document, last)] = value


def _key(section: Mapping[str, Any], wanted: str) -> str:
    return next((name for name in section if name.lower() == wanted.lower()), wanted)


def _value(document: Mapping[str, Any], path: str, default: Any) -> Any:
    value: Any = document
    for part in path.split("."):
        value = value.get(_key(value, part))
        if value is None:
            return default
    return value
