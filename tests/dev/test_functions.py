"""What the worker indexed, read as triggers and retry policies."""

import json
from datetime import timedelta
from typing import Any

import pytest

from dev.functions import (
    EventHubTrigger,
    Function,
    FunctionInvalid,
    HttpTrigger,
    QueueTrigger,
    RetryPolicy,
    TimerTrigger,
    read_functions,
)
from dev.rpc import messages


def read(binding: dict[str, Any], settings: dict[str, str] | None = None, **retry: Any) -> Function:
    options = {"retry_options": messages.RpcRetryOptions(**retry)} if retry else {}
    metadata = messages.RpcFunctionMetadata(name="f", function_id="1", raw_bindings=[json.dumps(binding)], **options)
    return read_functions([metadata], settings or {})["f"]


HUB = {"type": "eventHubTrigger", "name": "e", "eventHubName": "%HUB%", "connection": "C", "cardinality": "MANY"}


def test_settings_are_put_in() -> None:
    assert read(HUB, {"HUB": "devicedata"}).trigger == EventHubTrigger("e", "devicedata", "$Default", "C", False)


def test_bodies_stay_bytes_only_with_data_type_binary() -> None:
    trigger = read(HUB | {"dataType": "BINARY", "consumerGroup": "g"}, {"HUB": "h"}).trigger
    assert trigger == EventHubTrigger("e", "h", "g", "C", True)


def test_timer() -> None:
    binding = {"type": "timerTrigger", "name": "t", "schedule": "%S%", "runOnStartup": False}
    assert read(binding, {"S": "0 * * * * *"}).trigger == TimerTrigger("t", "0 * * * * *", False)


def test_a_queue_is_named_in_lower_case_and_lies_in_the_hosts_storage_unless_told() -> None:
    binding = {"type": "queueTrigger", "name": "m", "queueName": "%Q%-Messages"}
    assert read(binding, {"Q": "My"}).trigger == QueueTrigger("m", "my-messages", "AzureWebJobsStorage")
    assert read(binding | {"connection": "C"}, {"Q": "my"}).trigger == QueueTrigger("m", "my-messages", "C")


def test_http_without_methods_takes_all() -> None:
    trigger = read({"type": "httpTrigger", "name": "r"}).trigger
    assert isinstance(trigger, HttpTrigger)
    assert (trigger.route, trigger.auth_level) == ("f", "function")
    assert {"GET", "POST", "DELETE"} <= set(trigger.methods)


@pytest.mark.parametrize(
    ("binding", "reason"),
    [
        (HUB, "app setting HUB"),
        (HUB | {"eventHubName": "h", "cardinality": "ONE"}, "only batches"),
        ({"type": "blobTrigger", "name": "b"}, "does not support blobTrigger"),
        ({"type": "http", "name": "$return"}, "no trigger"),
    ],
)
def test_what_cannot_run_here_is_named(binding: dict[str, Any], reason: str) -> None:
    with pytest.raises(FunctionInvalid, match=f"Function f.*{reason}"):
        read(binding)


@pytest.mark.parametrize("name", ["AzureWebJobs.f.Disabled", "AzureWebJobs_f_Disabled"])
def test_a_function_is_disabled_by_setting(name: str) -> None:
    assert [read(HUB, {"HUB": "h", name: value}).disabled for value in ("1", "true", "0")] == [True, True, False]


def test_no_retry_options_are_no_policy() -> None:
    assert read(HUB, {"HUB": "h"}).retry is None


@pytest.mark.parametrize(
    ("options", "policy"),
    [
        (
            {"max_retry_count": 3, "retry_strategy": "fixed_delay", "delay_interval": timedelta(seconds=2)},
            RetryPolicy(3, 2, 2),
        ),
        (
            {
                "max_retry_count": -1,
                "retry_strategy": "exponential_backoff",
                "minimum_interval": timedelta(seconds=5),
                "maximum_interval": timedelta(minutes=5),
            },
            RetryPolicy(-1, 5, 300),
        ),
    ],
)
def test_retry_policies(options: dict[str, Any], policy: RetryPolicy) -> None:
    assert read(HUB, {"HUB": "h"}, **options).retry == policy


def test_delays_double_up_to_the_maximum() -> None:
    policy = RetryPolicy(-1, 5, 300)
    assert [policy.delay_seconds(retry) for retry in (1, 2, 3, 6, 7, 10_000)] == [5, 10, 20, 160, 300, 300]


@pytest.mark.parametrize(("most", "retry", "allowed"), [(2, 1, True), (2, 2, True), (2, 3, False), (-1, 10_000, True)])
def test_how_often_is_retried(most: int, retry: int, allowed: bool) -> None:
    assert RetryPolicy(most, 0, 0).allows(retry) is allowed
