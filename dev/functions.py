"""The functions of an app as the worker indexed them: trigger, retry policy, with app settings filled in.

The worker reports what the decorators of the Python v2 model say. Here that becomes values, and `%NAME%` is replaced by
the app setting of that name, as in Functions.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_SETTING = re.compile(r"%([^%]+)%")
_EXPONENTIAL = 0
_ANYWHERE = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS")


class FunctionInvalid(Exception):
    """This host cannot run a function; the message names it and says why."""


@dataclass(frozen=True, slots=True)
class EventHubTrigger:
    """`connection` is the name of a setting; `binary` says whether the function gets bodies as bytes."""

    parameter: str
    event_hub: str
    consumer_group: str
    connection: str
    binary: bool


@dataclass(frozen=True, slots=True)
class TimerTrigger:
    parameter: str
    schedule: str
    run_on_startup: bool


@dataclass(frozen=True, slots=True)
class QueueTrigger:
    """`connection` is the name of a setting."""

    parameter: str
    queue: str
    connection: str


@dataclass(frozen=True, slots=True)
class HttpTrigger:
    parameter: str
    route: str
    methods: tuple[str, ...]
    auth_level: str


Trigger = EventHubTrigger | TimerTrigger | QueueTrigger | HttpTrigger


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`max_retry_count` -1 retries for ever. With a fixed delay both intervals are equal."""

    max_retry_count: int
    minimum_seconds: float
    maximum_seconds: float

    def allows(self, retry: int) -> bool:
        """Whether the retry with this number (from 1) is still made."""
        return self.max_retry_count < 0 or retry <= self.max_retry_count

    def delay_seconds(self, retry: int) -> float:
        """The wait before the retry with this number (from 1): doubled each time, up to the maximum."""
        return min(self.minimum_seconds * 2.0 ** min(retry - 1, 62), self.maximum_seconds)


@dataclass(frozen=True, slots=True)
class Function:
    """One function of the app. `metadata` is the worker's own message, which is sent back to load the function."""

    name: str
    id: str
    trigger: Trigger
    retry: RetryPolicy | None
    disabled: bool
    metadata: Any


def read_functions(metadata: list[Any], settings: Mapping[str, str]) -> dict[str, Function]:
    """The functions by name. Raises FunctionInvalid."""
    return {each.name: _function(each, settings) for each in metadata}


def _function(metadata: Any, settings: Mapping[str, str]) -> Function:
    bindings = [json.loads(text) for text in metadata.raw_bindings]
    binding = next((b for b in bindings if b["type"].lower().endswith("trigger")), None)
    if binding is None:
        raise FunctionInvalid(f"Function {metadata.name} has no trigger.")
    return Function(
        name=metadata.name,
        id=metadata.function_id,
        trigger=_trigger(metadata.name, binding, settings),
        retry=_retry(metadata),
        disabled=_disabled(metadata.name, settings),
        metadata=metadata,
    )


def _trigger(function: str, binding: Mapping[str, Any], settings: Mapping[str, str]) -> Trigger:
    def text(name: str, default: str = "") -> str:
        return _resolve(function, str(binding.get(name) or default), settings)

    kind = binding["type"].lower()
    if kind == "timertrigger":
        return TimerTrigger(binding["name"], text("schedule"), bool(binding.get("runOnStartup")))
    if kind == "httptrigger":
        methods = tuple(method.upper() for method in binding.get("methods") or _ANYWHERE)
        return HttpTrigger(binding["name"], text("route", function), methods, text("authLevel", "function").lower())
    if kind == "queuetrigger":
        # Names of queues are in lower case; the extension makes them so.
        return QueueTrigger(binding["name"], text("queueName").lower(), text("connection", "AzureWebJobsStorage"))
    if kind == "eventhubtrigger":
        if str(binding.get("cardinality")).lower() != "many":
            raise FunctionInvalid(
                f"Function {function}: the local host delivers only batches (set cardinality to many)."
            )
        return EventHubTrigger(
            parameter=binding["name"],
            event_hub=text("eventHubName"),
            consumer_group=text("consumerGroup", "$Default"),
            connection=text("connection"),
            binary=str(binding.get("dataType")).lower() == "binary",
        )
    raise FunctionInvalid(f"Function {function}: the local host does not support {binding['type']}.")


def _resolve(function: str, text: str, settings: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        if match[1] not in settings:
            raise FunctionInvalid(f"Function {function}: add the app setting {match[1]} to local.settings.json.")
        return settings[match[1]]

    return _SETTING.sub(value, text)


def _disabled(function: str, settings: Mapping[str, str]) -> bool:
    # The second spelling is for Linux, where the names of app settings cannot have dots.
    names = (f"AzureWebJobs.{function}.Disabled", f"AzureWebJobs_{function}_Disabled")
    return any(settings.get(name, "").lower() in ("1", "true") for name in names)


def _retry(metadata: Any) -> RetryPolicy | None:
    if not metadata.HasField("retry_options"):
        return None
    options = metadata.retry_options
    if options.retry_strategy == _EXPONENTIAL:
        shortest, longest = options.minimum_interval, options.maximum_interval
    else:
        shortest = longest = options.delay_interval
    return RetryPolicy(
        options.max_retry_count, shortest.ToTimedelta().total_seconds(), longest.ToTimedelta().total_seconds()
    )
